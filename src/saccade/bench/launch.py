"""Flags of `saccade serve` become a running server and its address, and how long that took; speaks to it as any shell
would."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from saccade.errors import SaccadeError

STOP_SECONDS = 15
_URL = re.compile(rb"https?://\S+/v1$")


@dataclass(frozen=True, slots=True)
class Launched:
    """A server of our own. `seconds` is from its start until it said that requests can come."""

    url: str
    pid: int
    started: float
    seconds: float


@asynccontextmanager
async def launched(flags: Sequence[str], log: IO[bytes] | None = None) -> AsyncIterator[Launched]:
    """A server on a free port of this machine, stopped at the end; its standard error goes to `log`, a file open for
    writing and reading. Raises SaccadeError when it does not come up."""
    words = [sys.executable, "-m", "saccade", "serve", *flags, "--host", "127.0.0.1", "--port", "0"]
    begun = time.perf_counter()
    with tempfile.TemporaryFile() if log is None else contextlib.nullcontext(log) as errors:
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        rest = None
        try:
            while line := await process.stdout.readline():
                if found := _URL.search(line.strip()):
                    break
            else:
                await process.wait()
                errors.seek(0)
                last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
                said = f": {last[0].removeprefix('saccade: ')}" if last else f" (status {process.returncode})."
                raise SaccadeError(f"The server did not start{said}")
            rest = asyncio.create_task(process.stdout.read())  # A full pipe would stop it.
            yield Launched(found[0].decode(), process.pid, begun, time.perf_counter() - begun)
        finally:
            await _stop(process)
            if rest is not None:
                await rest


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
