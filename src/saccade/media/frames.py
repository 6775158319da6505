"""Blob -> Frames: the bytes of one file come in, upright RGB pixels go out, with the numbers of video frames; it knows
no resize and no model, and is the only file that touches a decoder.

What a file is, is read from its first bytes, never from a name. Every decoder is named here: the tables at the bottom
are all that a hostile file can reach.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from saccade.errors import MediaError
from saccade.media.fetch import MediaLimits
from saccade.types import Blob, Frames, MediaRef, UInt8Array

if TYPE_CHECKING:
    import av

    VideoPacket: TypeAlias = av.Packet[av.VideoStream]

try:
    import simplejpeg  # type: ignore[import-untyped]
except ImportError:  # no wheel for this platform: Pillow gives the same pixels in about 1.4 times the time
    simplejpeg = None


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


def decode(blob: Blob, ref: MediaRef, limits: MediaLimits, sampling: Sampling = Sampling()) -> Frames:
    """The picture in `blob`, or the frames of its video that `ref` asks for (else `sampling`).

    The header is read and held against `limits` before anything is decoded. The frames of a video after the first are
    decoded while they are read. MediaError for a file that is empty, of another format, damaged, cut off or too large.
    """
    noun = "picture" if ref.kind == "image" else "video"
    name = sniff(blob.data)
    if name not in (_PICTURES if ref.kind == "image" else _VIDEOS):
        readable = ", ".join(_PICTURES if ref.kind == "image" else _VIDEOS)
        other = "video" if name in _VIDEOS else "picture" if name in _PICTURES else None
        raise MediaError(
            f"The {noun} is {name or 'of no known format'}; supported are {readable}.",
            param=ref.param,
            hint=f"Send it as a {other}." if other else None,
        )
    if ref.kind == "image":
        pixels = _decode_picture(name, blob.data, ref, limits)
        return Frames("image", (pixels,), pixels.shape[:2], (0,), 0.0, blob.digest, ref.param)
    video = _Video(name, blob.data, ref, limits)
    indices = sampling.indices(video.total, video.fps, ref, limits.max_frames)
    frames = video.frames(indices)
    first = next(frames)  # shows that it can be decoded, and its size once upright
    return Frames("video", chain((first,), frames), first.shape[:2], indices, video.fps, blob.digest, ref.param)


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


# --- pictures --------------------------------------------------------------------------------------------------------


def _decode_picture(name: str, data: bytes, ref: MediaRef, limits: MediaLimits) -> UInt8Array:
    """[H, W, 3], upright, on white."""
    _hush_pillow()
    try:
        image = _PICTURES[name](io.BytesIO(data))  # reads the header only
        width, height = image.size
    except Exception as error:  # decoders answer hostile bytes with exceptions of many kinds
        raise _damaged(name, ref, error) from None
    _check_area("picture", width, height, ref, limits)
    if name == "JPEG" and data.count(b"\xff\xda") > _MAX_SCANS:  # the marker before each scan
        raise MediaError(f"The JPEG file has more than {_MAX_SCANS} scans.", param=ref.param)
    try:
        pixels = _decode_jpeg(data, image) if name == "JPEG" else _to_rgb(image)
        return np.ascontiguousarray(_UPRIGHT[_orientation(image)](pixels))
    except Exception as error:
        raise _damaged(name, ref, error) from None


def _decode_jpeg(data: bytes, image: ImageFile.ImageFile) -> UInt8Array:
    """By libjpeg-turbo directly where it can give RGB. A file that it finds fault with goes to Pillow, which overlooks
    small ones and has the last word; both use the same decoder and give the same pixels."""
    if simplejpeg is not None and image.mode in ("L", "RGB"):
        try:
            # Both must have read the same size, since only one was held against the limit.
            if simplejpeg.decode_jpeg_header(data)[:2] == (image.height, image.width):
                return simplejpeg.decode_jpeg(data, "RGB")  # type: ignore[no-any-return]
        except ValueError:
            pass
    return _to_rgb(image)


def _to_rgb(image: Image.Image) -> UInt8Array:
    """Pixels of any mode as RGB; what is transparent lets white through; 16 bits keep the upper 8."""
    image.load()
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        white = grey == image.info.get("transparency", -1)
        return np.repeat(np.where(white, 255, grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _on_white(image: Image.Image) -> UInt8Array:
    """RGBA -> [H, W, 3] over white."""
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return np.array(page)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # unreadable EXIF data says nothing about the picture
        return 1
    return value if value in _UPRIGHT else 1


def _hush_pillow() -> None:
    """Keep Pillow's warnings about odd metadata off the terminal. The filter holds for the whole process; adding it
    where it is missing is safe in threads, unlike catching warnings around each call."""
    if _HUSHED not in warnings.filters:
        warnings.filterwarnings("ignore", module=_HUSHED[3].pattern)


# --- videos ----------------------------------------------------------------------------------------------------------


class _Video:
    """The coded frames of one video, all in memory (no more bytes than the file), and the order they are shown in.

    With the packets at hand, going to a frame means decoding from the key frame before it: no search in the file, no
    index that may be missing, and frame 57 is frame 57 in every container.

        packets in file order   I0 P3 B1 B2  I4 P7 B5 B6        digits: place in the order of showing
        wanted 2, 6             decode I0 P3 B1 B2, go to I4, decode I4 P7 B5 B6
        wanted 2, 3             decode I0 P3 B1 B2 and go on
    """

    def __init__(self, name: str, data: bytes, ref: MediaRef, limits: MediaLimits) -> None:
        import av
        from av.stream import Disposition

        self.name, self._ref, self._limits = name, ref, limits
        options = {"protocol_whitelist": "none", "max_pixels": str(limits.max_image_pixels)}
        try:
            file = io.BytesIO(data)
            with av.open(file, "r", format=_VIDEOS[name], options=options, metadata_errors="replace") as container:
                cover = Disposition.attached_pic  # the still picture on the sleeve of a music file
                stream = next((s for s in container.streams.video if not s.disposition & cover), None)
                if stream is None:
                    raise MediaError(f"The {name} file has no video in it.", param=ref.param)
                self._decoder = stream.codec_context
                self._decoder.options = {"max_pixels": str(limits.max_image_pixels)}
                _check_area("video frame", self._decoder.width, self._decoder.height, ref, limits)
                self.fps = float(stream.average_rate or 0) or 24.0  # 24: what the reference takes for an unknown rate
                self._packets = self._demux(container, stream)
        except MediaError:
            raise
        except Exception as error:
            raise _damaged(name, ref, error) from None
        self._order()
        if not self.total:
            raise MediaError(f"The {name} file has no frames.", param=ref.param)

    def _demux(self, container: av.container.InputContainer, stream: av.VideoStream) -> list[VideoPacket]:
        packets: list[VideoPacket] = []
        limit = self._limits.max_video_frames
        number = 0
        for number, packet in enumerate(container.demux(stream)):  # noqa: B007, the last one is empty
            if packet.is_corrupt:
                raise ValueError("a frame is incomplete")
            if packet.size:
                packets.append(packet)
            if len(packets) > limit:
                raise MediaError(
                    f"The video has more than {limit:,} frames (--max-video-frames).", param=self._ref.param
                )
        if self.name == "AVI" and number < stream.frames:  # garbage is skipped, and would shift the numbers
            raise ValueError(f"{stream.frames - number} of {stream.frames} frames are missing")
        # A recording may start between two key frames; what comes before the first cannot be decoded.
        start = next((i for i, packet in enumerate(packets) if packet.is_keyframe), 0)
        return packets[start:]

    def _order(self) -> None:
        """Find the number of frames, their places by time stamp, and the key frames as (place, packet number)."""
        shown = [(i, packet) for i, packet in enumerate(self._packets) if self._is_shown(packet)]
        times = [packet.pts for _, packet in shown]
        # AVI has no presentation times; frames are then counted as they come out of the decoder.
        self._place: dict[int, int] = {}
        self._keys = [(0, 0)]
        self.total = len(shown)
        known = [time for time in times if time is not None]
        if shown and self.name != "AVI" and len(set(known)) == len(times):
            # Frames shown before the first key frame lean on one that is not there.
            self._place = {time: place for place, time in enumerate(sorted(t for t in known if t >= known[0]))}
            self.total = len(self._place)
            self._keys = sorted((self._place[p.pts], i) for i, p in shown if p.is_keyframe and p.pts in self._place)
            self._keys = self._keys or [(0, 0)]

    def _is_shown(self, packet: VideoPacket) -> bool:
        """Whether a frame comes out for the packet: not for one outside the cut of the file, nor for a VP8 frame that
        only serves as reference (RFC 6386, 9.1: bit 4 of the first byte is show_frame)."""
        hidden = self._decoder.name == "vp8" and not bytes(packet)[0] & 0x10
        return not packet.is_discard and not hidden

    def frames(self, indices: tuple[int, ...]) -> Iterator[UInt8Array]:
        """The frames at rising `indices`, [H, W, 3], upright; MediaError where one is missing."""
        runs = self._runs(indices)
        num_decoded = sum(wanted[-1] + 1 - place for place, _, wanted in runs)
        size: tuple[int, int] | None = None
        for place, start, wanted in runs:
            missing = iter(wanted)
            target: int | None = next(missing)
            for at, frame in self._decode(place, start):
                size = size or self._affordable(frame.width, frame.height, num_decoded)
                if (frame.width, frame.height) != size:
                    raise MediaError("The frames of the video are not all of one size.", param=self._ref.param)
                if at == target and not frame.is_corrupt:
                    yield self._rgb(frame)
                    target = next(missing, None)
                if target is None:
                    break
            else:
                raise MediaError(f"Frame {target} of the video cannot be decoded.", param=self._ref.param)

    def _runs(self, indices: tuple[int, ...]) -> list[tuple[int, int, list[int]]]:
        """Cut `indices` into runs (first place, first packet, wanted places), each decoded in one go from a key frame:
        a new run wherever there is a key frame between one wanted frame and the next."""
        runs: list[tuple[int, int, list[int]]] = []
        for index in indices:
            place, packet = self._keys[max(0, bisect_right(self._keys, (index, len(self._packets))) - 1)]
            if not runs or place > runs[-1][2][-1]:
                runs.append((place, packet, []))
            runs[-1][2].append(index)
        return runs

    def _decode(self, place: int, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(place, frame) of every frame from packet `start` on, whose own frame is at `place`."""
        self._decoder.flush_buffers()
        try:
            for packet in chain(self._packets[start:], (None,)):
                for frame in self._decoder.decode(packet):
                    yield (self._place.get(frame.pts or 0, -1) if self._place else place), frame
                    place += 1
        except Exception as error:
            raise _damaged(self.name, self._ref, error) from None

    def _rgb(self, frame: av.VideoFrame) -> UInt8Array:
        """[H, W, 3], upright, on white."""
        try:
            if any(component.is_alpha for component in frame.format.components):
                pixels = _on_white(Image.fromarray(frame.to_ndarray(format="rgba")))
            else:
                pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            # `rotation` is in degrees against the clock, as np.rot90 turns.
            return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
        except Exception as error:
            raise _damaged(self.name, self._ref, error) from None

    def _affordable(self, width: int, height: int, num_decoded: int) -> tuple[int, int]:
        """The size itself, unless decoding so many frames of it is too much."""
        work, limit = num_decoded * width * height, self._limits.max_video_pixels
        if work > limit:
            message = f"The video takes {work:,} pixels to decode; at most {limit:,} are (--max-video-pixels)."
            raise MediaError(message, param=self._ref.param, hint="Ask for fewer frames, or send a part of it.")
        return width, height


# --- both ------------------------------------------------------------------------------------------------------------


def _check_area(noun: str, width: int, height: int, ref: MediaRef, limits: MediaLimits) -> None:
    if width < 1 or height < 1:
        raise MediaError(f"The {noun} is {width} x {height} pixels: there is nothing in it.", param=ref.param)
    if width * height > limits.max_image_pixels:
        raise MediaError(
            f"The {noun} is {width} x {height} = {width * height:,} pixels; at most {limits.max_image_pixels:,} are "
            "decoded (--max-image-pixels).",
            param=ref.param,
        )


def _damaged(name: str, ref: MediaRef, error: Exception) -> MediaError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return MediaError(f"The {name} file is damaged or cut off: {reason}.", param=ref.param)


_UPRIGHT: dict[int, Any] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
"""What undoes each EXIF orientation (CIPA DC-008, tag 0x0112)."""

_MAX_SCANS = 100
"""Cameras and encoders write 1 to 14. Each scan of a progressive file passes over the whole picture again: a few
kilobytes could keep a decoder busy for hours."""

_HUSHED = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

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
    (0, b"%PDF-", "PDF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
)

_PICTURES: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}

_VIDEOS = {"MP4": "mov", "Matroska or WebM": "matroska", "AVI": "avi", "MPEG-TS": "mpegts", "GIF": "gif"}
"""Names of FFmpeg demuxers. Formats that name other files (playlists) are not among them."""
