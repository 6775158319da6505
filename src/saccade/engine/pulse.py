"""Signs of life of an engine process, in memory that its parent sees: which step runs, how long it may take, and that
the process is not stopped as a whole. The engine writes with Pulse, the keeper reads with Watch.

    word 0   steps begun and ended: odd while one runs       word 1   beats of a thread that does nothing else
    word 2   milliseconds that the running step may take

A long step is not a stuck one: its bound grows with what was planned, at the pace of the steps before. Clocks of two
processes are never compared, and time in which the keeper itself was stopped does not count.
"""

from __future__ import annotations

import threading
import time

from saccade.engine.plan import StepPlan

BEAT = 0.2
"""Seconds between two beats."""
FACTOR = 20
"""A step may take so many times as long as its work should."""
DEFAULT = {"cuda": 30.0, "cpu": 60.0}
"""Seconds that any step may take, unless the owner decides."""
FIRST = 600.0
"""Seconds for a step before which none tells the pace: libraries compile, a CPU computes a long prompt."""
LONGEST = 3600.0
OVERHEAD = 64
"""Work of a step without rows, in rows."""
MEMORY = 0.98
"""Share of the past that each step leaves in the pace."""
LEAST_SILENCE = 2.0
"""Seconds without a beat that say nothing on a busy machine."""


class Pulse:
    """Written by the thread that steps the engine."""

    def __init__(self, words: memoryview, timeout: float | None, device_type: str) -> None:
        """`words`: three of 64 bits. `timeout`: seconds that any step may take; None: as the device suggests."""
        self._words = words
        words[0] += words[0] % 2  # the process before this one may have died in a step
        self._least = timeout or DEFAULT[device_type]
        self._first = timeout or FIRST
        self._work = 0.0
        self._begun = 0.0
        self._seconds = 0.0
        self._done = 0.0
        """Seconds and work of the steps so far, the older the less."""
        threading.Thread(target=self._beat, name="saccade-pulse", daemon=True).start()

    def begin(self, seconds: float | None = None) -> None:
        """A step begins, or something else that may take so many seconds."""
        self._work, self._begun = 0.0, time.monotonic()
        self._words[2] = int((seconds or (self._least if self._done else self._first)) * 1e3)
        self._words[0] += 1

    def expect(self, plan: StepPlan) -> None:
        """What the step will do is known."""
        self._work = OVERHEAD + work(plan)
        if self._done:
            expected = self._work * self._seconds / self._done
            self._words[2] = int(min(max(self._least, FACTOR * expected), LONGEST) * 1e3)

    def end(self) -> None:
        """It is over."""
        self._words[0] += 1
        if self._work:
            self._seconds = self._seconds * MEMORY + time.monotonic() - self._begun
            self._done = self._done * MEMORY + self._work

    def _beat(self) -> None:
        while True:
            self._words[1] += 1
            time.sleep(BEAT)


def work(plan: StepPlan) -> float:
    """Rows of a plan, those of the vision tower included: one tower block over four patches counts as one."""
    patches = sum((s.last - s.first) * sum(unit.num_patches for unit in s.units) for s in plan.encodes)
    return plan.num_rows + patches / 4


class Watch:
    """Looks at the words from time to time."""

    def __init__(self, words: memoryview, least: float, most_between: float) -> None:
        """`least`: seconds without any sign that are too long. `most_between`: of the time between two looks, what
        counts."""
        self._words = words
        self._least = least
        self._most_between = most_between
        self._looked = time.monotonic()
        self._steps, self._beats = words[0], words[1]
        self._step_age = self._silence = 0.0

    def look(self, *, is_busy: bool) -> str | None:
        """What is wrong, for people; `is_busy`: somebody waits for a step."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, self._most_between), now
        steps, beats, bound = self._words[0], self._words[1], self._words[2] / 1e3
        runs = steps % 2 == 1
        self._silence = 0.0 if beats != self._beats else self._silence + passed
        self._step_age = 0.0 if steps != self._steps or not (runs or is_busy) else self._step_age + passed
        self._steps, self._beats = steps, beats
        if self._silence > max(self._least, LEAST_SILENCE):
            return f"The engine process has not moved for {self._silence:.0f} s"
        if runs and self._step_age > bound:
            return f"Step {steps // 2 + 1} of the engine has run for {self._step_age:.0f} s, and may take {bound:.0f} s"
        if not runs and self._step_age > self._least:
            return f"The engine has begun no step for {self._step_age:.0f} s although requests wait"
        return None
