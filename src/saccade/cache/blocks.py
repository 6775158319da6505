"""The ledger of KV blocks: token ids and feature keys become chain keys, chain keys become shared blocks; it knows
block numbers and references, no tensors and no sequences.

    free --take--> used (references >= 1) --release--> cached, if published (least recently used goes first)
      ^                                   \\-release--> free, if not          cached --evict--> free

free + used + cached = total at all times. A published block is full, its keys and values are computed, and its chain
key names everything they depend on: all token ids up to its end, the pictures under placeholder rows with their
offsets, and the tenant. Blocks are shared without a copy, and only full ones, so that nobody writes into what another
reads. A hit may end inside a picture, since the key says which of its rows the block holds.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import pack

MediaRows = tuple[bytes, int, int]
"""(feature key, first placeholder row in the prompt, number of rows) of one unit of vision work."""


def root_key(salt: bytes) -> bytes:
    """The parent of a tenant's first blocks: without the salt no key of the tenant can be found."""
    return blake2b(b"saccade kv 1\0" + salt, digest_size=32).digest()


def next_key(parent: bytes, ids: Sequence[int], media: Iterable[tuple[bytes, int, int, int]] = ()) -> bytes:
    """Key of the full block that follows `parent`: its token ids, and for each run of placeholder rows in it
    (feature key, row in the block, row in the features, rows). All blocks of an engine have one size."""
    state = blake2b(parent, digest_size=32)
    state.update(
        array("q", ids).tobytes()
    )  # as many bytes for each block, so that what follows cannot be taken for ids
    for key, row, offset, length in media:
        state.update(pack("<4q", row, offset, length, len(key)) + key)
    return state.digest()


def chain_keys(ids: Sequence[int], media: Sequence[MediaRows], salt: bytes, *, block_size: int) -> tuple[bytes, ...]:
    """Keys of all full blocks of `block_size` tokens of a prompt, whose media runs are in order and do not overlap.
    About 2 us a block: for the gateway, not for the step path."""
    keys: list[bytes] = []
    parent, at = root_key(salt), 0
    for first in range(0, len(ids) - block_size + 1, block_size):
        while at < len(media) and media[at][1] + media[at][2] <= first:
            at += 1
        parent = next_key(parent, ids[first : first + block_size], rows_in_block(media, at, first, block_size))
        keys.append(parent)
    return tuple(keys)


def rows_in_block(
    media: Sequence[MediaRows], at: int, first: int, block_size: int
) -> list[tuple[bytes, int, int, int]]:
    """What `next_key` wants to know of the runs from number `at` on that reach into the block that begins with token
    `first`."""
    # Block 16..31 and a picture at 20..39: rows 4..15 of the block are rows 0..11 of the features;
    # block 32..47: rows 0..7 are rows 12..19.
    inside = []
    while at < len(media) and media[at][1] < first + block_size:
        key, start, length = media[at]
        low, high = max(start, first), min(start + length, first + block_size)
        if low < high:
            inside.append((key, low - first, low - start, high - low))
        at += 1
    return inside


@dataclass(slots=True)
class BlockCounters:
    """Since the start, in tokens."""

    hits: int = 0
    """Found in shared blocks when a sequence was admitted."""
    misses: int = 0
    """Not found, so computed."""
    evictions: int = 0
    """Lost from the cache to make room."""


class BlockLedger:
    """Who holds which block. Blocks are numbered 1..num_blocks-1; number 0 takes the writes of padding rows."""

    def __init__(self, num_blocks: int, block_size: int, *, prefix_cache: bool = True) -> None:
        """Without `prefix_cache` nothing is found and nothing is kept."""
        assert num_blocks > 1, "block 0 is never given out"
        self.total = num_blocks - 1
        self.block_size = block_size
        """Tokens of one block."""
        self.counters = BlockCounters()
        self.num_used = 0
        """Blocks somebody holds."""
        self.releases = 0
        """Counts every release: as long as it stands still, what had no room has none."""
        self._prefix_cache = prefix_cache
        self._free = list(range(num_blocks - 1, 0, -1))
        self._references = [0] * num_blocks
        self._cached: OrderedDict[int, None] = OrderedDict()
        """Published and without references, least recently used first."""
        self._by_key: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}
        self._expected: Counter[bytes] = Counter()

    @property
    def available(self) -> int:
        """Blocks that can be taken now: free ones, and cached ones that would be evicted."""
        return len(self._free) + len(self._cached)

    @property
    def num_cached(self) -> int:
        """Published blocks that nobody holds."""
        return len(self._cached)

    def match(self, keys: Iterable[bytes]) -> list[int]:
        """The blocks of the longest known prefix of a chain; they are not held until they are taken."""
        found: list[int] = []
        for key in keys:
            block = self._by_key.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def can_take(self, shared: Sequence[int], fresh: int) -> bool:
        """Whether `take` would succeed; shared blocks that are only cached leave the room when they are held."""
        return fresh + sum(not self._references[block] for block in shared) <= self.available

    def take(self, shared: Sequence[int], fresh: int) -> list[int]:
        """Hold the shared blocks and as many fresh ones; both in this order. Ask `can_take` before."""
        for block in shared:
            if not self._references[block]:
                del self._cached[block]
                self.num_used += 1
            self._references[block] += 1
        self.counters.hits += len(shared) * self.block_size
        self.counters.misses += fresh * self.block_size
        return [*shared, *(self._take_one() for _ in range(fresh))]

    def grow(self) -> int | None:
        """One fresh block, None when there is none."""
        return self._take_one() if self._free or self._cached else None

    def release(self, blocks: Sequence[int]) -> None:
        """Let go what was taken. The last blocks of a chain become the first to be evicted."""
        self.releases += 1
        for block in reversed(blocks):
            self._references[block] -= 1
            if not self._references[block]:
                self.num_used -= 1
                if block in self._keys:
                    self._cached[block] = None
                else:
                    self._free.append(block)

    def publish(self, block: int, key: bytes) -> None:
        """Let others find a held block that is full and computed; of two with one key the first stays shared."""
        assert self._references[block], f"block {block} is published and not held"
        if self._prefix_cache and key not in self._by_key and block not in self._keys:
            self._by_key[key] = block
            self._keys[block] = key

    @property
    def num_expected(self) -> int:
        """Keys that somebody is about to publish."""
        return len(self._expected)

    def expect(self, keys: Iterable[bytes]) -> None:
        """Somebody is about to compute and publish these."""
        if self._prefix_cache:
            self._expected.update(keys)

    def expect_no_more(self, keys: Iterable[bytes]) -> None:
        """They are published, or will not be by whoever said so; each key as often as it was expected."""
        for key in keys if self._prefix_cache else ():
            self._expected[key] -= 1
            if not self._expected[key]:
                del self._expected[key]

    def expects(self, keys: Sequence[bytes]) -> bool:
        """Whether all of them are about to be published."""
        return all(key in self._expected for key in keys)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Let nobody find these blocks any more: what is in them is doubtful. Who holds one goes on."""
        for key in keys:
            block = self._by_key.pop(key, None)
            if block is not None:
                del self._keys[block]
                if block in self._cached:
                    del self._cached[block]
                    self._free.append(block)

    def check(self) -> None:
        """AssertionError unless the books balance; linear in the number of blocks."""
        used = sum(count > 0 for count in self._references)
        assert used == self.num_used, "used"
        assert len(self._free) + used + len(self._cached) == self.total, "free + used + cached != total"
        assert min(self._references) == 0 == self._references[0], "a negative reference, or block 0 was given out"
        assert len(set(self._free)) == len(self._free), "a block is free twice"
        assert not any(self._references[b] or b in self._keys for b in self._free), "a free block is held or published"
        assert not any(self._references[b] or b not in self._keys for b in self._cached), "cached: held or unpublished"
        assert all(count > 0 for count in self._expected.values()), "expected less than never"
        assert self._keys == {block: key for key, block in self._by_key.items()}, "keys and blocks disagree"

    def held(self) -> dict[int, int]:
        """Number of holders of each used block."""
        return {block: count for block, count in enumerate(self._references) if count}

    def _take_one(self) -> int:
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._cached.popitem(last=False)
            del self._by_key[self._keys.pop(block)]
            self.counters.evictions += self.block_size
        self._references[block] = 1
        self.num_used += 1
        return block
