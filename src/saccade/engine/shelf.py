"""Pixels that stay in the arena from one request to the next: once prepared they are where the engine reads them, and
a request that shows them again copies nothing.

Who takes memory here holds it by a plain array. It is given back when nobody has that array, or a view of it, any more:
neither those who keep pictures nor a request that the engine may still read.
"""

from __future__ import annotations

import threading
import weakref
from queue import SimpleQueue

import numpy as np

from saccade.engine.arena import Arena, Segments
from saccade.types import UInt8Array


class Shelf:
    """`size` bytes of an arena from `start` on. Safe to use from several threads."""

    def __init__(self, arena: Arena, start: int, size: int) -> None:
        self._arena = arena
        self._start = start
        self._segments = Segments(size)
        self._lock = threading.Lock()
        self._left: SimpleQueue[int] = SimpleQueue()
        """What nobody has any more. An array can end anywhere, also where the lock is held."""

    def take(self, length: int) -> UInt8Array | None:
        """uint8 [length] to write to; None when there is no room."""
        with self._lock:
            self._tidy()
            offsets = self._segments.take([length])
        if offsets is None:
            return None
        (offset,) = offsets
        memory = np.frombuffer(self._arena.view(self._start + offset, length), np.uint8)
        weakref.finalize(memory, self._left.put, offset).atexit = False
        return memory

    @property
    def bytes_used(self) -> int:
        """That somebody has."""
        with self._lock:
            self._tidy()
            return self._segments.used

    def _tidy(self) -> None:
        while not self._left.empty():
            self._segments.give([self._left.get()])
