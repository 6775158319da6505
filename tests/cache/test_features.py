"""Laws of the feature ledger: bytes stay within their limits, pins keep, a key is encoded once, a miss is no error."""

from __future__ import annotations

import random

import pytest

from saccade.cache.features import FeatureLedger, Found, salted


def ledger(gpu: int = 100, host: int = 0, *, keep: bool = True) -> FeatureLedger:
    """Room in tokens, at 2 bytes each."""
    return FeatureLedger(bytes_per_token=2, gpu_bytes=2 * gpu, host_bytes=2 * host, keep=keep)


def encoded(features: FeatureLedger, key: bytes, tokens: int) -> None:
    """Encoded, read and let go."""
    assert features.acquire(key, tokens) is Found.PROMISED
    features.fulfil(key)
    features.release(key)


def test_a_key_is_encoded_once_and_awaited_by_others() -> None:
    features = ledger()
    assert features.acquire(b"a", 40) is Found.PROMISED
    assert features.acquire(b"a", 40) is Found.PENDING
    assert not features.is_ready(b"a")
    features.fulfil(b"a")
    assert features.is_ready(b"a")
    assert features.acquire(b"a", 40) is Found.READY
    assert features.entries() == {b"a": ("gpu", 3)}
    counters = features.counters
    assert (counters.misses, counters.waits, counters.hits) == (40, 40, 40)
    features.check()


def test_what_is_pinned_stays_and_the_least_recently_used_goes() -> None:
    features = ledger(100)
    for key in (b"a", b"b"):
        encoded(features, key, 40)
    assert features.acquire(b"a", 40) is Found.READY
    features.release(b"a")
    encoded(features, b"c", 40)
    assert features.take_moves() == [("drop", b"b")]
    assert features.acquire(b"a", 40) is Found.READY
    assert features.acquire(b"d", 61) is Found.NO_ROOM
    assert features.take_moves() == []  # nothing is evicted for what does not fit
    assert features.acquire(b"d", 60) is Found.PROMISED
    assert features.take_moves() == [("drop", b"c")]
    assert features.gpu_used == 200
    features.check()


def test_host_memory_takes_what_the_gpu_lets_go_and_gives_it_back() -> None:
    features = ledger(100, 100)
    for key in (b"a", b"b", b"c"):
        encoded(features, key, 50)
    assert features.take_moves() == [("demote", b"a")]
    assert features.acquire(b"a", 50) is Found.READY
    assert features.take_moves() == [("demote", b"b"), ("promote", b"a")]  # room first, then the copy
    features.check()
    features.release(b"a")
    for key in (b"d", b"e", b"f"):
        encoded(features, key, 50)
    moves = features.take_moves()
    assert moves == [("demote", b"c"), ("drop_host", b"b"), ("demote", b"a"), ("drop_host", b"c"), ("demote", b"d")]
    counters = features.counters
    assert (counters.promotions, counters.demotions, counters.evictions, counters.host_hits) == (1, 5, 2, 50)
    features.check()


def test_what_is_promoted_cannot_be_pushed_out_by_what_makes_room_for_it() -> None:
    features = ledger(100, 60)
    encoded(features, b"a", 60)
    encoded(features, b"b", 60)
    features.take_moves()
    assert features.acquire(b"a", 60) is Found.READY
    assert features.take_moves() == [("drop", b"b"), ("promote", b"a")]
    features.check()


def test_no_room_for_a_promotion_leaves_everything_as_it_was() -> None:
    features = ledger(100, 100)
    encoded(features, b"a", 60)
    encoded(features, b"b", 60)
    features.take_moves()
    assert features.acquire(b"b", 60) is Found.READY
    assert features.acquire(b"a", 60) is Found.NO_ROOM
    assert features.take_moves() == []
    features.check()


def test_an_entry_larger_than_the_tier_comes_alone_and_goes_with_its_last_pin() -> None:
    features = ledger(100, 1000)
    encoded(features, b"a", 50)
    assert features.acquire(b"b", 10) is Found.PROMISED
    assert features.acquire(b"huge", 300) is Found.NO_ROOM
    features.release(b"b")
    assert features.acquire(b"huge", 300) is Found.PROMISED
    assert features.acquire(b"b", 10) is Found.NO_ROOM
    features.check()
    features.fulfil(b"huge")
    assert features.take_moves() == [("demote", b"a")]
    features.release(b"huge")
    assert features.take_moves() == [("drop", b"huge")]
    assert features.gpu_used == 0
    assert features.counters.oversized == 1


def test_a_promise_nobody_waits_for_is_taken_back() -> None:
    features = ledger()
    features.acquire(b"a", 40)
    features.release(b"a")
    assert features.entries() == {}
    assert features.gpu_used == 0
    assert features.take_moves() == []


def test_without_keep_features_go_with_their_last_pin() -> None:
    features = ledger(keep=False)
    features.acquire(b"a", 40)
    features.acquire(b"a", 40)
    features.fulfil(b"a")
    features.release(b"a")
    assert features.take_moves() == []
    features.release(b"a")
    assert features.take_moves() == [("drop", b"a")]
    assert features.entries() == {}


def test_what_is_doubtful_is_forgotten_wherever_it_is() -> None:
    features = ledger(50, 50)
    encoded(features, b"a", 50)
    encoded(features, b"b", 50)
    features.take_moves()
    features.forget(b"a", held=True)
    features.forget(b"b", held=True)
    features.forget(b"c", held=True)
    assert features.take_moves() == [("drop_host", b"a"), ("drop", b"b")]
    encoded(features, b"a", 50)
    features.forget(b"a", held=False)  # its job failed: the runner never had it
    assert features.take_moves() == []
    features.acquire(b"d", 10)
    features.forget(b"d", held=True)  # somebody has a pin on it
    assert features.pins(b"d") == 1
    features.check()


def test_keys_are_salted() -> None:
    assert salted("key", b"one") == salted("key", b"one")
    assert len({salted("key", b"one"), salted("key", b"two"), salted("ekey", b"on"), salted("key", b"")}) == 4


@pytest.mark.parametrize("seed", range(6))
def test_the_books_balance_and_the_moves_agree_with_them(seed: int) -> None:
    rng = random.Random(seed)
    features = ledger(rng.choice((10, 50, 200)), rng.choice((0, 30, 300)), keep=seed % 3 > 0)
    pins: list[bytes] = []
    gpu: set[bytes] = set()
    host: set[bytes] = set()
    for _ in range(3000):
        key = b"%d" % rng.randrange(20)
        if rng.random() < 0.5:
            found = features.acquire(key, 1 + int(key) * 5)
            if found in (Found.READY, Found.PENDING, Found.PROMISED):
                pins.append(key)
        elif pins:
            features.release(pins.pop(rng.randrange(len(pins))))
        for kind, moved in features.take_moves():
            source = host if kind in ("promote", "drop_host") else gpu
            source.remove(moved)
            if kind in ("demote", "promote"):
                (host if kind == "demote" else gpu).add(moved)
        waiting = [key for key, (tier, _) in features.entries().items() if tier == "promised"]
        if waiting and rng.random() < 0.4:
            key = rng.choice(waiting)
            features.fulfil(key)
            gpu.add(key)
        features.check()
        entries = features.entries()
        assert {key for key, (tier, _) in entries.items() if tier == "gpu"} == gpu
        assert {key for key, (tier, _) in entries.items() if tier == "host"} == host
        assert sum(count for _, count in entries.values()) == len(pins)
