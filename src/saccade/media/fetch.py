"""MediaRef -> Blob: the bytes of one picture or video come in from a data: URL, memory, a file (files.py) or another
host (remote.py), and leave with their digest; it knows no image or video format."""

from __future__ import annotations

import binascii
import re
import time
from dataclasses import replace
from urllib.parse import unquote, unquote_to_bytes

import pybase64
from blake3 import blake3

from saccade.errors import MediaError, MediaTooLargeError
from saccade.media.files import read_below
from saccade.media.limits import MediaLimits
from saccade.media.remote import Remote
from saccade.media.store import MediaStore
from saccade.types import Blob, MediaRef


class Fetcher:
    """Reads what a MediaRef names, within the limits."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits
        self.store = MediaStore(limits.max_store_bytes)
        self.remote = Remote(
            any_public=limits.allow_remote,
            hosts=limits.allow_hosts,
            max_bytes=limits.max_file_bytes,
            timeout=limits.timeout,
        )

    @staticmethod
    def is_remote(ref: MediaRef) -> bool:
        """Whether it names another host, so that `bring` has to come before `fetch`."""
        return _is_remote(ref.url) or any(map(_is_remote, ref.frames))

    async def bring(self, ref: MediaRef) -> MediaRef:
        """The same with bytes in place of http(s) addresses; MediaError when they cannot be had."""
        if ref.frames and self.is_remote(ref):
            self._check_frames(len(ref.frames), ref)
            got = [await self._bring(source, ref) if _is_remote(source) else source for source in ref.frames]
            return replace(ref, frames=tuple(got))
        if _is_remote(ref.url):
            return replace(ref, url=None, data=await self._bring(ref.url, ref))
        return ref

    def fetch(self, ref: MediaRef, salt: bytes = b"") -> Blob:
        """The bytes of `ref` and their blake3 digest; MediaError when they cannot or may not be had. `salt`: of the one
        whose files its ids name. Safe to use from several threads."""
        if ref.frames:
            self._check_frames(len(ref.frames), ref)
            return self._listed([self._read(source, ref, salt) for source in ref.frames], ref)
        source = ref.data if ref.data is not None else ref.url
        assert source is not None, "a MediaRef has either a url, or data, or frames"
        if isinstance(source, str) and (head := _MOTION_JPEG.match(source)):
            return self._motion_jpeg(source, head.end(), ref)
        data = self._read(source, ref, salt)
        began = time.perf_counter()
        digest = blake3(data).hexdigest()
        return Blob(data, digest, hash_seconds=time.perf_counter() - began)

    async def _bring(self, url: str | bytes | None, ref: MediaRef) -> bytes:
        assert isinstance(url, str)
        if not (self._limits.allow_remote or self._limits.allow_hosts):
            raise MediaError(
                "Pictures and videos are not fetched from other servers here.",
                param=ref.param,
                hint="Send a data: URL, or start the server with --allow-remote-media.",
            )
        return await self.remote.fetch(url, ref.param, self._too_large(ref))

    def _motion_jpeg(self, url: str, start: int, ref: MediaRef) -> Blob:
        """data:video/jpeg;base64,one,two,three: the frames of a video, counted before any of them is decoded."""
        self._check_frames(url.count(",", start) + 1, ref)
        frames = url[start:].split(",")
        return self._listed([self._from_data_url(ref, f"data:;base64,{frame}") for frame in frames], ref)

    def _listed(self, parts: list[bytes], ref: MediaRef) -> Blob:
        """A video that came as pictures."""
        if sum(map(len, parts)) > self._limits.max_file_bytes:
            raise self._too_large(ref)
        began = time.perf_counter()
        digest = blake3(b"".join(blake3(part).digest() for part in parts)).hexdigest()
        return Blob(b"", digest, tuple(parts), hash_seconds=time.perf_counter() - began)

    def _check_frames(self, count: int, ref: MediaRef) -> None:
        if count > self._limits.max_frames:
            message = f"The video is a list of {count:,} frames; at most {self._limits.max_frames:,} are taken"
            raise MediaError(f"{message} (--max-frames).", param=ref.param)

    def _read(self, source: str | bytes, ref: MediaRef, salt: bytes) -> bytes:
        """The bytes of one file, within the limit."""
        if isinstance(source, str):
            named = re.match(r"([a-z][a-z0-9+.-]{0,20}):", source, re.IGNORECASE)
            scheme = named[1].lower() if named else "file"
            if scheme == "data":
                source = self._from_data_url(ref, source)
            elif scheme == "file":
                source = self._from_file(ref, source)
            elif scheme == "media":
                source = self._from_store(ref, source[len("media:") :], salt)
            else:
                assert scheme not in ("http", "https"), "those are brought before"
                raise MediaError(f"{scheme}: is no kind of address that can be read.", param=ref.param, hint=_WAYS)
        if len(source) > self._limits.max_file_bytes:
            raise self._too_large(ref)
        return source

    def _from_data_url(self, ref: MediaRef, url: str) -> bytes:
        """RFC 2397: data:[type][;base64],payload with percent-encoding allowed; base64 is the standard alphabet with
        padding, nothing else. The size is known before anything is decoded."""
        comma = url.find(",")
        if comma < 0:
            raise MediaError("The data: URL has no comma between its type and its data.", param=ref.param)
        is_packed = url[max(0, comma - 20) : comma].rstrip().lower().endswith(";base64")
        payload = url[comma + 1 :]
        if "%" in payload:
            # Three characters for each byte at most, and of base64 four thirds of that.
            if len(payload) > self._limits.max_file_bytes * (4 if is_packed else 3) + 4:
                raise self._too_large(ref)
            if not is_packed:
                return unquote_to_bytes(payload)
            payload = unquote(payload)
        elif not is_packed:
            return payload.encode()
        if len(payload) * 3 // 4 - 2 > self._limits.max_file_bytes:
            raise self._too_large(ref)
        try:
            return pybase64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise MediaError("The data: URL does not hold valid base64.", param=ref.param) from None

    def _from_file(self, ref: MediaRef, url: str) -> bytes:
        """The file at a path. One elsewhere and one that is not there give the same error: what exists outside is
        nobody's business."""
        if self._limits.media_root is None:
            raise MediaError("Files are not read here.", param=ref.param, hint=_WAYS)
        try:
            return read_below(self._limits.media_root, url, self._limits.max_file_bytes + 1)
        except (OSError, ValueError):
            raise MediaError("There is no such file below the directory of --media-root.", param=ref.param) from None

    def _from_store(self, ref: MediaRef, digest: str, salt: bytes) -> bytes:
        """A file that was sent ahead. One that was never sent, one that has left and one of somebody else are alike."""
        data = self.store.get(digest, salt)
        if data is None:
            raise MediaError(
                "The file of this id is not here, or not here any more.",
                param=ref.param,
                code="media_not_found",
                hint="Send its bytes again with POST /v1/media, or in the request.",
            )
        return data

    def _too_large(self, ref: MediaRef) -> MediaError:
        noun = "picture" if ref.kind == "image" else "video"
        limit = f"{self._limits.max_file_bytes:,} bytes (--max-file-bytes)"
        return MediaTooLargeError(f"The file of this {noun} is larger than {limit}.", param=ref.param)


def _is_remote(source: str | bytes | None) -> bool:
    return isinstance(source, str) and source[:6].lower().startswith(("http:", "https:"))


_MOTION_JPEG = re.compile(r"data:video/jpeg;base64,", re.IGNORECASE)
_WAYS = "Send a data: URL (data:image/png;base64,...), or start the server with --media-root or --allow-remote-media."
