"""A stuck step is told from a long one, by words in memory and without a common clock."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from saccade.engine import pulse
from saccade.engine.plan import EncodeSlice, EncodeUnit, StepPlan
from saccade.engine.pulse import FIRST, OVERHEAD, Pulse, Watch, work


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        time.sleep(3600)  # the beating thread of a test beats once


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    return clock


def words() -> memoryview:
    return memoryview(bytearray(24)).cast("q")


def plan(rows: int, encodes: tuple[EncodeSlice, ...] = ()) -> StepPlan:
    empty: dict[str, Any] = dict.fromkeys(("left", "admitted", "moves", "cancelled", "rows"), ())
    return StepPlan(step=1, num_decodes=0, num_rows=rows, encodes=encodes, **empty)


def test_the_bound_grows_with_the_work(clock: Clock) -> None:
    told = words()
    one = Pulse(told, None, "cuda")
    one.begin()
    assert (told[0], told[2]) == (1, FIRST * 1e3), "nothing is known of the pace"
    one.expect(plan(100 - OVERHEAD))
    clock.now += 1.0
    one.end()
    assert told[0] == 2
    one.begin()
    assert told[2] == 30_000
    one.expect(plan(100 - OVERHEAD))
    assert told[2] == 30_000, "twenty times one second is less"
    one.expect(plan(1000 - OVERHEAD))
    assert told[2] == pytest.approx(200_000), "at 10 ms each"


def test_slices_of_pictures_are_work() -> None:
    unit = EncodeUnit(b"", "a", 0, 0, 400)
    assert work(plan(10, (EncodeSlice(1, (unit, unit), 0, 3),))) == 10 + 3 * 800 / 4


def test_a_long_step_is_not_a_stuck_one(clock: Clock) -> None:
    told = words()
    watch = Watch(told, 10.0, 1.0)

    def pass_by(seconds: int, *, is_busy: bool = True, beats: bool = True) -> str | None:
        for _ in range(seconds):
            clock.now += 1.0
            told[1] += beats
            if wrong := watch.look(is_busy=is_busy):
                return wrong
        return None

    assert pass_by(100, is_busy=False) is None, "it has nothing to do"
    told[0], told[2] = 1, 40_000
    assert pass_by(40) is None
    assert pass_by(2) == "Step 1 of the engine has run for 41 s, and may take 40 s"
    told[0] = 2
    assert pass_by(11) is None
    assert "begun no step for 11 s" in (pass_by(1) or "")
    told[0] = 4
    assert pass_by(3) is None
    assert pass_by(10, is_busy=False, beats=False) is None
    assert pass_by(1, is_busy=False, beats=False) == "The engine process has not moved for 11 s"


def test_a_keeper_that_was_stopped_itself_blames_nobody(clock: Clock) -> None:
    told = words()
    told[0], told[2] = 1, 5_000
    watch = Watch(told, 5.0, 1.0)
    clock.now += 3600
    assert watch.look(is_busy=True) is None


def test_the_next_process_begins_between_two_steps() -> None:
    told = words()
    told[0] = 7
    Pulse(told, None, "cpu")
    assert told[0] == 8


def test_it_beats() -> None:
    told = words()
    Pulse(told, None, "cpu")
    deadline = time.monotonic() + 10
    while told[1] < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
