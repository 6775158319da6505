"""What runs in a decoder process: files come in through shared memory, pixels go out through it; knows no address, no
key and no other file. See decoders.py for what is said between the two.

It may be fed bytes made to break a decoder, so it gives up what it can: memory beyond a limit, files, core dumps. When
it breaks all the same, its parent starts another.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from saccade.errors import MediaError
from saccade.media import documents, video
from saccade.media.frames import Sampling, decode
from saccade.media.limits import MediaLimits
from saccade.types import Blob, MediaRef, UInt8Array

ACK = b"+"
"""A frame has been read, and its place may be written again."""
SLOTS = 2
"""Places for frames: one is written while the other is read."""
TOO_MUCH = "too much"
"""The error of a file that takes more memory than there is."""


def main(pipe: int, memory: int, max_memory: int) -> None:
    """Serve until the pipe is closed."""
    _give_up(max_memory)
    with suppress(EOFError, OSError), Connection(pipe) as connection, mmap.mmap(memory, 0) as shared:
        limits, sampling = None, None
        while True:
            message = connection.recv_bytes()
            if message == ACK:  # of a frame of the job before
                continue
            job = json.loads(message)
            if limits is None:
                limits, sampling = MediaLimits(**job["limits"]), Sampling(**job["sampling"])
                connection.send_bytes(b"{}")
                continue
            assert sampling
            _answer(connection, shared, job, limits, sampling)


def _answer(connection: Connection, shared: mmap.mmap, job: dict[str, Any], limits: MediaLimits, s: Sampling) -> None:
    """Decode one file; the last thing said is an error or the last frame."""

    def tell(**facts: Any) -> None:
        connection.send_bytes(json.dumps({"job": job["job"]} | facts).encode())

    def place(number: int, length: int) -> UInt8Array:
        start = limits.max_file_bytes + number % SLOTS * limits.max_image_pixels * 3
        return np.frombuffer(shared, np.uint8, length, start)

    try:
        ref = MediaRef(job["kind"], "", **job["wishes"])
        parts = tuple(_cut(shared, job["lengths"]))
        blob = Blob(b"", "", parts) if job["is_list"] else Blob(parts[0], "")
        frames = decode(blob, ref, limits, s, partial(place, 0))
        facts = {"size": frames.size, "indices": frames.indices, "fps": frames.fps, "pages": frames.num_pages}
        for number, frame in enumerate(frames.pixels):
            if number >= SLOTS:
                connection.recv_bytes()
            pixels = place(number, frame.size)
            if not np.may_share_memory(pixels, frame):  # else it was decoded into its place
                pixels.reshape(frame.shape)[:] = frame
            tell(frame=number, **facts)
            facts = {}
    except MediaError as error:
        tell(error=error.message, hint=error.hint)
    except MemoryError:
        tell(error=TOO_MUCH)


def _cut(shared: mmap.mmap, lengths: list[int]) -> list[bytes]:
    found, start = [], 0
    for length in lengths:
        found.append(shared[start : start + length])
        start += length
    return found


def _give_up(max_memory: int) -> None:
    """Rights that a decoder has no use for. `max_memory`: bytes beside what the libraries and the pixels take."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # if the machine runs out of memory, this is what it can best do without
    with suppress(OSError, ValueError):
        with open("/proc/self/statm") as file:
            max_memory += int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (max_memory, max_memory))
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 32)):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    video.load()  # before memory is limited
    documents.load()
    os.setsid()  # Ctrl-C is for the gateway
    main(*map(int, sys.argv[1:]))
