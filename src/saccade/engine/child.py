"""One engine process from its start to its death, as its parent holds it; knows nothing of what it is for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from saccade.engine.arena import Arena
from saccade.engine.wire import Inlet, Outlet
from saccade.settings import with_allocator

PROGRAM = ("-m", "saccade.engine.process")
"""What the interpreter of the engine process runs."""
END = 2.0
"""Seconds that a process has to end by itself when its pipe is closed."""


class Child:
    """A running process and our ends of its pipes."""

    def __init__(self, program: Sequence[str], arena: Arena) -> None:
        """Start it. Raises OSError."""
        theirs, requests = os.pipe()
        answers, also_theirs = os.pipe()
        # As little of the working directory as there is on our own path: what lies there is not ours.
        safe = () if {"", os.getcwd()} & set(sys.path) else ("-P",)
        files = (theirs, also_theirs, arena.fd)
        try:
            self.process = subprocess.Popen(
                [sys.executable, *safe, *program, *map(str, files)],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints is for the log
                pass_fds=files,
                env=with_allocator(),
                process_group=0,  # Ctrl-C is for the gateway, which lets requests end first
            )
        except BaseException:
            os.close(requests)
            os.close(answers)
            raise
        finally:
            os.close(theirs)
            os.close(also_theirs)
        self.requests = Outlet(requests)
        self.answers = Inlet(answers)
        self.is_attached = False
        """Whether the event loop reads its answers, and closes them in the end."""
        self.is_silent = threading.Event()
        """Nobody reads its answers any more."""

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

    def close(self, *, gently: bool) -> None:
        """Have it dead and everything given back; `gently`: it may end by itself."""
        if not gently or self.requests.is_behind:
            self.process.kill()
        self.requests.close()
        try:
            self.process.wait(END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self.is_attached:
            self.answers.close()
