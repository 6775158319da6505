"""An engine process is started; what its parent holds of it, which knows nothing of what it is for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from saccade.engine.arena import Arena
from saccade.engine.wire import frame, write_all

PROGRAM = ("-m", "saccade.engine.process")
"""What the interpreter of the engine process runs."""


class Child:
    """A running engine process and our ends of its pipes."""

    def __init__(self, program: Sequence[str], arena: Arena) -> None:
        theirs, self.requests = os.pipe()
        self.answers, also_theirs = os.pipe()
        # As little of the working directory as there is on our own path: what lies there is not ours.
        safe = () if {"", os.getcwd()} & set(sys.path) else ("-P",)
        files = (theirs, also_theirs, arena.fd)
        try:
            self.process = subprocess.Popen(
                [sys.executable, *safe, *program, *map(str, files)],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints is for the log
                pass_fds=files,
                process_group=0,  # Ctrl-C is for the gateway, which lets requests end first
            )
        except BaseException:
            os.close(self.requests)
            os.close(self.answers)
            raise
        finally:
            os.close(theirs)
            os.close(also_theirs)
        self.loaded_at: float | None = None
        self.num_sent = 0
        """Open requests in it."""

    def send(self, message: object) -> None:
        """Write into its pipe. If it is dead, that is told elsewhere."""
        with contextlib.suppress(BrokenPipeError):
            write_all(self.requests, frame(message))

    @property
    def end(self) -> str:
        """How it ended, for people."""
        code = self.process.wait()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def kill_with_stacks(self) -> None:
        """Kill it, once it has written to its log where its threads are."""
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
        self.process.kill()
