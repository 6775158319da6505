"""Files that were sent ahead of the requests that name them: bytes come in, an id goes out and is good until they are
pushed out by later ones; knows no format and no request."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

IDLE_SECONDS = 3600.0
"""After which a file that nobody asked for is forgotten."""


@dataclass(slots=True)
class StoreCounters:
    """Since the start."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


class MediaStore:
    """The least recently used go first. Files of one salt are not there for another. Used by several threads."""

    def __init__(self, max_bytes: int, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        """Bytes of files that are held."""
        self.counters = StoreCounters()
        self._idle_seconds = idle_seconds
        self._files: OrderedDict[tuple[bytes, str], tuple[bytes, float]] = OrderedDict()
        """(salt, digest) -> (file, when it was last used, in seconds of the monotonic clock)."""
        self._lock = threading.Lock()

    def put(self, data: bytes, salt: bytes) -> str | None:
        """Its id: the SHA-256 of the file in hex, which the sender can compute as well. None: it is larger than all
        that may be kept."""
        if len(data) > self.max_bytes:
            return None
        digest = sha256(data).hexdigest()
        with self._lock:
            self._drop((salt, digest))
            self._files[salt, digest] = (data, time.monotonic())
            self.used += len(data)
            self._forget_idle()
            while self.used > self.max_bytes:
                self._drop(next(iter(self._files)))
                self.counters.evictions += 1
        return digest

    def get(self, digest: str, salt: bytes) -> bytes | None:
        """The file, which counts as used now."""
        with self._lock:
            self._forget_idle()
            found = self._files.get((salt, digest))
            if found is None:
                self.counters.misses += 1
                return None
            self.counters.hits += 1
            self._files[salt, digest] = (found[0], time.monotonic())
            self._files.move_to_end((salt, digest))
            return found[0]

    def __len__(self) -> int:
        return len(self._files)

    def _forget_idle(self) -> None:
        limit = time.monotonic() - self._idle_seconds
        while self._files:
            first = next(iter(self._files))
            if self._files[first][1] > limit:
                break
            self._drop(first)
            self.counters.evictions += 1

    def _drop(self, name: tuple[bytes, str]) -> None:
        found = self._files.pop(name, None)
        if found is not None:
            self.used -= len(found[0])
