"""What a request will cost, guessed before anything is done for it: tokens, pixels and bytes; knows no queue.

How many tokens a prompt has is known only when its pictures are decoded, so they are estimated: text by its bytes,
pictures by those of recent requests. Pixels stand in the first bytes of a file, which is all that is looked at.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from saccade.types import MediaKind, MediaRef, Request, TextPart, Usage

BYTES_PER_TOKEN = 4
"""Of text in UTF-8."""
FIRST_GUESS: dict[MediaKind, float] = {"image": 1024.0, "video": 4096.0}
"""Tokens of a picture of a megapixel, and of a short video."""
PIXELS: dict[MediaKind, int] = {"image": 2**21, "video": 2**26}
"""Of a file that does not tell at its beginning: two megapixels; 64 frames of a megapixel."""
MEMORY = 16
"""About so many requests the mean tokens of a picture remember."""
HEADS = (1536, 64 * 1024)
"""Bytes of a file that are looked at, and where they do not tell, more: the size of a JPEG stands behind its EXIF."""
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Load:
    """What a request will ask of the server, at a guess."""

    tokens: int
    """Of its prompt."""
    num_images: int
    num_videos: int
    pixels: int = 0
    """Before they are scaled down."""

    def __add__(self, other: Load) -> Load:
        return Load(
            self.tokens + other.tokens,
            self.num_images + other.num_images,
            self.num_videos + other.num_videos,
            self.pixels + other.pixels,
        )


NOTHING = Load(0, 0, 0)


class Estimates:
    """Guesses that learn from what pictures turned out to have."""

    def __init__(self, context: Callable[[], int]) -> None:
        """`context`: tokens, the most that one request can have."""
        self._context = context
        self._guess = dict(FIRST_GUESS)

    def load(self, request: Request) -> Load:
        """What is known of a request before anything is done for it."""
        parts = [part for message in request.messages for part in message.parts]
        size = sum(len(part.text.encode(errors="replace")) for part in parts if isinstance(part, TextPart))
        size += sum(len(str(tool)) for tool in request.tools)
        kinds = [ref.kind for ref in request.media]
        tokens = ceil(size / BYTES_PER_TOKEN + sum(self._guess[kind] for kind in kinds))
        pixels = sum(_pixels(ref) for ref in request.media)
        return Load(min(tokens, self._context()), kinds.count("image"), kinds.count("video"), pixels)

    def learn(self, load: Load, usage: Usage) -> None:
        """What the pictures of a request turned out to have."""
        if load.num_images:
            self._guess["image"] += (usage.image_tokens / load.num_images - self._guess["image"]) / MEMORY
        if load.num_videos:
            self._guess["video"] += (usage.video_tokens / load.num_videos - self._guess["video"]) / MEMORY


def _pixels(ref: MediaRef) -> int:
    """Of a picture or video, as its first bytes tell."""
    if ref.kind == "image":
        for length in HEADS:
            data = ref.data[:length] if ref.data else _beginning(ref.url or "", length)
            if data and (size := size_of(data)):
                return size[0] * size[1]
    return PIXELS[ref.kind]


def _beginning(url: str, length: int) -> bytes:
    """The first `length` bytes of what a base64 data: URL holds; none of any other."""
    if not url.startswith("data:"):
        return b""
    at = url.find(",", 0, 256) + 1
    text = url[at : at + length * 4 // 3]
    try:
        return b64decode(text[: len(text) // 4 * 4])
    except (Error, ValueError):
        return b""


def size_of(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG, GIF, BMP, WebP or JPEG by its beginning; None: it is not told there."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if data[:2] == b"BM" and len(data) >= 26:
        return int.from_bytes(data[18:22], "little"), abs(int.from_bytes(data[22:26], "little", signed=True))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp(data)
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Segments are skipped by their length until one tells the size: FF C0, 2 bytes length, 1 precision, height and
    width."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _JPEG_SIZES:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
