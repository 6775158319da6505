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
from typing import TYPE_CHECKING, Any

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

    def indices(self, total: int, source_fps: float, fps: float | None, num_frames: int | None) -> tuple[int, ...]:
        """Which of `total` frames to take, evenly from the first to the last: `num_frames` of them, or as many as `fps`
        (else the default) gives. Rounds as the reference does (Qwen3VLVideoProcessor.sample_frames): the count
        downwards, places to the nearest, halves to even. 61 frames at 30 per second, 2 wanted -> 0, 20, 40, 60."""
        if num_frames is None:
            num_frames = int(total / source_fps * (fps or self.fps))
            num_frames = min(max(num_frames, self.min_frames), self.max_frames)
        places = np.linspace(0, total - 1, min(num_frames, total)).round()
        return tuple(int(place) for place in places)


def decode(blob: Blob, ref: MediaRef, limits: MediaLimits, sampling: Sampling = Sampling()) -> Frames:
    """The picture in `blob`, or the frames of its video that `ref` asks for (else `sampling`).

    The header is read and held against `limits` before anything is decoded. The frames of a video after the first are
    decoded while they are read. MediaError for a file that is empty, of another format, damaged, cut off or too large.
    """
    noun = "picture" if ref.kind == "image" else "video"
    name = sniff(blob.data)
    if name not in (_PICTURES if ref.kind == "image" else _VIDEOS):
        readable = ", ".join(_PICTURES if ref.kind == "image" else _VIDEOS)
        raise MediaError(
            f"The {noun} is {name or 'of no known format'}; what can be read: {readable}.", param=ref.param
        )
    if ref.kind == "image":
        pixels = _decode_picture(name, blob.data, ref, limits)
        return Frames("image", (pixels,), pixels.shape[:2], (0,), 0.0, blob.digest, ref.param)
    video = _Video(name, blob.data, ref, limits)
    indices = _chosen(video, ref, limits, sampling)
    frames = video.frames(indices)
    first = next(frames)  # shows that it can be decoded, and its size once upright
    return Frames("video", chain((first,), frames), first.shape[:2], indices, video.fps, blob.digest, ref.param)


def sniff(data: bytes) -> str:
    """What a file is, by its first bytes: a key of the tables below, a phrase for an error message, or ""."""
    if not data:
        return "an empty file"
    if data[:1] == b"G" and data[188:189] == b"G":  # packets of 188 bytes
        return "MPEG-TS"
    for offset, magic, name in _MAGIC:
        if data.startswith(magic, offset):
            return name
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
    if name == "JPEG" and data.count(_START_OF_SCAN) > _MAX_SCANS:
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

        self.name = name
        self._ref = ref
        options = {"protocol_whitelist": "none", "max_pixels": str(limits.max_image_pixels)}
        try:
            file = io.BytesIO(data)
            with av.open(file, "r", format=_VIDEOS[name], options=options, metadata_errors="replace") as container:
                stream = next((s for s in container.streams.video if not _is_cover(s)), None)
                if stream is None:
                    raise MediaError(f"The {name} file has no video in it.", param=ref.param)
                self._decoder = stream.codec_context
                self._decoder.options = {"max_pixels": str(limits.max_image_pixels)}
                self.width, self.height = self._decoder.width, self._decoder.height
                _check_area("video frame", self.width, self.height, ref, limits)
                self.fps = float(stream.average_rate or 0) or 24.0  # 24: what the reference takes for an unknown rate
                self._packets = self._demux(container, stream, limits)
        except MediaError:
            raise
        except Exception as error:
            raise _damaged(name, ref, error) from None
        self._order()

    def _demux(
        self, container: av.container.InputContainer, stream: av.VideoStream, limits: MediaLimits
    ) -> list[av.Packet[av.VideoStream]]:
        packets: list[av.Packet[av.VideoStream]] = []
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise ValueError("a frame is incomplete")
            if packet.size:
                packets.append(packet)
            if len(packets) > limits.max_video_frames:
                raise MediaError(f"The video has more than {limits.max_video_frames:,} frames.", param=self._ref.param)
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

    def _is_shown(self, packet: av.Packet[av.VideoStream]) -> bool:
        """Whether a frame comes out for the packet: not for one outside the cut of the file, nor for a VP8 frame that
        only serves as reference (RFC 6386, 9.1: bit 4 of the first byte is show_frame)."""
        hidden = self._decoder.name == "vp8" and not bytes(packet)[0] & 0x10
        return not packet.is_discard and not hidden

    def runs(self, indices: tuple[int, ...]) -> list[tuple[int, int, list[int]]]:
        """Cut rising `indices` into runs (first place, first packet, wanted places), each decoded in one go from a key
        frame: a new run wherever there is a key frame between one wanted frame and the next."""
        runs: list[tuple[int, int, list[int]]] = []
        for index in indices:
            place, packet = self._keys[max(0, bisect_right(self._keys, (index, len(self._packets))) - 1)]
            if not runs or place > runs[-1][2][-1]:
                runs.append((place, packet, []))
            runs[-1][2].append(index)
        return runs

    def frames(self, indices: tuple[int, ...]) -> Iterator[UInt8Array]:
        """The frames at `indices`, [H, W, 3], upright; MediaError where one is missing."""
        size: tuple[int, ...] | None = None
        for place, packet, wanted in self.runs(indices):
            for pixels in self._decode(place, packet, wanted):
                size = size or pixels.shape
                if pixels.shape != size:
                    raise MediaError("The frames of the video are not all of one size.", param=self._ref.param)
                yield pixels

    def _decode(self, place: int, start: int, wanted: list[int]) -> Iterator[UInt8Array]:
        """Decode from packet `start`, whose frame is at `place`, to the last of the `wanted` places."""
        self._decoder.flush_buffers()
        missing = iter(wanted)
        target = next(missing, None)
        try:
            for packet in chain(self._packets[start:], (None,)):
                for frame in self._decoder.decode(packet):
                    at = self._place.get(frame.pts or 0, -1) if self._place else place
                    place += 1
                    if at == target:
                        if frame.is_corrupt:
                            raise ValueError("the frame is incomplete")
                        yield _frame_to_rgb(frame)
                        target = next(missing, None)
                    if target is None:
                        return
            raise ValueError("the frame does not come out of the decoder")
        except Exception as error:
            raise _damaged(f"{self.name} (at frame {target})", self._ref, error) from None


def _chosen(video: _Video, ref: MediaRef, limits: MediaLimits, sampling: Sampling) -> tuple[int, ...]:
    """The frames to take, or MediaError when the caller's numbers make no sense or cost too much."""
    if ref.fps is not None and ref.num_frames is not None:
        raise MediaError("fps and num_frames exclude each other.", param=ref.param)
    if ref.fps is not None and not (ref.fps > 0 and math.isfinite(ref.fps)):
        raise MediaError(f"fps is {ref.fps}; it must be above 0.", param=ref.param)
    if ref.num_frames is not None and not 0 < ref.num_frames <= limits.max_frames:
        raise MediaError(f"num_frames is {ref.num_frames}; it must be 1 to {limits.max_frames}.", param=ref.param)
    if not video.total:
        raise MediaError(f"The {video.name} file has no frames.", param=ref.param)
    indices = sampling.indices(video.total, video.fps, ref.fps, ref.num_frames)
    if len(indices) > limits.max_frames:
        indices = sampling.indices(video.total, video.fps, None, limits.max_frames)
    work = sum(wanted[-1] + 1 - place for place, _, wanted in video.runs(indices)) * video.width * video.height
    if work > limits.max_video_pixels:
        cost = f"{work:,} pixels to decode; at most {limits.max_video_pixels:,} are allowed"
        raise MediaError(f"The video takes {cost}.", param=ref.param, hint="Ask for fewer frames, or send a part.")
    return indices


def _frame_to_rgb(frame: av.VideoFrame) -> UInt8Array:
    if any(component.is_alpha for component in frame.format.components):
        pixels = _on_white(Image.fromarray(frame.to_ndarray(format="rgba")))
    else:
        pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    # `rotation` is in degrees against the clock, as np.rot90 turns.
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether it is the still picture on the sleeve of a music file."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


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
    return MediaError(f"The {name} file is damaged or cut off: {error or type(error).__name__}.", param=ref.param)


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

_START_OF_SCAN = b"\xff\xda"
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
