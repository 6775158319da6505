"""Frames, messages and the memory beside them."""

from __future__ import annotations

import itertools
import os
import threading
import time

import numpy as np
import pytest

from saccade.engine.arena import ALIGNMENT, Arena, Segments
from saccade.engine.request import EngineRequest
from saccade.engine.shelf import Shelf
from saccade.engine.wire import (
    Inlet,
    Outlet,
    frame,
    pack_outs,
    pack_request,
    read_messages,
    unpack_outs,
    unpack_request,
)
from saccade.types import Picture, Prompt, SamplingParams, StageTimes, TokenLogprob, TokenOut


def test_messages_come_whole_and_in_order() -> None:
    messages = [b"", "x" * 300_000, [1, 2], {"a": None}] * 20
    source, target = os.pipe()
    heard: list[object] = []
    reader = threading.Thread(target=lambda: [heard.extend(some) for some in read_messages(Inlet(source))])
    reader.start()
    outlet = Outlet(target)
    for message in messages:
        outlet.send(message)
    outlet.close()
    reader.join(20)
    os.close(source)
    assert heard == messages


def test_an_outlet_never_waits_for_its_reader() -> None:
    source, target = os.pipe()
    outlet = Outlet(target)
    began = time.perf_counter()
    for number in range(20_000):
        outlet.send((number, "x" * 100))
    assert time.perf_counter() - began < 5, "2 MB into a pipe of 64 kB that nobody reads"
    assert outlet.is_behind
    heard: list[int] = []
    for messages in read_messages(Inlet(source)):
        heard += [number for number, _ in messages]
        if len(heard) == 20_000:
            break
    assert heard == list(range(20_000))
    os.close(source)
    outlet.send("nobody hears this")
    outlet.close()


def test_silence_is_told() -> None:
    source, target = os.pipe()
    silences = []

    def tick() -> None:
        silences.append(1)
        if len(silences) == 2:
            os.write(target, frame("at last"))

    assert next(read_messages(Inlet(source), tick)) == ["at last"]
    assert len(silences) == 2
    os.close(source)
    os.close(target)


def test_tokens_come_back_as_they_were() -> None:
    top = (TokenLogprob(3, -0.5), TokenLogprob(4, -1.5))
    outs = [
        TokenOut("a", 7),
        TokenOut("b", 0, times=StageTimes(queue=1.5, prefill=2.0), cached_tokens=32),
        TokenOut("c", 3, -0.5, top),
        TokenOut("d", 3, finish_reason="stop"),
        TokenOut("e", None, finish_reason="error", error="why"),
        TokenOut("f", None, finish_reason="abort"),
    ]
    rows = pack_outs(outs)
    assert rows[0] == ("a", 7)
    assert unpack_outs(rows) == outs


@pytest.fixture
def arena() -> Arena:
    return Arena.create(1 << 20)


def test_pixels_go_through_the_arena_alone(arena: Arena, rng: np.random.Generator) -> None:
    shapes = ((1, 64, 96, 3), (4, 32, 32, 3))
    arrays = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    arrays[0].setflags(write=False)
    pictures = tuple(Picture("image", array, (1, 4, 6), (), (64, 96), str(n)) for n, array in enumerate(arrays))
    positions = np.broadcast_to(np.arange(500), (3, 500))
    request = EngineRequest("r", Prompt(tuple(range(500)), (), positions, 0), pictures, SamplingParams(seed=3), b"salt")
    data, pixels = pack_request(request)
    assert [len(part) for part in pixels] == [array.size for array in arrays]
    assert len(data) < 20_000
    places = []
    for offset, part in zip((256, 65_536), pixels, strict=True):
        arena.view(offset, len(part))[:] = part
        places.append((offset, len(part)))
    back = unpack_request(data, places, Arena(arena.fd))
    for array, picture in zip(arrays, back.pictures, strict=True):
        np.testing.assert_array_equal(picture.pixels, array)
    np.testing.assert_array_equal(back.prompt.positions, positions)
    assert (back.id, back.prompt.ids, back.sampling, back.salt) == (
        "r",
        tuple(range(500)),
        SamplingParams(seed=3),
        b"salt",
    )
    arena.view(256, 1)[0] ^= 255
    assert back.pictures[0].pixels.flat[0] == arrays[0].flat[0] ^ 255, "a view, not a copy"
    arena.close()


def test_the_pulse_is_seen_on_the_other_side(arena: Arena) -> None:
    other = Arena(arena.fd)
    for word in range(3):
        other.pulse[word] = word + 1
    assert arena.pulse.tolist() == [1, 2, 3]
    assert bytes(arena.view(0, 8)) == bytes(8)
    arena.close()


def test_segments_never_overlap_and_none_is_lost(rng: np.random.Generator) -> None:
    size = 64 * ALIGNMENT
    ledger = Segments(size)
    held: list[list[tuple[int, int]]] = []
    refused = 0
    for _ in range(3000):
        lengths = [int(n) for n in rng.integers(1, 12 * ALIGNMENT, rng.integers(1, 4))]
        if held and rng.random() < 0.45:
            ledger.give(offset for offset, _ in held.pop(rng.integers(len(held))))
        elif (offsets := ledger.take(lengths)) is not None:
            held.append(list(zip(offsets, lengths, strict=True)))
        else:
            refused += 1
        parts = sorted(part for parts in held for part in parts)
        assert all(offset % ALIGNMENT == 0 for offset, _ in parts)
        assert all(one + length <= two for (one, length), (two, _) in itertools.pairwise(parts))
        assert not parts or parts[-1][0] + parts[-1][1] <= size
        assert ledger.used == sum(-(-length // ALIGNMENT) * ALIGNMENT for _, length in parts)
    assert refused > 100
    for parts in held:
        ledger.give(offset for offset, _ in parts)
    assert ledger.used == 0
    assert ledger.take([size]) == [0], "free parts have grown together again"


def test_what_lies_on_the_shelf_is_found_and_given_back_when_nobody_has_it() -> None:
    arena = Arena.create(8192)
    shelf = Shelf(arena, 4096, 4096)
    first = shelf.take(3000)
    assert first is not None
    assert shelf.take(3000) is None
    view, buffer = first.reshape(30, 100)[1:], memoryview(first)
    assert arena.find(buffer) == 4096
    assert arena.find(memoryview(bytes(10))) is None
    first[:] = 7
    assert bytes(arena.view(4096, 3000)) == bytes([7]) * 3000
    del first, buffer
    assert shelf.bytes_used == 3072
    del view
    assert shelf.bytes_used == 0
    assert shelf.take(4096) is not None


def test_all_pages_at_hand_are_as_they_were() -> None:
    arena = Arena.create(3 * 4096)
    arena.view(5000, 10)[:] = b"0123456789"
    arena.map_all()
    assert bytes(arena.view(5000, 10)) == b"0123456789"
