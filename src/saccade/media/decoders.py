"""Files -> Frames in processes that can be killed: bytes go to them and pixels come back through shared memory; knows
what is said to a decoder (worker.py), and no format.

    here:   {"job": 7, "kind", "lengths", ...}                   +           +
    there:                    {"frame": 0, "size", "indices", "fps"} {"frame": 1} ...   or {"error"} at any place

    memory: | file as it came | frame 0, 2, 4 ... | frame 1, 3, 5 ... |

Nothing that a decoder says is believed before it has been looked at: it has read a stranger's file. One that takes too
long, dies or talks nonsense is killed and replaced, and only the request whose file it had hears of that.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe
from queue import LifoQueue
from typing import Any, Literal, get_args

import numpy as np

from saccade.errors import EngineError, MediaError
from saccade.media.frames import Sampling
from saccade.media.limits import Decoding, MediaLimits
from saccade.media.worker import ACK, SLOTS, TOO_MUCH
from saccade.settings import without_secrets
from saccade.types import Blob, Frames, MediaRef, UInt8Array

START_SECONDS = 30.0
LOOK_SECONDS = 0.2
"""How often it is asked whether anybody still wants the pixels."""
MAX_JOBS = 2000
"""Files after which a decoder is replaced, should it lose memory."""
KEPT_BYTES = 128 * 2**20
"""Shared memory that a decoder keeps for the next file."""
Reason = Literal["timeout", "broken", "unwanted", "worn"]
"""Why a decoder is replaced: its file took too long; it died, took too much memory or talked nonsense; nobody waited
for the rest; it has had MAX_JOBS files."""


class Decoders:
    """A number of processes that decode. Used from several threads, each of which waits for its own file."""

    def __init__(self, limits: MediaLimits, sampling: Sampling, decoding: Decoding) -> None:
        """Returns before the processes are ready. Raises OSError."""
        self._limits = limits
        self._sampling = sampling
        self._max_seconds = decoding.max_seconds
        self._max_memory = decoding.max_memory
        self._idle: LifoQueue[_Decoder] = LifoQueue()
        self._all: set[_Decoder] = set()
        self._closed = False
        self._lock = threading.Lock()
        self.replaced: Counter[Reason] = Counter(dict.fromkeys(get_args(Reason), 0))
        """Decoders that were, since the start."""
        for _ in range(decoding.number):
            self._start()

    @contextmanager
    def decode(
        self,
        blob: Blob,
        ref: MediaRef,
        wanted: Callable[[], bool] = lambda: True,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Iterator[Frames]:
        """As `frames.decode`, in a decoder that is ours until the end of the block. A frame may be read until the next
        is asked for. The decoder is killed when `wanted` becomes false. `meanwhile` is called once the decoder has the
        file, and may not raise. MediaError also for a file that takes too long or too much memory."""
        decoder = self._idle.get()
        job = _Job(decoder, ref, self._limits, self._max_seconds, wanted)
        try:
            length = job.send(blob)
            meanwhile()
            yield job.begin(blob, length)
            job.finish()
        except MediaError:
            job.finish()
            raise
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            late, unwanted = isinstance(error, TimeoutError), isinstance(error, InterruptedError)
            decoder.end = "timeout" if late else "unwanted" if unwanted else "broken"
            raise self._refusal(error, decoder, ref) from None
        except BaseException:
            decoder.end = "unwanted"
            raise
        finally:
            self._give_back(decoder)

    def close(self) -> None:
        """Kill all of them."""
        with self._lock:
            self._closed = True
            everyone, self._all = self._all, set()
        for decoder in everyone:
            decoder.kill()

    def _refusal(self, error: Exception, decoder: _Decoder, ref: MediaRef) -> MediaError | EngineError:
        noun = "picture" if ref.kind == "image" else "video"
        if not decoder.was_ready:
            return EngineError("The process that decodes pictures could not be started.")
        if isinstance(error, TimeoutError):
            limit = f"{self._max_seconds:g} seconds (--decode-timeout)"
            return MediaError(f"The {noun} takes longer than {limit} to decode.", param=ref.param)
        limit = f"{self._max_memory:,} bytes (--decode-memory)"
        return MediaError(f"The {noun} breaks its decoder, or takes more than {limit} to decode.", param=ref.param)

    def _give_back(self, decoder: _Decoder) -> None:
        decoder.num_jobs += 1
        if decoder.end is None and decoder.num_jobs < MAX_JOBS:
            self._idle.put(decoder)
            return
        decoder.kill()
        with self._lock:
            self.replaced[decoder.end or "worn"] += 1
            self._all.discard(decoder)
        self._start()

    def _start(self) -> None:
        with self._lock:
            if not self._closed:
                decoder = _Decoder(self._limits, self._sampling, self._max_memory)
                self._all.add(decoder)
                self._idle.put(decoder)


class _Decoder:
    """One process, our end of its pipe, and the memory that both see."""

    def __init__(self, limits: MediaLimits, sampling: Sampling, max_memory: int) -> None:
        size = limits.max_file_bytes + SLOTS * limits.max_image_pixels * 3
        memory = _shared(size)
        self.pipe, theirs = Pipe()
        safe = () if {"", os.getcwd()} & set(sys.path) else ("-P",)
        try:
            program = (sys.executable, *safe, "-m", "saccade.media.worker")
            numbers = (theirs.fileno(), memory, max_memory + size)
            self._process = subprocess.Popen(
                [*program, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints is for the log
                pass_fds=numbers[:2],
                env=without_secrets(),
            )
            self.shared = mmap.mmap(memory, size)
        finally:
            theirs.close()
            os.close(memory)
        names = ("max_file_bytes", "max_image_pixels", "max_frames", "max_video_frames", "max_video_pixels")
        told = {"limits": {name: getattr(limits, name) for name in names}, "sampling": asdict(sampling)}
        with suppress(OSError):  # it may have ended already, which `wait_until_ready` tells
            self.pipe.send_bytes(json.dumps(told).encode())
        self._poll = select.poll()  # that of a Connection is made anew each time, which takes 0.1 ms
        self._poll.register(self.pipe.fileno(), select.POLLIN)
        self.was_ready = False
        self.end: Reason | None = None
        """Why it cannot take another file."""
        self.num_jobs = 0

    def wait_until_ready(self) -> None:
        """Raises TimeoutError or EOFError."""
        if not self.was_ready:
            if not self.says_something(START_SECONDS):
                raise TimeoutError
            self.pipe.recv_bytes(16)
            self.was_ready = True

    def says_something(self, seconds: float) -> bool:
        """Whether something is to be heard within so many seconds; its end counts."""
        return bool(self._poll.poll(max(0.0, seconds) * 1e3))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.pipe.close()


class _Job:
    """One file in one decoder."""

    def __init__(
        self, decoder: _Decoder, ref: MediaRef, limits: MediaLimits, seconds: float, wanted: Callable[[], bool]
    ) -> None:
        self._decoder = decoder
        self._pipe: Connection = decoder.pipe
        self._ref = ref
        self._limits = limits
        self._seconds = seconds
        self._wanted = wanted
        self._left = 0
        """Frames that have not been told."""
        self._bytes = 0

    def send(self, blob: Blob) -> int:
        """Hand the file over; its bytes."""
        self._decoder.wait_until_ready()
        ref, parts, start = self._ref, blob.parts or (blob.data,), 0
        for part in parts:
            self._decoder.shared[start : start + len(part)] = part
            start += len(part)
        job = {
            "job": self._decoder.num_jobs,
            "kind": ref.kind,
            "wishes": {name: getattr(ref, name) for name in ("fps", "num_frames", "page", "max_pixels")},
            "lengths": [len(part) for part in parts],
            "is_list": bool(blob.parts),
        }
        self._pipe.send_bytes(json.dumps(job).encode())
        return start

    def begin(self, blob: Blob, length: int) -> Frames:
        """The frames of the file, of so many bytes, which are decoded while they are read."""
        ref, facts = self._ref, self._hear()
        height, width = map(int, facts["size"])
        indices, fps, pages = tuple(map(int, facts["indices"])), float(facts["fps"]), int(facts["pages"])
        most = 1 if ref.kind == "image" else self._limits.max_frames
        if not (0 < height * width <= self._limits.max_image_pixels and min(height, width) > 0):
            raise ValueError("no possible size")
        if not 0 < len(indices) <= most or not 0 <= fps < 1e9 or (fps == 0) != (ref.kind == "image"):
            raise ValueError("no possible number of frames")
        if (0 < pages < 2**31) != (ref.page is not None):
            raise ValueError("no possible number of pages")
        self._left = len(indices) - 1
        self._bytes = length + min(SLOTS, len(indices)) * height * width * 3
        pixels = self._frames(height, width, len(indices))
        return Frames(ref.kind, pixels, (height, width), indices, fps, blob.digest, ref.param, pages)

    def finish(self) -> None:
        """The decoder is to be ready for the next file; one with much left to say is not."""
        with suppress(MediaError):
            while 0 < self._left < SLOTS:  # it waits for no answer meanwhile
                self._left -= 1
                self._hear()
        if self._left > 0:
            self._decoder.end = "unwanted"
        if self._bytes > KEPT_BYTES and hasattr(mmap, "MADV_REMOVE"):
            self._decoder.shared.madvise(mmap.MADV_REMOVE)

    def _frames(self, height: int, width: int, count: int) -> Iterator[UInt8Array]:
        for number in range(count):
            if number:  # the first was told with the facts
                self._left -= 1
                self._hear()
            start = self._limits.max_file_bytes + number % SLOTS * self._limits.max_image_pixels * 3
            pixels = np.frombuffer(self._decoder.shared, np.uint8, height * width * 3, start)
            yield pixels.reshape(height, width, 3)
            if number + SLOTS < count:
                self._pipe.send_bytes(ACK)

    def _hear(self) -> dict[str, Any]:
        """What the decoder says next. Raises MediaError for what it finds wrong with the file, TimeoutError when its
        time is over, InterruptedError when nobody wants its pixels any more, EOFError when it died."""
        began = time.monotonic()
        while not self._decoder.says_something(min(self._seconds - (time.monotonic() - began), LOOK_SECONDS)):
            if not self._wanted():
                raise InterruptedError
            if time.monotonic() - began > self._seconds:
                raise TimeoutError
        self._seconds -= time.monotonic() - began
        facts = json.loads(self._pipe.recv_bytes(2**20))
        if facts.get("job") != self._decoder.num_jobs:  # something about the file before
            return self._hear()
        if "error" in facts:
            self._left = 0
            if facts["error"] == TOO_MUCH:
                raise EOFError
            hint = facts["hint"]
            raise MediaError(_plain(facts["error"]), param=self._ref.param, hint=_plain(hint) if hint else None)
        return facts  # type: ignore[no-any-return]


def _plain(text: object) -> str:
    """Words of a decoder as they may be passed on."""
    return "".join(char for char in str(text)[:300] if char.isprintable())


def _shared(size: int) -> int:
    """Memory without a name, as an open file; where the system can, nobody may make it smaller under another's feet."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
        os.ftruncate(memory, size)
        return memory
    memory = os.memfd_create("saccade-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, size)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return memory
