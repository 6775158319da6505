"""What one picture or video may cost, and how it is told what is wrong with it; knows no format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from saccade.errors import MediaError
from saccade.types import MediaRef


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What one picture or video may cost; whatever is beyond is refused with a MediaError that names the limit."""

    max_file_bytes: int = 32 * 2**20
    """Bytes of a file as it comes: decoded from base64, not decoded from JPEG."""
    max_image_pixels: int = 40_000_000
    """Pixels of a picture, or of one frame of a video, before the resize. Read from the header, before any decoding."""
    max_pixels: int = 4_194_304
    """Pixels of a picture, or of one frame of a video, after the resize; more are scaled down, not refused. The work of
    the vision tower grows with the square of this number."""
    max_frames: int = 768
    """Frames taken from one video."""
    max_video_frames: int = 200_000
    """Frames a video file may hold: nearly two hours at 30 frames per second."""
    max_video_pixels: int = 32_000_000_000
    """Pixels decoded for one video in total, frames passed over on the way included: 8 minutes of 1080p at 30 frames
    per second. It bounds the time."""
    max_store_bytes: int = 512 * 2**20
    """Files that are kept because they were sent ahead of the requests that name them."""
    allow_remote: bool = False
    """Whether http(s) URLs are fetched from any host of the public internet."""
    allow_hosts: frozenset[str] = frozenset()
    """Hosts that are fetched from in any case, whatever their addresses are."""
    media_root: Path | None = None
    """The directory below which file: URLs and paths may name files; None: no files at all."""
    recent_bytes: int = 512 * 2**20
    """Of prepared pictures that are kept in case their files are sent again: about 160 of 1024 x 1024."""
    timeout: float = 20.0
    """Seconds for one http(s) file, redirects included."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How files are decoded in processes of their own."""

    number: int
    """Of processes."""
    max_seconds: float = 60.0
    """That one may work on a file; waiting for those who take its frames does not count."""
    max_memory: int = 2 * 2**30
    """Bytes that one may take for a file, beside the pixels that it hands over."""


def check_area(noun: str, width: int, height: int, ref: MediaRef, limits: MediaLimits) -> None:
    """Raise MediaError for a size that is nothing, or more than is decoded."""
    if width < 1 or height < 1:
        raise MediaError(f"The {noun} is {width} x {height} pixels: there is nothing in it.", param=ref.param)
    if width * height > limits.max_image_pixels:
        raise MediaError(
            f"The {noun} is {width} x {height} = {width * height:,} pixels; at most {limits.max_image_pixels:,} are "
            "decoded (--max-image-pixels).",
            param=ref.param,
        )


def damaged(name: str, ref: MediaRef, error: Exception) -> MediaError:
    """What a decoder said, if it is fit for a stranger: some name objects with their place in memory, or files. Raises
    MemoryError again, which is no fault of the file."""
    if isinstance(error, MemoryError):
        raise error
    reason = getattr(error, "strerror", None) or str(error)
    fit = re.fullmatch(r"[A-Za-z0-9 ,.:'()+=-]{1,120}", reason) and "0x" not in reason
    return MediaError(f"The {name} file is damaged or cut off{f': {reason}' if fit else ''}.", param=ref.param)
