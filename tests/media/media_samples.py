"""Small pictures and videos made on the spot, and the one-line way from bytes to a Picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from saccade.media.fetch import Fetcher
from saccade.media.frames import Sampling, decode
from saccade.media.limits import MediaLimits
from saccade.media.pixels import ImagePlan, Plans, VideoPlan, prepare
from saccade.types import Frames, MediaRef, Picture

LIMITS = MediaLimits()
PLANS = Plans(
    ImagePlan(1024, LIMITS.max_pixels), VideoPlan(4096, 25_165_824, 0, LIMITS.max_pixels, Sampling()), LIMITS.max_pixels
)


def drawn(rng: np.random.Generator, height: int, width: int, kind: str = "mixed") -> np.ndarray:
    """[H, W, 3] uint8: "smooth" waves, "noise", or "mixed": waves with blocks, hard edges and grain, as in photos."""
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    a, b, c = rng.uniform(5, 60, 3)
    waves = np.stack([np.sin(x / a + y / b), np.cos(x / c), np.sin((x + 2 * y) / a)], axis=-1) * 110 + 128
    if kind == "mixed":
        waves += rng.normal(0, 6, waves.shape)
        for _ in range(4):
            top, left = rng.integers(0, height), rng.integers(0, width)
            waves[top : top + height // 4 + 1, left : left + width // 4 + 1] = rng.integers(0, 256, 3)
    return np.clip(waves, 0, 255).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, form: str, **options: Any) -> bytes:
    """The bytes of a picture file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


CODECS = {
    "mp4": ("libx264", "mp4", "yuv420p", {"bf": "3", "g": "12", "sc_threshold": "0"}),
    "mp4-open-gop": ("libx264", "mp4", "yuv420p", {"bf": "3", "g": "12", "x264-params": "open-gop=1"}),
    "mp4-fragments": ("libx264", "mp4", "yuv420p", {"bf": "2", "g": "12"}),
    "hevc": ("libx265", "mp4", "yuv420p", {"x265-params": "keyint=12:bframes=4:log-level=none"}),
    "mkv": ("libx264", "matroska", "yuv420p", {"bf": "3", "g": "12"}),
    "ts": ("libx264", "mpegts", "yuv420p", {"bf": "3", "g": "12"}),
    "avi": ("libx264", "avi", "yuv420p", {"bf": "3", "g": "12"}),
    "mjpeg": ("mjpeg", "avi", "yuvj420p", {}),
    "webm-vp8": ("libvpx", "webm", "yuv420p", {"g": "12", "b": "200k"}),
    "webm-vp9": ("libvpx-vp9", "webm", "yuv420p", {"g": "12"}),
    "gif": ("gif", "gif", "rgb8", {}),
}
"""Ways to code a video: codec, container, pixel format, options."""


def film(kind: str = "mp4", num_frames: int = 60, height: int = 96, width: int = 160, rate: int = 30) -> bytes:
    """A video whose frame i shows i in binary: ten upright bars, white for 1, the lowest bit on the left."""
    import av

    codec, container, pixels, options = CODECS[kind]
    file = io.BytesIO()
    fragments = {"movflags": "frag_keyframe+empty_moov"} if kind == "mp4-fragments" else {}
    with av.open(file, "w", format=container, options=fragments) as output:
        stream = output.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for number in range(num_frames):
            bars = np.array([255 * (number >> bit & 1) for bit in range(10)], np.uint8).repeat(width // 10)
            picture = np.broadcast_to(bars[None, :, None], (height, width, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=pixels)
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def shown_number(frame: np.ndarray) -> int:
    """The number in a frame of a film."""
    height, width = frame.shape[:2]
    return sum(int(frame[height // 2, (2 * bit + 1) * width // 20].mean() > 127) << bit for bit in range(10))


def frames_of(data: bytes, kind: str = "image", limits: MediaLimits = LIMITS, **wishes: Any) -> Frames:
    """Fetch and decode."""
    ref = MediaRef(kind, "messages[0].content[0]", data=data, **wishes)  # type: ignore[arg-type]
    return decode(Fetcher(limits).fetch(ref), ref, limits)


def pixels_of(data: bytes) -> np.ndarray:
    """[H, W, 3] of a still."""
    (pixels,) = frames_of(data).pixels
    return pixels


def picture_of(data: bytes, kind: str = "image", limits: MediaLimits = LIMITS, **wishes: Any) -> Picture:
    """The whole way."""
    ref = MediaRef(kind, "messages[0].content[0]", data=data, **wishes)  # type: ignore[arg-type]
    return prepare(decode(Fetcher(limits).fetch(ref), ref, limits), PLANS.of(ref))
