"""A backend that is still being loaded: the same promise from the first moment on, so that the port can be open
meanwhile. Requests are refused until the backend behind it can take them, and handed on from then."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from saccade.backends.base import Backend
from saccade.errors import BusyError, EngineError
from saccade.types import Delta, EngineStats, KeptMedia, LoadProgress, MediaRef, MediaStats, ModelCard, Request

RETRY_SECONDS = 5
"""After which a client that came too early may ask again."""


class Loading:
    """Loads in a thread of its own once it is started; see `Backend`."""

    def __init__(
        self,
        name: str,
        load: Callable[[], Backend],
        *,
        stage: Callable[[], tuple[str, float | None]],
        give_up: Callable[[], None],
    ) -> None:
        """`load` may take minutes and raise; `stage` says where it is, and how much of that is done (0 to 1, None: not
        known). `give_up` is called when nobody waits any more, and makes `load` end soon, if it can."""
        self._name = name
        self._load = load
        self._stage = stage
        self._give_up = give_up
        self._begun = time.monotonic()
        self._opening: asyncio.Task[None] | None = None
        self._backend: Backend | None = None

    async def start(self) -> None:
        """Begin to load; returns at once."""
        self._opening = asyncio.create_task(self._open())

    async def loaded(self) -> Backend:
        """The backend, as soon as it answers. Raises what loading or starting it raised."""
        assert self._opening, "it was started"
        await asyncio.shield(self._opening)
        assert self._backend, "it is there when it has opened"
        return self._backend

    def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        return self._answering().generate(request)

    async def tokenize(self, asked: Request | str) -> tuple[int, ...]:
        return await self._answering().tokenize(asked)

    async def profile(self, steps: int, file: Path) -> None:
        await self._answering().profile(steps, file)

    async def keep(self, media: MediaRef, salt: bytes) -> KeptMedia:
        return await self._answering().keep(media, salt)

    async def page(self, digest: str, number: int, salt: bytes) -> bytes:
        return await self._answering().page(digest, number, salt)

    def keeps(self, digest: str, salt: bytes) -> bool:
        return self._backend is not None and self._backend.keeps(digest, salt)

    def card(self) -> ModelCard:
        """Without context and facts as long as they are not known."""
        return self._backend.card() if self._backend else ModelCard(self._name, 0)

    @property
    def ready(self) -> bool:
        return self._backend is not None and self._backend.ready

    def alive(self) -> bool:
        if self._backend:
            return self._backend.alive()
        return self._opening is None or not self._opening.done()

    def stats(self) -> EngineStats | None:
        return self._backend.stats() if self._backend else None

    def media_stats(self) -> MediaStats | None:
        return self._backend.media_stats() if self._backend else None

    def progress(self) -> LoadProgress | None:
        if self._backend or not self.alive():
            return None
        stage, fraction = self._stage()
        return LoadProgress(stage, fraction, time.monotonic() - self._begun)

    async def close(self) -> None:
        if self._backend:
            await self._backend.close()
        elif self._opening:
            self._opening.cancel()
            await asyncio.to_thread(self._give_up)
            await asyncio.gather(self._opening, return_exceptions=True)

    async def _open(self) -> None:
        backend = await _apart(self._load)
        await backend.start()
        self._backend = backend

    def _answering(self) -> Backend:
        if self._backend:
            return self._backend
        told = self.progress()
        if told is None:
            raise EngineError("The model could not be loaded.")
        raise BusyError(
            f"The model is being loaded ({told.stage}, for {told.seconds:.0f} s now).",
            code="loading",
            hint="See /health/ready.",
            retry_after=RETRY_SECONDS,
        )


async def _apart(load: Callable[[], Backend]) -> Backend:
    """What `load` gives, in a thread that nobody waits for at the end: a download cannot be interrupted."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Backend] = loop.create_future()

    def settle(backend: Backend | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            assert backend
            done.set_result(backend)

    def run() -> None:
        backend, error = None, None
        try:
            backend = load()
        except BaseException as caught:
            error = caught
        try:
            loop.call_soon_threadsafe(settle, backend, error)
        except RuntimeError:  # the loop is closed: nobody waits
            return

    threading.Thread(target=run, name="saccade-load", daemon=True).start()
    return await done
