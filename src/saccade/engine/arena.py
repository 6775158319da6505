"""Pixels on their way from one process to another: memory that both see, and the ledger of who has which part of it.

    | pulse | pixels of a | free | pixels of b | free ... | the shelf, see shelf.py

The memory has no name: it is handed on as an open file and is gone when the last process that holds it is, however that
ended. It takes room only where something was once written, unless it is pinned.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from bisect import bisect, insort
from collections.abc import Iterable

import numpy as np

HEAD = 4096
"""Bytes before the pixels; the first 24 are the engine's pulse."""
ALIGNMENT = 256
"""Of every segment, in bytes: what copies to a device like."""


def aligned(length: int) -> int:
    """Bytes that a segment of this length takes."""
    return max(1, -(-length // ALIGNMENT)) * ALIGNMENT


class Segments:
    """Who has which part of `size` bytes, first fit. Not safe to use from several threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = [(0, size)]
        """(offset, length) in order; two free parts never touch."""
        self._taken: dict[int, int] = {}

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return sum(self._taken.values())

    def take(self, lengths: Iterable[int]) -> list[int] | None:
        """Offsets of segments of these lengths; None, and nothing is taken, when not all of them fit."""
        offsets: list[int] = []
        for length in lengths:
            offset = self._take(aligned(length))
            if offset is None:
                self.give(offsets)
                return None
            offsets.append(offset)
        return offsets

    def give(self, offsets: Iterable[int]) -> None:
        """Take segments back."""
        for offset in offsets:
            insort(self._free, (offset, self._taken.pop(offset)))
            at = bisect(self._free, (offset, self.size)) - 1
            for left in (at, at - 1):  # with the one behind it first, so that the index of the one before stays
                if left >= 0 and left + 1 < len(self._free):
                    (start, length), (end, more) = self._free[left : left + 2]
                    if start + length == end:
                        self._free[left : left + 2] = [(start, length + more)]

    def _take(self, length: int) -> int | None:
        for at, (offset, room) in enumerate(self._free):
            if room >= length:
                self._free[at : at + 1] = [(offset + length, room - length)] if room > length else []
                self._taken[offset] = length
                return offset
        return None


class Arena:
    """The memory itself, in one of the processes that share it."""

    def __init__(self, fd: int) -> None:
        """Over a file of `create`, here or in the process that started this one."""
        self.fd = fd
        self.memory = mmap.mmap(fd, 0)
        self.pulse = memoryview(self.memory)[:24].cast("q")
        """Three words, see pulse.py."""
        self._address = np.frombuffer(self.memory, np.uint8).ctypes.data + HEAD

    @classmethod
    def create(cls, size: int) -> Arena:
        """New memory for `size` bytes of pixels."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("saccade-pixels")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, HEAD + size)
        return cls(fd)

    def view(self, offset: int, length: int) -> memoryview:
        """The bytes of a segment."""
        return memoryview(self.memory)[HEAD + offset : HEAD + offset + length]

    def find(self, part: memoryview) -> int | None:
        """Where in this memory a buffer lies; None: elsewhere."""
        offset = np.frombuffer(part, np.uint8).ctypes.data - self._address
        return offset if 0 <= offset <= len(self.memory) - HEAD - len(part) else None

    def map_all(self) -> None:
        """Have every page at hand, where the memory is taken anyway: else the first who writes to a page waits for it,
        2 ms for a picture. To read is enough, and harms nobody who writes."""
        np.frombuffer(self.memory, np.uint8)[:: mmap.PAGESIZE].max()

    def close(self) -> None:
        """Give the file back; the memory goes when nobody has a view of it."""
        os.close(self.fd)
