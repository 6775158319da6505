"""The ledger of vision features: exact keys come in, "ready", "wait" or "encode it" and moves between memory tiers go
out; it knows keys, sizes and pins, no tensors, no pixels and no sequences.

             acquire                fulfil                  last pin gone
    (absent) -------> promised ----------------> ready  ------------------> ready, idle
                      room is taken,             on the GPU                   |  room is needed: least recently used
                      one encodes,                   ^                        v
                      others wait                    '------ promote ---- host, idle ----> dropped

One entry is all levels of one picture (of one temporal patch of a video) in one block [levels, tokens, width]. Limits
are bytes. What is pinned stays; an entry larger than the whole GPU tier may come in alone and goes with its last pin. A
miss is never an error: it means that the picture is encoded again. Keys are exact and salted by tenant, so that a hit
can be told from a miss by nothing but time, and by no other tenant.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Literal

MoveKind = Literal["drop", "demote", "promote", "drop_host"]


def salted(key: str, salt: bytes) -> bytes:
    """The key of a picture's features within one tenant."""
    return blake2b(len(salt).to_bytes(4, "little") + salt + key.encode(), digest_size=32).digest()


class Found(Enum):
    """What became of a wish for features; all but the last hold a pin."""

    READY = 1
    """On the GPU for the rows of this step, promoted from host memory if need be."""
    PENDING = 2
    """Promised by an earlier wish: wait."""
    PROMISED = 3
    """Room is taken: encode it."""
    NO_ROOM = 4
    """Everything in the tier is in use: ask again later."""


@dataclass(slots=True)
class FeatureCounters:
    """Since the start; hits, waits and misses in tokens, the others in entries."""

    hits: int = 0
    host_hits: int = 0
    """Of them, those that came from host memory."""
    waits: int = 0
    """Wanted while somebody else's were being encoded."""
    misses: int = 0
    evictions: int = 0
    """Lost to make room, from either tier."""
    demotions: int = 0
    promotions: int = 0
    oversized: int = 0
    """Larger than the whole tier: used once, not kept."""


@dataclass(slots=True, eq=False)
class _Entry:
    tokens: int
    nbytes: int
    pins: int
    tier: Literal["promised", "gpu", "host"]


class FeatureLedger:
    """Decides which features are held where; the runner obeys `take_moves`, in order."""

    def __init__(self, *, bytes_per_token: int, gpu_bytes: int, host_bytes: int = 0, keep: bool = True) -> None:
        """`bytes_per_token`: all levels of one token. Without `keep` features go with their last pin."""
        self.gpu_bytes = gpu_bytes
        self.host_bytes = host_bytes
        self.gpu_used = 0
        """Bytes held or promised on the GPU; above `gpu_bytes` only while one oversized entry is in."""
        self.host_used = 0
        """Bytes in pinned host memory."""
        self.counters = FeatureCounters()
        self._bytes_per_token = bytes_per_token
        self._keep = keep
        self._entries: dict[bytes, _Entry] = {}
        self._idle: OrderedDict[bytes, _Entry] = OrderedDict()
        """On the GPU without pins, least recently used first."""
        self._idle_bytes = 0
        self._host: OrderedDict[bytes, _Entry] = OrderedDict()
        self._moves: list[tuple[MoveKind, bytes]] = []

    def acquire(self, key: bytes, tokens: int) -> Found:
        """Pin the features of `tokens` tokens, or promise them if they are nowhere."""
        entry = self._entries.get(key)
        if entry is None:
            return self._promise(key, tokens)
        if entry.tier == "host" and not self._promote(key, entry):
            return Found.NO_ROOM
        self._pin(key, entry)
        if entry.tier == "promised":
            self.counters.waits += tokens
            return Found.PENDING
        self.counters.hits += tokens
        return Found.READY

    def pin(self, key: bytes) -> None:
        """One more pin on an entry of the GPU tier."""
        self._pin(key, self._entries[key])

    def is_ready(self, key: bytes) -> bool:
        """Whether a pinned entry can be read by rows of this step."""
        return self._entries[key].tier == "gpu"

    def pins(self, key: bytes) -> int:
        """Holders of an entry; 0 if there is none."""
        entry = self._entries.get(key)
        return entry.pins if entry else 0

    def fulfil(self, key: bytes) -> None:
        """What was promised is encoded by the step that is being planned."""
        entry = self._entries[key]
        assert entry.tier == "promised", "fulfilled twice"
        entry.tier = "gpu"

    def release(self, key: bytes) -> None:
        """One pin less. A promise that nobody waits for is taken back, other entries stay while there is room."""
        entry = self._entries[key]
        entry.pins -= 1
        if entry.pins:
            return
        if entry.tier == "promised":
            self._remove(key, entry)
            return
        self._idle[key] = entry
        self._idle_bytes += entry.nbytes
        if not self._keep or entry.nbytes > self.gpu_bytes:
            self._moves.append(("drop", key))
            self._remove(key, entry)

    def forget(self, key: bytes, *, held: bool) -> None:
        """Drop an entry without pins, wherever it is: its content is doubtful. `held`: the runner has it."""
        entry = self._entries.get(key)
        if entry is None or entry.pins:
            return
        if held:
            self._moves.append(("drop_host" if entry.tier == "host" else "drop", key))
        self._remove(key, entry)

    def take_moves(self) -> list[tuple[MoveKind, bytes]]:
        """The moves since the last call, in the order they must be done."""
        moves, self._moves = self._moves, []
        return moves

    def entries(self) -> dict[bytes, tuple[str, int]]:
        """Of each entry its tier ("promised", "gpu" or "host") and its pins."""
        return {key: (entry.tier, entry.pins) for key, entry in self._entries.items()}

    def check(self) -> None:
        """AssertionError unless the books balance; linear in the number of entries."""
        gpu = {key: entry for key, entry in self._entries.items() if entry.tier != "host"}
        host = {key: entry for key, entry in self._entries.items() if entry.tier == "host"}
        assert self.gpu_used == sum(e.nbytes for e in gpu.values()), "bytes on the GPU"
        assert self.host_used == sum(e.nbytes for e in host.values()) <= self.host_bytes, "bytes in host memory"
        assert self._idle_bytes == sum(e.nbytes for e in self._idle.values()), "idle bytes"
        assert dict(self._host) == host, "host entries"
        assert dict(self._idle) == {k: e for k, e in gpu.items() if not e.pins}, "idle is what nobody has pinned"
        assert all(e.pins == 0 for e in host.values()), "pinned in host memory"
        assert self.gpu_used <= self.gpu_bytes or len(gpu) == 1, "over the limit, and not for one oversized entry"

    def _promise(self, key: bytes, tokens: int) -> Found:
        nbytes = tokens * self._bytes_per_token
        if not self._make_room(nbytes):
            return Found.NO_ROOM
        self.gpu_used += nbytes
        self._entries[key] = _Entry(tokens, nbytes, 1, "promised")
        self.counters.misses += tokens
        self.counters.oversized += nbytes > self.gpu_bytes
        return Found.PROMISED

    def _promote(self, key: bytes, entry: _Entry) -> bool:
        # Out of the host tier's order first, so that those who make room on the GPU cannot push it out.
        del self._host[key]
        if not self._make_room(entry.nbytes):
            self._host[key] = entry
            return False
        self._moves.append(("promote", key))
        self.host_used -= entry.nbytes
        self.gpu_used += entry.nbytes
        entry.tier = "gpu"
        self._idle[key] = entry
        self._idle_bytes += entry.nbytes
        self.counters.promotions += 1
        self.counters.host_hits += entry.tokens
        return True

    def _pin(self, key: bytes, entry: _Entry) -> None:
        if not entry.pins and entry.tier == "gpu":
            del self._idle[key]
            self._idle_bytes -= entry.nbytes
        entry.pins += 1

    def _make_room(self, nbytes: int) -> bool:
        """Evict idle entries until `nbytes` fit, or none at all if they never would; oversized ones need all."""
        pinned = self.gpu_used - self._idle_bytes
        if pinned + nbytes > self.gpu_bytes and pinned:
            return False
        while self._idle and self.gpu_used + nbytes > self.gpu_bytes:
            self._evict(*next(iter(self._idle.items())))
        return True

    def _evict(self, key: bytes, entry: _Entry) -> None:
        """From the GPU to host memory, or away."""
        while self._host and self.host_used + entry.nbytes > self.host_bytes and entry.nbytes <= self.host_bytes:
            old = next(iter(self._host))
            self._moves.append(("drop_host", old))
            self._remove(old, self._entries[old])
            self.counters.evictions += 1
        if self.host_used + entry.nbytes > self.host_bytes:
            self._moves.append(("drop", key))
            self._remove(key, entry)
            self.counters.evictions += 1
            return
        self._moves.append(("demote", key))
        del self._idle[key]
        self._idle_bytes -= entry.nbytes
        self.gpu_used -= entry.nbytes
        self.host_used += entry.nbytes
        entry.tier = "host"
        self._host[key] = entry
        self.counters.demotions += 1

    def _remove(self, key: bytes, entry: _Entry) -> None:
        """Out of the books."""
        del self._entries[key]
        if entry.tier == "host":
            del self._host[key]
            self.host_used -= entry.nbytes
            return
        self.gpu_used -= entry.nbytes
        if self._idle.pop(key, None) is not None:
            self._idle_bytes -= entry.nbytes
