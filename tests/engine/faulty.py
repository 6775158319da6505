"""An engine process with a fault planted in it: `python faulty.py FAULT FILES...`. The tests run it in place of the
real one."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from saccade.engine import process

POISON, SLEEP = 13, 14
"""Ids of a prompt that a fault waits for."""


def prompts(engine: Any) -> set[int]:
    """All ids in the prompts that an engine has."""
    return {id for request in engine._runner._requests.values() for id in request.prompt.ids}


def plant(fault: str) -> None:
    """poison: dies over a certain prompt. sleep: never comes back from it. slow: takes its time before each step.
    broken, killed: at load. once:FILE: only the first process of all that share the file is sound."""
    from saccade.engine import build
    from saccade.engine.core import Engine

    name, _, argument = fault.partition(":")
    step = Engine.step

    def faulty_step(self: Any) -> Any:
        if name == "poison" and POISON in prompts(self):
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "sleep" and SLEEP in prompts(self):
            time.sleep(1000)
        if name == "slow":
            time.sleep(0.1)
        return step(self)

    def no_build(*_: Any) -> Any:
        if name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError("planted")

    Engine.step = faulty_step  # type: ignore[method-assign]
    if name in ("broken", "killed"):
        build.build = no_build
    if name == "once":
        if Path(argument).exists():
            os._exit(3)
        Path(argument).touch()


if __name__ == "__main__":
    plant(sys.argv.pop(1))
    process.main()
