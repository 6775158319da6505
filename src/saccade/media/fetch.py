"""MediaRef -> Blob: the bytes of one picture or video come in from a data: URL, memory, an allowed file or an allowed
address, and leave with their digest; it knows no image or video format."""

from __future__ import annotations

import binascii
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import pybase64
from blake3 import blake3

from saccade.errors import MediaError
from saccade.types import Blob, MediaRef


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
    allow_remote: bool = False
    """Whether http(s) URLs are fetched."""
    media_root: Path | None = None
    """The directory below which file: URLs and paths may name files; None: no files at all."""
    timeout: float = 20.0
    """Seconds for one http(s) file, looked at between two pieces of it."""


class Fetcher:
    """Reads what a MediaRef names, within the limits. Safe to use from several threads."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits

    def fetch(self, ref: MediaRef) -> Blob:
        """The bytes of `ref` and their blake3 digest; MediaError when they cannot or may not be had."""
        data = ref.data if ref.data is not None else self._read(ref)
        if len(data) > self._limits.max_file_bytes:
            raise self._too_large(ref)
        began = time.perf_counter()
        digest = blake3(data).hexdigest()
        return Blob(data, digest, time.perf_counter() - began)

    def _read(self, ref: MediaRef) -> bytes:
        assert ref.url is not None, "a MediaRef has either a url or data"
        named = re.match(r"([a-z][a-z0-9+.-]*):", ref.url, re.IGNORECASE)
        scheme = named[1].lower() if named else "file"
        if scheme == "data":
            return self._from_data_url(ref, ref.url)
        if scheme == "file":
            return self._from_file(ref, ref.url, is_url=named is not None)
        if scheme in ("http", "https"):
            return b"".join(self._from_network(ref, ref.url))
        raise MediaError(f"{scheme}: is no kind of address that can be read.", param=ref.param, hint=_WAYS)

    def _from_data_url(self, ref: MediaRef, url: str) -> bytes:
        """RFC 2397: data:[type][;base64],payload with percent-encoding allowed; base64 is the standard alphabet with
        padding, nothing else."""
        head, comma, payload = url[len("data:") :].partition(",")
        if not comma:
            raise MediaError("The data: URL has no comma between its type and its data.", param=ref.param)
        if not head.rstrip().lower().endswith(";base64"):
            return unquote_to_bytes(payload)
        if "%" in payload:
            payload = unquote(payload)
        if len(payload) * 3 // 4 - 2 > self._limits.max_file_bytes:
            raise self._too_large(ref)
        try:
            return pybase64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise MediaError("The data: URL does not hold valid base64.", param=ref.param) from None

    def _from_file(self, ref: MediaRef, url: str, is_url: bool) -> bytes:
        """The file at a path, if it lies below `media_root` once every link on the way is followed. A file elsewhere
        and a file that is not there give the same error: what exists outside is nobody's business."""
        if self._limits.media_root is None:
            raise MediaError(f"Files are not read here, so {_short(url)!r} cannot be.", param=ref.param, hint=_WAYS)
        missing = MediaError(f"{_short(url)!r} is no file below the directory of --media-root.", param=ref.param)
        try:
            root = self._limits.media_root.resolve()
            if is_url:
                parts = urlsplit(url)
                if parts.netloc not in ("", "localhost"):
                    raise missing
                url = unquote(parts.path)
            path = (root / url).resolve()
            if not path.is_relative_to(root) or not path.is_file():
                raise missing
            with path.open("rb") as file:
                return file.read(self._limits.max_file_bytes + 1)
        except (OSError, RuntimeError, ValueError):  # a loop of links is a RuntimeError, a null byte a ValueError
            raise missing from None

    def _from_network(self, ref: MediaRef, url: str) -> Iterator[bytes]:
        """The body of an http(s) answer, piece by piece. Compressed ones are refused: they could unpack to any size."""
        if not self._limits.allow_remote:
            raise MediaError(
                "Pictures and videos are not fetched from other servers here.",
                param=ref.param,
                hint="Send a data: URL, or start the server with --allow-remote-media.",
            )
        import httpx

        deadline = time.monotonic() + self._limits.timeout
        headers = {"Accept-Encoding": "identity", "User-Agent": "saccade"}
        try:
            with (
                httpx.Client(timeout=self._limits.timeout, follow_redirects=True, max_redirects=5) as client,
                client.stream("GET", url, headers=headers) as answer,
            ):
                encoding = answer.headers.get("Content-Encoding", "identity")
                if answer.status_code != 200 or encoding != "identity":
                    what = (
                        f"status {answer.status_code}" if encoding == "identity" else f"a body packed with {encoding}"
                    )
                    raise MediaError(f"{_short(url)} answered with {what}.", param=ref.param)
                if int(answer.headers.get("Content-Length", 0)) > self._limits.max_file_bytes:
                    raise self._too_large(ref)
                num_bytes = 0
                for piece in answer.iter_raw(65536):
                    num_bytes += len(piece)
                    if num_bytes > self._limits.max_file_bytes:
                        raise self._too_large(ref)
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("too slow")
                    yield piece
        except httpx.TimeoutException:
            seconds = f"{self._limits.timeout:g} seconds (--remote-timeout)"
            raise MediaError(f"{_short(url)} could not be fetched within {seconds}.", param=ref.param) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise MediaError(f"{_short(url)} could not be fetched: {error}.", param=ref.param) from None

    def _too_large(self, ref: MediaRef) -> MediaError:
        noun = "picture" if ref.kind == "image" else "video"
        limit = f"{self._limits.max_file_bytes:,} bytes (--max-file-bytes)"
        return MediaError(f"The file of this {noun} is larger than {limit}.", param=ref.param)


def _short(url: str) -> str:
    return url if len(url) <= 100 else f"{url[:97]}..."


_WAYS = "Send a data: URL (data:image/png;base64,...), or start the server with --media-root or --allow-remote-media."
