"""A trace of some steps is asked of the engine, and waited for: wherever it runs, and whatever becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from saccade.engine.worker import EngineHost
from saccade.errors import BusyError, EngineError

PATIENCE = 60.0
"""Seconds for steps to come and be written down; after that, what there is so far is all there will be."""


async def recorded(host: EngineHost, steps: int, file: Path) -> None:
    """Returns when the file is there. See `Backend.profile`."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[str | None] = loop.create_future()

    def done(error: str | None) -> None:
        if not told.done():
            told.set_result(error)

    def tell(error: str | None) -> None:
        loop.call_soon_threadsafe(done, error)

    host.profile(steps, file, tell)
    try:
        async with asyncio.timeout(PATIENCE):
            error = await asyncio.shield(told)
    except TimeoutError:
        host.end_profile()
        error = await told
    if error:
        raise BusyError(error, hint="Send requests meanwhile.") if "No step" in error else EngineError(error)
