"""Laws of the block ledger: free + used + cached = total, and a key names everything that keys and values depend on."""

from __future__ import annotations

import random

import pytest

from saccade.cache.blocks import BlockLedger, MediaRows, chain_keys, next_key, root_key, rows_in_block

IDS = list(range(100, 180))
SIZE = 16


def ledger_of(num_blocks: int, *, prefix_cache: bool = True) -> BlockLedger:
    return BlockLedger(num_blocks, SIZE, prefix_cache=prefix_cache)


def keys_of(ids: list[int], media: list[MediaRows], salt: bytes) -> tuple[bytes, ...]:
    return chain_keys(ids, media, salt, block_size=SIZE)


def held(ledger: BlockLedger, keys: tuple[bytes, ...]) -> list[int]:
    """Blocks of a chain that has been computed and published."""
    blocks = ledger.take([], len(keys))
    for block, key in zip(blocks, keys, strict=True):
        ledger.publish(block, key)
    return blocks


@pytest.mark.parametrize("size", [16, 64])
def test_keys_cover_full_blocks_only(size: int) -> None:
    for length in (0, 1, 15, 16, 17, 63, 64, 79, 80):
        assert len(chain_keys(IDS[:length], [], b"", block_size=size)) == length // size


def test_a_block_of_another_size_has_another_key() -> None:
    long, short = (chain_keys(IDS, [(b"cat", 20, 30)], b"t", block_size=size) for size in (64, 16))
    assert not set(long) & set(short)
    assert long == (next_key(root_key(b"t"), IDS[:64], [(b"cat", 20, 0, 30)]),)


@pytest.mark.parametrize("length", [16, 40, 80])
def test_a_longer_prompt_begins_with_the_keys_of_a_shorter(length: int) -> None:
    media = [(b"cat", 20, 30)]
    assert keys_of(IDS, media, b"t")[: length // SIZE] == keys_of(IDS[:length], media, b"t")


def test_everything_counts() -> None:
    """A change of one id, the picture, its place, the rows of it that are seen, or the tenant changes every key from
    there on, and none before."""
    keys = keys_of(IDS, [(b"cat", 20, 30)], b"t")
    first_changed = {
        "id 33": (keys_of([*IDS[:33], 7, *IDS[34:]], [(b"cat", 20, 30)], b"t"), 2),
        "picture": (keys_of(IDS, [(b"dog", 20, 30)], b"t"), 1),
        "place": (keys_of(IDS, [(b"cat", 21, 30)], b"t"), 1),
        "length": (keys_of(IDS, [(b"cat", 20, 31)], b"t"), 3),
        "no picture": (keys_of(IDS, [], b"t"), 1),
        "two pictures": (keys_of(IDS, [(b"cat", 20, 10), (b"cat", 30, 20)], b"t"), 1),
        "tenant": (keys_of(IDS, [(b"cat", 20, 30)], b"u"), 0),
    }
    for what, (other, first) in first_changed.items():
        assert other[:first] == keys[:first], what
        assert not set(other[first:]) & set(keys), what


def test_fields_cannot_be_shifted_into_each_other() -> None:
    parent = root_key(b"")
    one = next_key(parent, IDS[:16], [(b"ab", 0, 0, 4), (b"c", 4, 0, 4)])
    two = next_key(parent, IDS[:16], [(b"a", 0, 0, 4), (b"bc", 4, 0, 4)])
    assert one != two
    assert root_key(b"") != root_key(b"\0")


def test_rows_of_a_picture_over_three_blocks() -> None:
    media = [(b"cat", 20, 30)]
    assert rows_in_block(media, 0, 0, SIZE) == []
    assert rows_in_block(media, 0, 16, SIZE) == [(b"cat", 4, 0, 12)]
    assert rows_in_block(media, 0, 32, SIZE) == [(b"cat", 0, 12, 16)]
    assert rows_in_block(media, 0, 48, SIZE) == [(b"cat", 0, 28, 2)]
    assert rows_in_block(media, 0, 64, SIZE) == []


def test_block_zero_is_never_given_out() -> None:
    ledger = ledger_of(9)
    assert sorted(ledger.take([], 8)) == list(range(1, 9))
    assert not ledger.can_take([], 1)
    assert ledger.grow() is None


def test_a_prefix_is_shared_without_a_copy_and_may_end_inside_a_picture() -> None:
    ledger = ledger_of(20)
    media = [(b"cat", 20, 30)]
    blocks = held(ledger, keys_of(IDS[:48], media, b""))
    assert ledger.match(keys_of(IDS, media, b"")) == blocks  # 48 is row 28 of the picture
    assert ledger.match(keys_of(IDS, [(b"dog", 20, 30)], b"")) == blocks[:1]
    assert ledger.match(keys_of(IDS, media, b"other")) == []
    both = ledger.take(blocks, 2)
    assert both[:3] == blocks
    assert ledger.held() == {**dict.fromkeys(blocks, 2), **dict.fromkeys(both[3:], 1)}
    ledger.release(blocks)
    assert ledger.num_cached == 0
    ledger.release(both)
    assert (ledger.num_cached, ledger.num_used, ledger.available) == (3, 0, 19)
    ledger.check()


def test_cached_blocks_are_evicted_last_used_last_and_from_the_end_of_their_chain() -> None:
    ledger = ledger_of(7)
    old, new = keys_of(IDS[:48], [], b"old"), keys_of(IDS[:48], [], b"new")
    ledger.release(held(ledger, old))
    ledger.release(held(ledger, new))
    ledger.take([], 2)
    assert len(ledger.match(old)) == 1
    assert len(ledger.match(new)) == 3
    ledger.release(ledger.take(ledger.match(old), 0))  # used again: now the other one goes first
    ledger.take([], 2)
    assert (len(ledger.match(old)), len(ledger.match(new))) == (1, 1)
    assert ledger.counters.evictions == 4 * SIZE
    ledger.check()


def test_shared_blocks_that_are_only_cached_count_as_taken() -> None:
    ledger = ledger_of(5)
    keys = keys_of(IDS[:32], [], b"")
    ledger.release(held(ledger, keys))
    shared = ledger.match(keys)
    assert ledger.available == 4
    assert ledger.can_take(shared, 2)
    assert not ledger.can_take(shared, 3)


def test_what_is_forgotten_is_not_found_and_comes_back_as_free() -> None:
    ledger = ledger_of(9)
    keys = keys_of(IDS[:48], [], b"")
    blocks = held(ledger, keys)
    ledger.release(blocks[2:])
    ledger.forget(keys)
    assert ledger.match(keys) == []
    assert ledger.num_cached == 0
    ledger.release(blocks[:2])
    assert ledger.available == ledger.total
    ledger.check()


def test_without_a_prefix_cache_nothing_is_found() -> None:
    ledger = ledger_of(9, prefix_cache=False)
    keys = keys_of(IDS[:48], [], b"")
    ledger.release(held(ledger, keys))
    assert ledger.match(keys) == []
    assert ledger.num_cached == 0
    ledger.check()


def test_of_two_blocks_with_one_key_the_first_stays_shared() -> None:
    ledger = ledger_of(9)
    keys = keys_of(IDS[:16], [], b"")
    first, second = held(ledger, keys), held(ledger, keys)
    assert ledger.match(keys) == first
    ledger.release(second)
    assert ledger.num_cached == 0
    ledger.release(first)
    assert ledger.num_cached == 1
    ledger.check()


@pytest.mark.parametrize("seed", range(5))
def test_the_books_balance_whatever_is_done(seed: int) -> None:
    rng = random.Random(seed)
    ledger = ledger_of(rng.choice((2, 10, 40)))
    chains = [keys_of([rng.randrange(3) for _ in range(96)], [], b"") for _ in range(4)]
    tables: list[list[int]] = []
    for _ in range(2000):
        keys = rng.choice(chains)[: rng.randrange(7)]
        shared = ledger.match(keys)
        fresh = len(keys) - len(shared)
        if rng.random() < 0.5 and ledger.can_take(shared, fresh):
            table = ledger.take(shared, fresh)
            tables.append(table)
            for block, key in list(zip(table, keys, strict=True))[: rng.randrange(len(keys) + 1)]:
                ledger.publish(block, key)
        elif tables:
            ledger.release(tables.pop(rng.randrange(len(tables))))
        if rng.random() < 0.02:
            ledger.forget(keys)
        ledger.check()
        assert sum(ledger.held().values()) == sum(map(len, tables))
    for table in tables:
        ledger.release(table)
    assert ledger.available == ledger.total
