"""The media side of the corridor: a MediaRef becomes a Picture, with the time of each stage; knows no prompt and no
engine."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, replace

from saccade.errors import MediaError
from saccade.media.decoders import Decoders
from saccade.media.documents import can_read, missing
from saccade.media.fetch import Fetcher
from saccade.media.frames import DOCUMENT, decode, kind_of, sniff
from saccade.media.limits import Decoding, MediaLimits
from saccade.media.pixels import FACTOR, Plans, prepare
from saccade.media.recent import RecentPictures, Shelf
from saccade.media.stills import as_png
from saccade.types import Blob, CacheHits, Frames, KeptMedia, MediaRef, MediaStats, Picture, StageTimes, UInt8Array

WHITE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAQAAAAEAAQAAAAB0CZXLAAAAM0lEQVR42u3KoQEAAAwCIP9/Wk9YXYBMeoggCIIgCIIgCIIgCIIgCIIgCIIgCIIgCMLvMPPS"
    "4dI8z/G7AAAAAElFTkSuQmCC"
)
"""A PNG of 256 x 256 pixels, which the processors of released checkpoints leave as it is."""


class Pictures:
    """Fetches, decodes and resizes in threads of its own, and keeps what was prepared lately."""

    def __init__(
        self, limits: MediaLimits, plans: Plans, decoding: Decoding | None = None, shelf: Shelf | None = None
    ) -> None:
        """`decoding`: in processes of their own, as for files of strangers; None: in the threads. `shelf`: where the
        engine finds pixels."""
        self._limits = limits
        self._plans = plans
        self._fetcher = Fetcher(limits)
        self._decoders = Decoders(limits, plans.video.sampling, decoding) if decoding else None
        self._recent = RecentPictures(limits.recent_bytes, shelf)
        self._room = self._recent.room if shelf else None
        num_threads = min(8, 2 + (os.cpu_count() or 1))
        self._stills = ThreadPoolExecutor(num_threads, thread_name_prefix="saccade-media")
        num_videos = max(1, (decoding.number if decoding else num_threads) - 1)
        self._videos = ThreadPoolExecutor(num_videos, thread_name_prefix="saccade-media-video")
        """Fewer than there are decoders: a picture never waits for the end of a long video."""

    def pool(self, ref: MediaRef) -> ThreadPoolExecutor:
        """Where `look` at it is to be called."""
        return self._stills if ref.kind == "image" else self._videos

    def facts(self) -> dict[str, int]:
        """What a client needs that makes pictures small before it sends them; see `ModelCard`."""
        return {
            "factor": FACTOR,
            "min_pixels": self._plans.image.min_pixels,
            "max_pixels": self._plans.image.max_pixels,
            "limit_pixels": self._plans.limit,
            "max_file_bytes": int(self._limits.max_file_bytes),
            "max_image_pixels": self._limits.max_image_pixels,
            "max_store_bytes": int(self._limits.max_store_bytes),
            "pdf": int(can_read()),
        }

    async def bring(self, refs: Iterable[MediaRef]) -> list[MediaRef]:
        """The same, with the bytes of those that are on other hosts; nothing but this waits for the network, and it
        ends at once when it is cancelled."""
        refs = list(refs)
        if any(map(self._fetcher.is_remote, refs)):
            return await asyncio.gather(*map(self._fetcher.bring, refs))
        return refs

    async def look_at_all(
        self, refs: Iterable[MediaRef], salt: bytes, needed: Callable[[], bool]
    ) -> list[tuple[Picture, StageTimes]]:
        """Several at once, as `bring` gave them."""
        run = asyncio.get_running_loop().run_in_executor
        return await asyncio.gather(*(run(self.pool(ref), self.look, ref, salt, needed) for ref in refs))

    def look(
        self, ref: MediaRef, salt: bytes, needed: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[Picture, StageTimes]:
        """One picture or video from its address to its pixels, and the time of each stage. What was prepared for
        another `salt` is not found. Decoding is given up when the picture is not `needed` any more; `meanwhile` is
        called while a process works on it, and may not raise."""
        began = time.perf_counter()
        blob = self._fetcher.fetch(ref, salt)
        fetched = time.perf_counter()
        plan = self._plans.of(ref)
        wanted = (salt, blob.digest, plan, ref.fps, ref.num_frames)
        if (known := self._recent.get(wanted)) is not None:
            fetch = fetched - began - blob.hash_seconds
            return known, StageTimes(fetch=fetch * 1e3, hash=blob.hash_seconds * 1e3, cache=CacheHits("digest"))
        with self._decoded(blob, ref, needed, meanwhile) as frames:
            decoded = time.perf_counter()
            clock = _Clock(frames.pixels)  # a video is decoded while its frames are resized
            picture = prepare(replace(frames, pixels=clock), plan, self._room)
            done = time.perf_counter()
        self._recent.put(wanted, picture)
        times = StageTimes(
            fetch=(fetched - began - blob.hash_seconds) * 1e3,
            hash=blob.hash_seconds * 1e3,
            cache=CacheHits("miss"),
            decode_media=(decoded - fetched + clock.seconds) * 1e3,
            resize=(done - decoded - clock.seconds) * 1e3,
        )
        return picture, times

    async def keep(self, ref: MediaRef, salt: bytes) -> tuple[KeptMedia, Picture | None]:
        """A file for later, and what it becomes; a document becomes pictures only page by page."""
        run = asyncio.get_running_loop().run_in_executor
        (ref,) = await self.bring([ref])
        blob = await run(self._stills, self._fetcher.fetch, ref, salt)
        if blob.parts:
            raise MediaError("A list of frames has no id; send them one by one.", param=ref.param)
        if sniff(blob.data) == DOCUMENT:
            size, num_pages, _ = await self._drawn(blob, ref.param, 1)
            digest = await run(self._stills, self._put, blob, ref, salt)
            return KeptMedia(digest, "pdf", len(blob.data), size, 0, num_pages), None
        ref = MediaRef(kind_of(blob.data), ref.param, data=blob.data)
        picture, _ = await run(self.pool(ref), self.look, ref, salt, lambda: True)
        digest = await run(self._stills, self._put, blob, ref, salt)
        return KeptMedia(digest, ref.kind, len(blob.data), picture.original_size, picture.num_tokens), picture

    async def page(self, digest: str, number: int, salt: bytes) -> bytes:
        """One page of a document that is kept, as PNG. MediaError also for one that is not there."""
        run = asyncio.get_running_loop().run_in_executor
        blob = await run(self._stills, self._fetcher.fetch, MediaRef("image", "digest", f"media:{digest}"), salt)
        _, _, png = await self._drawn(blob, "number", number)
        return png

    async def _drawn(self, blob: Blob, param: str, number: int) -> tuple[tuple[int, int], int, bytes]:
        """(height, width) of a page as large as a picture that the checkpoint was made for, how many pages there are,
        and the page as PNG. Given up when it is cancelled."""
        ref = MediaRef("image", param, data=b"", max_pixels=self._plans.image.max_pixels, page=number)
        if not can_read():
            raise missing(ref)
        gone = threading.Event()

        def draw() -> tuple[tuple[int, int], int, bytes]:
            with self._decoded(blob, ref, lambda: not gone.is_set()) as frames:
                (png,) = map(as_png, frames.pixels)
            return frames.size, frames.num_pages, png

        try:
            # A page can take as long as a video, so it has no more decoders than those.
            return await asyncio.get_running_loop().run_in_executor(self._videos, draw)
        finally:
            gone.set()

    def _put(self, blob: Blob, ref: MediaRef, salt: bytes) -> str:
        digest = self._fetcher.store.put(blob.data, salt)
        if digest is None:
            limit = f"{self._limits.max_store_bytes:,} bytes (--media-store-memory)"
            raise MediaError(f"The file has more bytes than can be kept, {limit}.", param=ref.param)
        return digest

    def keeps(self, digest: str, salt: bytes) -> bool:
        """Whether a file for later is still there."""
        return self._fetcher.store.get(digest, salt) is not None

    def stats(self) -> MediaStats:
        """What became of files so far."""
        store, replaced = self._fetcher.store, self._decoders.replaced if self._decoders else {}
        hits, misses, evictions = astuple(store.counters)
        return MediaStats(store.used, hits, misses, evictions, {str(reason): n for reason, n in replaced.items()})

    def close(self) -> None:
        """Begin nothing new, and end the processes."""
        self._fetcher.remote.close()
        for pool in (self._stills, self._videos):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._decoders:
            self._decoders.close()

    def _decoded(
        self, blob: Blob, ref: MediaRef, needed: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None
    ) -> AbstractContextManager[Frames]:
        if self._decoders:
            return self._decoders.decode(blob, ref, needed, meanwhile)
        return nullcontext(decode(blob, ref, self._limits, self._plans.video.sampling))


class _Clock:
    """Frames as they are read, and the seconds that reading them took."""

    def __init__(self, frames: Iterable[UInt8Array]) -> None:
        self._frames = frames
        self.seconds = 0.0

    def __iter__(self) -> Iterator[UInt8Array]:
        frames = iter(self._frames)
        while True:
            began = time.perf_counter()
            frame = next(frames, None)
            self.seconds += time.perf_counter() - began
            if frame is None:
                return
            yield frame
