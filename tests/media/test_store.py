"""Laws of files sent ahead: what was put under a salt is there for that salt until there is no room, and no longer."""

from __future__ import annotations

from hashlib import sha256

import pytest

from saccade.errors import MediaError
from saccade.media import store as store_module
from saccade.media.fetch import Fetcher
from saccade.media.limits import MediaLimits
from saccade.media.store import MediaStore
from saccade.types import MediaRef


def test_the_id_is_the_digest() -> None:
    store = MediaStore(100)
    assert store.put(b"file", b"") == sha256(b"file").hexdigest()
    assert store.get(sha256(b"file").hexdigest(), b"") == b"file"


def test_salts_are_apart() -> None:
    store = MediaStore(100)
    digest = store.put(b"file", b"a")
    assert digest is not None
    assert store.get(digest, b"b") is None
    assert store.get(digest, b"") is None
    store.put(b"file", b"b")
    assert (len(store), store.used) == (2, 8), "each its own"


def test_the_least_recently_used_leaves_and_the_limit_holds() -> None:
    store = MediaStore(10)
    first, second = store.put(b"aaaa", b""), store.put(b"bbbb", b"")
    assert first is not None
    assert second is not None
    assert store.get(first, b"") == b"aaaa"
    store.put(b"cccc", b"")
    assert store.get(second, b"") is None
    assert store.get(first, b"") == b"aaaa"
    assert store.used == 8 <= store.max_bytes
    assert store.put(b"x" * 11, b"") is None
    assert (store.counters.evictions, store.counters.hits, store.counters.misses) == (1, 2, 1)
    for _ in range(3):
        store.put(b"aaaa", b"")
    assert store.used == 8


def test_the_idle_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(store_module.time, "monotonic", lambda: now)
    store = MediaStore(100, idle_seconds=10)
    a, b = store.put(b"a", b"") or "", store.put(b"b", b"") or ""
    now = 8.0
    assert store.get(a, b"")
    now = 12.0
    assert store.get(b, b"") is None
    assert store.get(a, b"") == b"a"
    assert store.used == 1


def test_an_id_is_an_address() -> None:
    fetcher = Fetcher(MediaLimits())
    digest = fetcher.store.put(b"file", b"key")
    ref = MediaRef("image", "here", url=f"media:{digest}")
    assert fetcher.fetch(ref, b"key").data == b"file"
    assert fetcher.fetch(MediaRef("video", "", frames=(f"media:{digest}", b"2")), b"key").parts == (b"file", b"2")
    for salt, url in (
        (b"", f"media:{digest}"),
        (b"key", "media:"),
        (b"key", "media:../x"),
        (b"key", f"media:{digest} "),
    ):
        with pytest.raises(MediaError, match="not here any more") as caught:
            fetcher.fetch(MediaRef("image", "here", url=url), salt)
        assert (caught.value.code, caught.value.param) == ("media_not_found", "here")
        assert "POST /v1/media" in (caught.value.hint or "")
