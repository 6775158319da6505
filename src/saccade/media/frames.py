"""Blob -> Frames: the bytes of one file, or of a list of pictures, come in, upright RGB pixels go out, with the numbers
of video frames; it knows no resize and no model. The decoders are in stills.py, video.py and documents.py.

What a file is, is read from its first bytes, never from a name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from saccade.errors import MediaError
from saccade.media.documents import decode_page
from saccade.media.limits import MediaLimits
from saccade.media.stills import PICTURES, Room, decode_still
from saccade.media.video import VIDEOS, Video
from saccade.types import Blob, Frames, MediaKind, MediaRef, UInt8Array


@dataclass(frozen=True, slots=True)
class Sampling:
    """How many frames of a video are looked at."""

    fps: float = 2.0
    """Frames per second of the video's own time."""
    min_frames: int = 4
    max_frames: int = 768

    def indices(self, total: int, source_fps: float, ref: MediaRef, limit: int) -> tuple[int, ...]:
        """Which of `total` frames to take, at most `limit`, evenly from the first to the last: as many as `ref` wants,
        or as `fps` gives. Rounds as the reference does (Qwen3VLVideoProcessor.sample_frames): the count downwards,
        places to the nearest, halves to even. 61 frames at 30 per second, 2 wanted -> 0, 20, 40, 60. MediaError when
        the numbers of `ref` make no sense."""
        fps, count = ref.fps, ref.num_frames
        if fps is not None and count is not None:
            raise MediaError("fps and num_frames exclude each other.", param=ref.param)
        if fps is not None and not (fps > 0 and math.isfinite(fps)):
            raise MediaError(f"fps is {fps}; it must be above 0.", param=ref.param)
        if count is not None and not 0 < count <= limit:
            raise MediaError(f"num_frames is {count}; it must be 1 to {limit} (--max-frames).", param=ref.param)
        if count is None:
            count = int(min(total / source_fps * (fps or self.fps), total))
            count = min(max(count, self.min_frames), self.max_frames, limit)
        return tuple(int(place) for place in np.linspace(0, total - 1, min(count, total)).round())


def decode(
    blob: Blob, ref: MediaRef, limits: MediaLimits, sampling: Sampling = Sampling(), room: Room | None = None
) -> Frames:
    """The picture in `blob`, or the frames of its video that `ref` asks for (else `sampling`). A still lies in `room`
    where its decoder can write there.

    The header is read and held against `limits` before anything is decoded. The frames of a video after the first are
    decoded while they are read. MediaError for a file that is empty, of another format, damaged, cut off or too large.
    """
    if blob.parts:
        return _decode_list(blob, ref, limits, sampling)
    if ref.page is not None:
        return _decode_page(blob, ref, limits)
    if ref.kind == "image":
        pixels = decode_still(_format(blob.data, ref), blob.data, ref, limits, room)
        return Frames("image", (pixels,), pixels.shape[:2], (0,), 0.0, blob.digest, ref.param)
    video = Video(_format(blob.data, ref), blob.data, ref, limits)
    indices = sampling.indices(video.total, video.fps, ref, limits.max_frames)
    frames = video.frames(indices)
    first = next(frames)  # shows that it can be decoded, and its size once upright
    return Frames("video", chain((first,), frames), first.shape[:2], indices, video.fps, blob.digest, ref.param)


def _decode_page(blob: Blob, ref: MediaRef, limits: MediaLimits) -> Frames:
    if (name := sniff(blob.data)) != DOCUMENT:
        raise MediaError(f"The file is {name or 'of no known format'}, and only a PDF has pages.", param=ref.param)
    pixels, count = decode_page(blob.data, ref, limits)
    return Frames("image", (pixels,), pixels.shape[:2], (0,), 0.0, blob.digest, ref.param, count)


def _decode_list(blob: Blob, ref: MediaRef, limits: MediaLimits, sampling: Sampling) -> Frames:
    """A video that came as pictures: all of them, `ref.fps` of which are a second of it."""
    if ref.kind != "video" or ref.num_frames is not None:
        raise MediaError("A list of frames is a video, and all of them are taken.", param=ref.param)
    fps = sampling.fps if ref.fps is None else ref.fps
    if not (fps > 0 and math.isfinite(fps)):
        raise MediaError(f"fps is {fps}; it must be above 0.", param=ref.param)
    still = replace(ref, kind="image", frames=(), fps=None)

    def decoded() -> Iterator[UInt8Array]:
        size: tuple[int, ...] | None = None
        for number, part in enumerate(blob.parts):
            frame = decode_still(_format(part, still), part, still, limits)
            size = size or frame.shape
            if frame.shape != size:
                raise MediaError(f"Frame {number} of the video is not as large as the first.", param=ref.param)
            if math.prod(size[:2]) * len(blob.parts) > limits.max_video_pixels:
                limit = f"{limits.max_video_pixels:,} are decoded (--max-video-pixels)"
                raise MediaError(f"The frames have too many pixels; at most {limit}.", param=ref.param)
            yield frame

    frames = decoded()
    first = next(frames)
    indices = tuple(range(len(blob.parts)))
    return Frames("video", chain((first,), frames), first.shape[:2], indices, fps, blob.digest, ref.param)


def _format(data: bytes, ref: MediaRef) -> str:
    """A key of the table of decoders. Raises MediaError for what is in none."""
    table = PICTURES if ref.kind == "image" else VIDEOS
    name = sniff(data)
    if name in table:
        return name
    other = "video" if name in VIDEOS else "picture" if name in PICTURES else None
    hint = f"Send it as a {other}." if other else "Send its pages as pictures." if name == DOCUMENT else None
    raise MediaError(
        f"The {'picture' if ref.kind == 'image' else 'video'} is {name or 'of no known format'}; supported are "
        f"{', '.join(table)}.",
        param=ref.param,
        hint=hint,
    )


def kind_of(data: bytes) -> MediaKind:
    """What a file would be taken for when nobody says: a picture, unless it can only be a video."""
    name = sniff(data)
    return "video" if name in VIDEOS and name not in PICTURES else "image"


def sniff(data: bytes) -> str:
    """What a file is, by its first bytes: a key of the tables below, a phrase for an error message, or ""."""
    if not data:
        return "an empty file"
    for offset, magic, name in _MAGIC:
        if data.startswith(magic, offset):
            return name
    if data[:1] == b"G" and data[188:189] == b"G":  # packets of 188 bytes
        return "MPEG-TS"
    head = data[:1024].lower()
    if min(head) >= 9:  # no control characters below the tab
        return "SVG" if b"<svg" in head else "text"
    return ""


DOCUMENT = "PDF"
"""The one format that has pages, each of which is a picture."""
_MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WebP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (8, b"AVI ", "AVI"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyp", "MP4"),
    (4, b"moov", "MP4"),
    (4, b"mdat", "MP4"),
    (4, b"wide", "MP4"),
    (4, b"free", "MP4"),
    (0, b"%PDF-", DOCUMENT),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
)
