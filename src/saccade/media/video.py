"""The bytes of one video file -> the frames asked for, upright RGB on white, decoded while they are read; the only file
that touches a decoder of videos.

Containers and codecs are named at the bottom: nothing else can be reached. FFmpeg sees bytes in memory and no address.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from saccade.errors import MediaError
from saccade.media.limits import MediaLimits, check_area, damaged
from saccade.media.stills import on_white
from saccade.types import MediaRef, UInt8Array

if TYPE_CHECKING:
    import av

    VideoPacket: TypeAlias = av.Packet[av.VideoStream]


def load() -> None:
    """Have FFmpeg at hand, before the first video comes. Where PyAV cannot be loaded (not every machine has a build of
    it), pictures are served and a video is refused."""
    with suppress(ImportError):
        import av  # noqa: F401


class Video:
    """The coded frames of one video, all in memory (no more bytes than the file), and the order they are shown in.

    With the packets at hand, going to a frame means decoding from the key frame before it: no search in the file, no
    index that may be missing, and frame 57 is frame 57 in every container.

        packets in file order   I0 P3 B1 B2  I4 P7 B5 B6        digits: place in the order of showing
        wanted 2, 6             decode I0 P3 B1 B2, go to I4, decode I4 P7 B5 B6
        wanted 2, 3             decode I0 P3 B1 B2 and go on
    """

    def __init__(self, name: str, data: bytes, ref: MediaRef, limits: MediaLimits) -> None:
        try:
            import av
            from av.stream import Disposition
        except ImportError:
            raise MediaError("This server cannot read videos: PyAV is not installed.", param=ref.param) from None

        self.name, self._ref, self._limits = name, ref, limits
        options = {
            "protocol_whitelist": "none",
            "format_whitelist": VIDEOS[name],
            "codec_whitelist": ",".join(DECODERS),  # FFmpeg decodes a little while it opens a file
            "max_pixels": str(limits.max_image_pixels),
        }
        try:
            file = io.BytesIO(data)
            with av.open(file, "r", format=VIDEOS[name], options=options, metadata_errors="replace") as container:
                cover = Disposition.attached_pic  # the still picture on the sleeve of a music file
                stream = next((s for s in container.streams.video if not s.disposition & cover), None)
                if stream is None:
                    raise MediaError(f"The {name} file has no video in it.", param=ref.param)
                if stream.codec.canonical_name not in CODECS:
                    raise MediaError(
                        f"The video is coded as {stream.codec.canonical_name}; supported are {', '.join(CODECS)}.",
                        param=ref.param,
                    )
                self._decoder = stream.codec_context
                self._decoder.options = {"max_pixels": str(limits.max_image_pixels)}
                check_area("video frame", self._decoder.width, self._decoder.height, ref, limits)
                self.fps = float(stream.average_rate or 0) or 24.0  # 24: what the reference takes for an unknown rate
                self._packets = self._demux(container, stream)
        except MediaError:
            raise
        except Exception as error:
            raise damaged(name, ref, error) from None
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
            raise damaged(self.name, self._ref, error) from None

    def _rgb(self, frame: av.VideoFrame) -> UInt8Array:
        """[H, W, 3], upright, on white."""
        try:
            if any(component.is_alpha for component in frame.format.components):
                pixels = on_white(frame.to_ndarray(format="rgba"))
            else:
                pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            # `rotation` is in degrees against the clock, as np.rot90 turns.
            return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
        except Exception as error:
            raise damaged(self.name, self._ref, error) from None

    def _affordable(self, width: int, height: int, num_decoded: int) -> tuple[int, int]:
        """The size itself, unless decoding so many frames of it is too much."""
        work, limit = num_decoded * width * height, self._limits.max_video_pixels
        if work > limit:
            message = f"The video takes {work:,} pixels to decode; at most {limit:,} are (--max-video-pixels)."
            raise MediaError(message, param=self._ref.param, hint="Ask for fewer frames, or send a part of it.")
        return width, height


VIDEOS = {"MP4": "mov", "Matroska or WebM": "matroska", "AVI": "avi", "MPEG-TS": "mpegts", "GIF": "gif"}
"""Names of FFmpeg demuxers. Formats that name other files (playlists) are not among them."""

CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "gif")
"""Names of FFmpeg codecs: what cameras, phones, screens and browsers record. All others stay out of reach, the rarely
used ones that faults are found in first of all."""

DECODERS = (*CODECS, "libdav1d")
"""Names of the decoders of these codecs; that of AV1 has one of its own."""
