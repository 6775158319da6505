"""Pictures that were prepared lately, so that a file sent again is not decoded again; digests and plans come in, knows
no requests and no model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeAlias

import numpy as np

from saccade.types import Picture, UInt8Array

Shelf: TypeAlias = Callable[[int], UInt8Array | None]
"""Memory for so many bytes, given back when nobody has it any more; None when there is none."""
MAX_DROPPED = 8
"""Pictures that leave at once so that one has room."""


class RecentPictures:
    """The least recently used go first. Used by several threads."""

    def __init__(self, max_bytes: int, shelf: Shelf | None = None) -> None:
        """`max_bytes`: of pixels kept; a picture larger than an eighth of that is not kept. `shelf`: where they had
        best lie."""
        self._max_bytes = max_bytes
        self._shelf = shelf
        self._bytes = 0
        self._pictures: OrderedDict[Hashable, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Picture | None:
        """What was put under an equal key, if it is still here."""
        with self._lock:
            if (picture := self._pictures.get(key)) is not None:
                self._pictures.move_to_end(key)
            return picture

    def room(self, size: int) -> UInt8Array:
        """uint8 [size] for the pixels of a picture that is about to be put: on the shelf, if the oldest can make room
        there."""
        if self._shelf and size <= self._max_bytes // 8:
            for _ in range(MAX_DROPPED):
                if (memory := self._shelf(size)) is not None:
                    return memory
                with self._lock:
                    if not self._pictures:
                        break
                    self._drop_oldest()
        return np.empty(size, np.uint8)

    def put(self, key: Hashable, picture: Picture) -> None:
        """Keep a picture; its pixels may not be changed any more."""
        size = picture.pixels.nbytes
        if size > self._max_bytes // 8:
            return
        with self._lock:
            if key in self._pictures:
                return
            self._pictures[key] = picture
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, oldest = self._pictures.popitem(last=False)
        self._bytes -= oldest.pixels.nbytes
