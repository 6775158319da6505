"""Laws of decoder processes: the same pixels as here, and whatever a file does to its decoder, only its own request
hears of it and the next file is decoded as before."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from media_samples import LIMITS, PLANS, drawn, encoded, film

from saccade.errors import EngineError, MediaError
from saccade.media import decoders as decoders_module
from saccade.media.decoders import Decoders
from saccade.media.fetch import Fetcher
from saccade.media.frames import Sampling, decode
from saccade.media.limits import Decoding, MediaLimits
from saccade.media.pixels import prepare
from saccade.types import MediaRef, Picture


@pytest.fixture(scope="module")
def pool() -> Iterator[Decoders]:
    decoders = Decoders(LIMITS, Sampling(), Decoding(2))
    yield decoders
    decoders.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Decoders]]:
    """Decoders of the test's own."""
    running: list[Decoders] = []

    def make(limits: MediaLimits = LIMITS, **options: Any) -> Decoders:
        running.append(Decoders(limits, Sampling(), Decoding(**({"number": 1} | options))))
        return running[-1]

    yield make
    for decoders in running:
        decoders.close()


def ref_of(source: bytes | tuple[bytes, ...], kind: str = "image", **wishes: Any) -> MediaRef:
    given = {"frames": source} if isinstance(source, tuple) else {"data": source}
    return MediaRef(kind, "messages[0]", **given, **wishes)  # type: ignore[arg-type]


def seen(pool: Decoders, ref: MediaRef) -> Picture:
    with pool.decode(Fetcher(LIMITS).fetch(ref), ref) as frames:
        return prepare(frames, PLANS.of(ref))


def seen_here(ref: MediaRef) -> Picture:
    return prepare(decode(Fetcher(LIMITS).fetch(ref), ref, LIMITS), PLANS.of(ref))


def same(a: Picture, b: Picture) -> bool:
    told = [(p.kind, p.grid, p.timestamps, p.original_size, p.key) for p in (a, b)]
    return told[0] == told[1] and np.array_equal(a.pixels, b.pixels)


def test_pixels_are_those_of_decoding_here(pool: Decoders, rng: np.random.Generator) -> None:
    still = encoded(drawn(rng, 60, 90), "PNG")
    exact = encoded(drawn(rng, 64, 96), "PNG")  # needs no resize
    frames = tuple(encoded(drawn(rng, 48, 64), "JPEG") for _ in range(5))
    for ref in (
        ref_of(still),
        ref_of(exact),
        ref_of(encoded(drawn(rng, 50, 70), "JPEG")),
        ref_of(film("mp4", num_frames=60), "video"),
        ref_of(film("webm-vp9", num_frames=30), "video", num_frames=1),
        ref_of(film("mp4", num_frames=60), "video", num_frames=31),
        ref_of(frames, "video"),
        ref_of(frames, "video", fps=7.5),
        ref_of(exact),
    ):
        assert same(seen(pool, ref), seen_here(ref))
    assert not +pool.replaced


def test_a_picture_is_its_own_when_the_next_is_decoded(pool: Decoders) -> None:
    white, black = (encoded(np.full((64, 64, 3), value, np.uint8), "PNG") for value in (255, 0))
    first = seen(pool, ref_of(white))
    for _ in range(4):
        seen(pool, ref_of(black))
    assert first.pixels.min() == 255


def test_there_is_time_for_something_else_once_the_decoder_has_the_file(start: Callable[..., Decoders]) -> None:
    pool = start()
    ref = ref_of(encoded(np.zeros((64, 64, 3), np.uint8), "PNG"))
    (decoder,) = pool._all
    decoder.wait_until_ready()
    told: list[bool] = []
    with pool.decode(Fetcher(LIMITS).fetch(ref), ref, meanwhile=lambda: told.append(decoder.pipe.poll(5))) as frames:
        assert told == [True]
        assert prepare(frames, PLANS.of(ref)).pixels.max() == 0


def test_many_at_once(pool: Decoders, rng: np.random.Generator) -> None:
    refs = [ref_of(encoded(drawn(rng, 40 + n, 60), "PNG")) for n in range(24)]
    expected = [seen_here(ref) for ref in refs]
    with ThreadPoolExecutor(8) as threads:
        assert all(map(same, threads.map(lambda ref: seen(pool, ref), refs), expected))


def test_refusals_are_those_of_decoding_here(pool: Decoders, rng: np.random.Generator) -> None:
    picture = encoded(drawn(rng, 60, 90), "PNG")
    for ref in (
        ref_of(b""),
        ref_of(b"not a picture"),
        ref_of(picture[:-30]),
        ref_of(encoded(drawn(rng, 10, 2100), "PNG")),
        ref_of(picture, "video"),
        ref_of(film()[:3000], "video"),
        ref_of((picture, encoded(drawn(rng, 60, 91), "PNG")), "video"),
        ref_of((picture, b"nothing"), "video"),
    ):
        with pytest.raises(MediaError) as here:
            seen_here(ref)
        with pytest.raises(MediaError) as there:
            seen(pool, ref)
        assert (there.value.message, there.value.hint, there.value.param) == (
            *(here.value.message, here.value.hint, "messages[0]"),
        )
    assert not +pool.replaced


def test_a_killed_decoder_ends_one_request(start: Callable[..., Decoders], rng: np.random.Generator) -> None:
    pool = start()
    ref = ref_of(encoded(drawn(rng, 60, 90), "PNG"))
    for number in range(3):
        seen(pool, ref)
        (decoder,) = pool._all
        os.kill(decoder._process.pid, signal.SIGKILL)
        with pytest.raises(MediaError, match="breaks its decoder, or takes more than 2,147,483,648 bytes"):
            seen(pool, ref)
        assert pool.replaced["broken"] == number + 1
    assert same(seen(pool, ref), seen_here(ref))


def test_a_decoder_that_hangs_is_killed_in_time(start: Callable[..., Decoders], rng: np.random.Generator) -> None:
    pool = start(max_seconds=0.3)
    ref = ref_of(encoded(drawn(rng, 60, 90), "PNG"))
    seen(pool, ref)
    (decoder,) = pool._all
    os.kill(decoder._process.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(MediaError, match=r"longer than 0.3 seconds \(--decode-timeout\)"):
        seen(pool, ref)
    assert time.monotonic() - began < 1.0
    assert +pool.replaced == {"timeout": 1}
    assert same(seen(pool, ref), seen_here(ref))


def test_memory_is_limited(start: Callable[..., Decoders], rng: np.random.Generator) -> None:
    limits = MediaLimits(max_image_pixels=100_000_000)
    pool = start(limits, max_memory=2**28)
    large = ref_of(encoded(np.zeros((9400, 9400), np.uint8), "PNG"))  # 258 kB, RGB of 265 MB
    with pytest.raises(MediaError, match=r"takes more than 268,435,456 bytes \(--decode-memory\)"):
        seen(pool, large)
    small = ref_of(encoded(drawn(rng, 60, 90), "PNG"))
    assert same(seen(pool, small), seen_here(small))


def test_what_nobody_waits_for_is_given_up(start: Callable[..., Decoders]) -> None:
    pool = start()
    ref = ref_of(film(num_frames=60), "video", num_frames=60)
    wanted = threading.Event()
    wanted.set()

    def given_up() -> None:
        with pool.decode(Fetcher(LIMITS).fetch(ref), ref, wanted.is_set) as frames:
            os.kill(next(iter(pool._all))._process.pid, signal.SIGSTOP)
            wanted.clear()
            list(frames.pixels)

    began = time.monotonic()
    with pytest.raises(MediaError):
        given_up()
    assert time.monotonic() - began < 2.0
    assert +pool.replaced == {"unwanted": 1}


@pytest.mark.parametrize(
    "lie",
    [
        {"size": [100_000, 100_000], "indices": [0], "fps": 0},
        {"size": [-1, -1], "indices": [0], "fps": 0},
        {"size": [64, 64], "indices": [0, 1], "fps": 0},
        {"size": [64, 64], "indices": [], "fps": 0},
        {"size": [64, 64], "indices": [0], "fps": 1e300},
        {"size": "x", "indices": [0], "fps": 0},
        {"nothing": 1},
        [],
        {"error": "x" * 100_000, "hint": "\x1b[2J<script>"},
    ],
)
def test_a_decoder_that_lies_is_not_believed(
    start: Callable[..., Decoders], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, lie: Any
) -> None:
    pool = start()
    ref = ref_of(encoded(drawn(rng, 60, 90), "PNG"))
    seen(pool, ref)
    with monkeypatch.context() as patch:
        told = lie | {"job": 1} if lie else lie
        patch.setattr(decoders_module.json, "loads", lambda _: told)
        with pytest.raises(MediaError) as caught:
            seen(pool, ref)
    error = caught.value
    assert len(error.message) <= 300
    assert (error.message + (error.hint or "")).isprintable()
    assert same(seen(pool, ref), seen_here(ref))


def test_decoders_that_cannot_start(monkeypatch: pytest.MonkeyPatch, start: Callable[..., Decoders]) -> None:
    monkeypatch.setattr(decoders_module.sys, "executable", "/bin/false")
    with pytest.raises(EngineError, match="could not be started"):
        seen(start(), ref_of(b"x"))


def test_after_many_files_a_decoder_is_replaced(
    start: Callable[..., Decoders], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders_module, "MAX_JOBS", 3)
    pool = start()
    ref = ref_of(encoded(drawn(rng, 60, 90), "PNG"))
    pids = []
    for _ in range(4):
        seen(pool, ref)
        pids.append(next(iter(pool._all))._process.pid)
    assert pids[0] == pids[1] != pids[3]
    assert +pool.replaced == {"worn": 1}


def test_they_know_no_secrets_and_hold_no_files(pool: Decoders) -> None:
    for decoder in pool._all:
        decoder.wait_until_ready()
        place = f"/proc/{decoder._process.pid}"
        with open(f"{place}/environ") as file:
            assert "SACCADE_" not in file.read()
        targets = [os.readlink(f"{place}/fd/{name}") for name in os.listdir(f"{place}/fd")]
        assert len(targets) <= 6, targets
        with open(f"{place}/limits") as file:
            limits = file.read()
        assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")] == ["0"]
        assert "Max address space         unlimited" not in limits


def test_nothing_is_left_behind(rng: np.random.Generator) -> None:
    before = len(os.listdir("/proc/self/fd"))
    pool = Decoders(LIMITS, Sampling(), Decoding(2))
    seen(pool, ref_of(encoded(drawn(rng, 60, 90), "PNG")))
    pids = [decoder._process.pid for decoder in pool._all]
    pool.close()
    del pool
    assert len(os.listdir("/proc/self/fd")) == before
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_messages_are_json(pool: Decoders) -> None:
    """What crosses the border can be looked at without running it."""
    with open(decoders_module.__file__) as file:
        said = file.read()
    assert "pickle" not in said
    assert ".recv()" not in said
    assert json.loads(json.dumps({"frame": 0})) == {"frame": 0}
