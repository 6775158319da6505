"""Pictures that were prepared lately, so that a file sent again is not decoded again; digests and plans come in, knows
no requests and no model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from saccade.types import Picture


class RecentPictures:
    """The least recently used go first. Used by several threads."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of pixels kept; a picture larger than an eighth of that is not kept."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._pictures: OrderedDict[Hashable, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Picture | None:
        """What was put under an equal key, if it is still here."""
        with self._lock:
            if (picture := self._pictures.get(key)) is not None:
                self._pictures.move_to_end(key)
            return picture

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
                _, oldest = self._pictures.popitem(last=False)
                self._bytes -= oldest.pixels.nbytes
