"""The checks in the order they are told, and those that are quick enough for every start of a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from saccade.doctor import serving, software
from saccade.doctor.findings import Finding
from saccade.doctor.machine import Machine, Model
from saccade.settings import Settings

Check: TypeAlias = Callable[[Machine], Finding]

CHECKS: tuple[Check, ...] = (
    software.python,
    software.packages,
    software.torch,
    software.gpu,
    software.compiler,
    software.kernels,
    serving.model,
    software.dtype,
    serving.memory,
    serving.port,
    serving.disk,
    serving.caches,
    serving.shared_memory,
    serving.descriptors,
    serving.proxies,
    software.video,
    software.fonts,
)
QUICK: tuple[Check, ...] = (software.python, software.packages, serving.files)


def examine(machine: Machine) -> list[Finding]:
    """All there is to tell."""
    return [check(machine) for check in CHECKS]


def before_serving(settings: Settings, directory: Path) -> None:
    """The quick checks of a server about to load `directory`. Raises what `saccade doctor` would tell as a problem.

    The port is tried before, by taking it; device and memory are looked at by the engine, in its own process.
    """
    machine = Machine(settings)
    machine.model = Model(directory)
    for check in QUICK:
        found = check(machine)
        if found.level == "problem":
            raise found.to_error()
