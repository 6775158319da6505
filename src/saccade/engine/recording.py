"""A trace of some steps of the engine by torch's profiler, as a file that chrome://tracing and Perfetto open; knows no
requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Whoever only asks for a trace does not wait for torch.
    from torch.profiler import profile

EXPORT_SECONDS = 600.0
"""That writing the file may take."""


class Recording:
    """Begins with the next step and ends after `steps` of them."""

    def __init__(self, steps: int, file: Path, done: Callable[[str | None], None]) -> None:
        """`done` hears when the file is there, or why it is not."""
        self._left = steps
        self._file = file
        self._done = done
        self._profiler: profile | None = None

    def before_step(self) -> None:
        """Called in the thread that steps, as all methods are."""
        if self._profiler is None:
            import torch
            from torch.profiler import ProfilerActivity, profile

            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._profiler = profile(activities=kinds)
            self._profiler.start()

    def after_step(self) -> bool:
        """Whether that was the last."""
        self._left -= 1
        return self._left <= 0

    def refuse(self) -> None:
        """Another one is being made."""
        self._done("A trace is being recorded already.")

    def end(self) -> None:
        """Write the file; nothing of what goes wrong here is the engine's business."""
        if self._profiler is None:
            self._done("No step came to be recorded.")
            return
        try:
            self._profiler.stop()
            part = self._file.with_suffix(f".{time.monotonic_ns()}.part")
            self._profiler.export_chrome_trace(str(part))
            part.replace(self._file)
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            self._done(f"The trace could not be written: {reason}.")
        else:
            self._done(None)
