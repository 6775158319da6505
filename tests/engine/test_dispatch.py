"""Laws of what becomes of requests, whatever the process does: a seeded play of callers, tokens and deaths."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from saccade.engine.arena import Arena
from saccade.engine.dispatch import BROKEN, MAX_LOSSES, POISON, Dispatch
from saccade.engine.request import EngineRequest
from saccade.engine.shelf import Shelf
from saccade.engine.wire import unpack_request
from saccade.types import Picture, Prompt, SamplingParams, StageTimes, TokenOut

SIZE = 12_288
SHELF = 8192


def request(id: str, *sizes: int, shelf: Shelf | None = None) -> EngineRequest:
    """`sizes`: rows of 32 x 3 bytes of its pictures, all of one value that depends on the id. On the `shelf`, if they
    find room there."""
    value = sum(id.encode()) % 256
    pixels = []
    for rows in sizes:
        memory = shelf.take(rows * 96) if shelf else None
        pixels.append((np.empty(rows * 96, np.uint8) if memory is None else memory).reshape(1, rows, 32, 3))
        pixels[-1][:] = value
    pictures = tuple(Picture("image", array, (1, 2, 2), (), (32, 32), id) for array in pixels)
    prompt = Prompt((1, 2, 3), (), np.zeros((3, 3), np.int64), 0)
    return EngineRequest(id, prompt, pictures, SamplingParams())


@dataclass
class Process:
    """What a process knows: the requests it was sent, and which of them have given a token."""

    arena: Arena
    has: dict[str, bool] = field(default_factory=dict)
    reads: dict[str, EngineRequest] = field(default_factory=dict)
    """The pixels of these may be read until their end."""
    aborts: list[str] = field(default_factory=list)

    def hear(self, message: object) -> None:
        message = pickle.loads(pickle.dumps(message))
        if isinstance(message, str):
            self.aborts.append(message)
            return
        assert isinstance(message, tuple)
        got = unpack_request(message[0], message[1], self.arena)
        assert got.id not in self.has
        self.has[got.id] = False
        self.reads[got.id] = got
        self.look(got.id)

    def look(self, id: str) -> None:
        value = sum(id.encode()) % 256
        pictures = self.reads[id].pictures
        assert all((picture.pixels == value).all() for picture in pictures), "others have written over it"


class Play:
    """A dispatch, the process behind it and all that the callers hear."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.arena = Arena.create(SIZE + SHELF)
        self.shelf = Shelf(self.arena, SIZE, SHELF)
        self.heard: list[TokenOut] = []
        self.is_awake = False
        self.dispatch = Dispatch(self.arena, SIZE, self.heard.extend, self.wake)
        self.process: Process | None = None
        self.asked: list[str] = []
        self.deaths: Counter[str] = Counter()
        """Processes that died with a request that had no token."""

    def wake(self) -> None:
        self.is_awake = True

    def submit(self) -> None:
        id = f"r{len(self.asked)}"
        self.asked.append(id)
        sizes = self.rng.integers(1, 33, self.rng.integers(0, 3)).tolist()
        self.dispatch.submit(request(id, *sizes, shelf=self.shelf if self.rng.random() < 0.5 else None))

    def abort(self) -> None:
        if self.asked:
            self.dispatch.abort(self.asked[self.rng.integers(len(self.asked))])

    def live(self) -> None:
        if self.process is None:
            self.process = Process(self.arena)
            self.dispatch.connect(self.process.hear)
            self.wake()

    def die(self) -> None:
        if self.process is None:
            return
        self.dispatch.connect(None)
        self.deaths.update(id for id, begun in self.process.has.items() if not begun)
        self.process = None
        self.dispatch.bury()

    def step(self) -> None:
        """The process says something of some of its requests."""
        if self.process is None:
            return
        outs = []
        for id, begun in list(self.process.has.items()):
            self.process.look(id)
            if id in self.process.aborts:
                outs.append(TokenOut(id, None, finish_reason="abort"))
            elif self.rng.random() < 0.5:
                end = "length" if self.rng.random() < 0.3 else None
                outs.append(TokenOut(id, 1, finish_reason=end, times=None if begun else StageTimes()))
                self.process.has[id] = True
            if outs and outs[-1].request_id == id and outs[-1].finish_reason:
                del self.process.has[id]
        self.dispatch.note(outs)
        self.heard += outs

    def check(self) -> None:
        if self.process:
            tried_again = [id for id, begun in self.process.has.items() if self.deaths[id] and not begun]
            assert len(tried_again) <= 1, "one by one"
            others = [id for id, begun in self.process.has.items() if not self.deaths[id] and not begun]
            assert not (tried_again and others), "and alone"
            assert self.dispatch.num_sent == len(self.process.has)
        ends = Counter(out.request_id for out in self.heard if out.finish_reason)
        assert max(ends.values(), default=1) == 1, "each ends once"
        assert self.dispatch.num_open == len(self.asked) - len(ends)


@pytest.mark.parametrize("seed", range(20))
def test_each_request_ends_once_and_leaves_nothing(seed: int) -> None:
    play = Play(seed)
    moves = [play.submit, play.abort, play.live, play.die, play.step]
    for _ in range(400):
        moves[play.rng.choice(5, p=[0.35, 0.05, 0.1, 0.05, 0.45])]()
        if play.is_awake:
            play.is_awake = False
            play.dispatch.hand_on_waiting()
        play.check()
    for _ in range(2000):
        play.live()
        play.step()
        play.dispatch.hand_on_waiting()
        play.check()
    ends = {out.request_id: out for out in play.heard if out.finish_reason}
    assert ends.keys() == set(play.asked)
    assert (play.dispatch.num_open, play.dispatch.num_sent, play.dispatch.bytes_used) == (0, 0, 0)
    assert play.shelf.bytes_used == 0
    assert max(play.deaths.values()) == MAX_LOSSES
    begun = {out.request_id for out in play.heard if out.times}
    for id, out in ends.items():
        if out.error == POISON:
            assert play.deaths[id] == MAX_LOSSES
        elif out.error == BROKEN:
            assert id in begun
        else:
            assert out.finish_reason in ("length", "abort")


def test_those_without_pixels_pass_and_the_others_keep_their_order() -> None:
    play = Play(0)
    play.live()
    half = SIZE // 2 // 96
    for id, sizes in (("a", [half]), ("b", [half, half]), ("c", [half]), ("d", [])):
        play.dispatch.submit(request(id, *sizes))
    play.dispatch.hand_on_waiting()
    assert play.process
    assert list(play.process.has) == ["a", "d"], "b finds no room, and c does not pass it"
    play.dispatch.note([TokenOut("a", 1, finish_reason="length", times=StageTimes())])
    assert play.is_awake
    play.dispatch.hand_on_waiting()
    assert list(play.process.has) == ["a", "d", "b"]


def test_a_request_that_changes_processes_on_its_way_does_not_join_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(0)
    play.live()
    play.asked += ["a", "b"]
    play.dispatch.submit(request("a"))
    copy = np.copyto

    def slow(*args: Any) -> None:
        """While the pixels of b are copied, the process dies and the next one is given a to try."""
        copy(*args)
        monkeypatch.undo()
        play.die()
        play.live()
        play.dispatch.hand_on_waiting()

    monkeypatch.setattr(np, "copyto", slow)
    play.dispatch.submit(request("b", 4))
    play.check()
    assert play.process
    assert list(play.process.has) == ["a"]
    play.is_awake = False
    play.dispatch.note([TokenOut("a", 1, times=StageTimes())])
    assert play.is_awake
    play.dispatch.hand_on_waiting()
    assert list(play.process.has) == ["a", "b"]
