"""The media side of the corridor: a MediaRef becomes a Picture, with the time of each stage; knows no prompt and no
engine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from saccade.media.fetch import Fetcher
from saccade.media.frames import decode
from saccade.media.limits import MediaLimits
from saccade.media.pixels import Plans, prepare
from saccade.media.recent import RecentPictures
from saccade.types import CacheHits, MediaRef, Picture, StageTimes, UInt8Array


class Pictures:
    """Fetches, decodes and resizes in threads of its own, and keeps what was prepared lately."""

    def __init__(self, limits: MediaLimits, plans: Plans) -> None:
        self._limits = limits
        self._plans = plans
        self._fetcher = Fetcher(limits)
        self._recent = RecentPictures(limits.recent_bytes)
        num_threads = min(8, 2 + (os.cpu_count() or 1))
        self.pool = ThreadPoolExecutor(num_threads, thread_name_prefix="saccade-media")
        """Where `look` is to be called."""

    async def bring(self, refs: Iterable[MediaRef]) -> list[MediaRef]:
        """The same, with the bytes of those that are on other hosts; nothing but this waits for the network, and it
        ends at once when it is cancelled."""
        refs = list(refs)
        if any(map(self._fetcher.is_remote, refs)):
            return await asyncio.gather(*map(self._fetcher.bring, refs))
        return refs

    async def look_at_all(self, refs: Iterable[MediaRef], salt: bytes) -> list[tuple[Picture, StageTimes]]:
        """Several at once, as `bring` gave them."""
        run = asyncio.get_running_loop().run_in_executor
        return await asyncio.gather(*(run(self.pool, self.look, ref, salt) for ref in refs))

    def look(self, ref: MediaRef, salt: bytes) -> tuple[Picture, StageTimes]:
        """One picture or video from its address to its pixels, and the time of each stage. What was prepared for
        another `salt` is not found."""
        began = time.perf_counter()
        blob = self._fetcher.fetch(ref)
        fetched = time.perf_counter()
        plan = self._plans.of(ref)
        wanted = (salt, blob.digest, plan, ref.fps, ref.num_frames)
        if (known := self._recent.get(wanted)) is not None:
            fetch = fetched - began - blob.hash_seconds
            return known, StageTimes(fetch=fetch * 1e3, hash=blob.hash_seconds * 1e3, cache=CacheHits("digest"))
        frames = decode(blob, ref, self._limits, self._plans.video.sampling)
        decoded = time.perf_counter()
        clock = _Clock(frames.pixels)  # a video is decoded while its frames are resized
        picture = prepare(replace(frames, pixels=clock), plan)
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

    def close(self) -> None:
        """Begin nothing new."""
        self._fetcher.remote.close()
        self.pool.shutdown(wait=False, cancel_futures=True)


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
