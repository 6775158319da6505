"""Where the time of a training step goes: some early steps are profiled, and two tables written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

FIRST = 50
"""Step from which on steps are profiled: by then they are like all later ones."""


class StepProfiler:
    """Profiles `steps` steps, none when it is 0, and writes profile.txt to `out`: by time on the device, and on the
    host."""

    def __init__(self, steps: int, device: torch.device, out: Path) -> None:
        self.steps, self.device, self.out = steps, device, out
        self.profile: Any = None

    def step(self, done: int) -> None:
        """Called after each step with the number of those before it."""
        if done == FIRST and self.steps:
            self.profile = torch.profiler.profile()
            self.profile.start()
        elif self.profile is not None and done == FIRST + self.steps:
            self.profile.stop()
            averages = self.profile.key_averages()
            device = "self_device_time_total" if self.device.type == "cuda" else "self_cpu_time_total"
            tables = [averages.table(sort_by=key, row_limit=60) for key in (device, "self_cpu_time_total")]
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "profile.txt").write_text("\n\n".join(tables) + "\n")
            self.profile = None
