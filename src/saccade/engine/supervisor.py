"""The engine in a process of its own, from the gateway's side: started, fed, watched and started again, behind the face
that an engine in a thread has. See process.py for the other side.

    any thread       submit: pixels into the arena and the request into the pipe, or both into the queue
    event loop       pipe --> emit; what has ended gives its pixels back
    keeper thread    starts processes, watches them, hands on what waits in the queue
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from saccade.engine.arena import Arena
from saccade.engine.child import PROGRAM, Child
from saccade.engine.dispatch import Dispatch
from saccade.engine.pulse import DEFAULT, Watch
from saccade.engine.request import EngineRequest
from saccade.engine.shelf import Shelf
from saccade.engine.spec import EngineFacts, EngineSpec
from saccade.engine.wire import TICK, read_messages, unpack_outs
from saccade.engine.worker import Emit, Ended
from saccade.errors import EngineError, SaccadeError
from saccade.logs import Format
from saccade.types import EngineStats, TokenOut

ARENA = 2**30
"""Bytes of pixels that requests may hold together: 85 pictures of 2048 x 2048. With a GPU this memory and the shelf's
are pinned, hence taken at once; otherwise as they are needed."""
MAX_FAILURES = 5
"""Processes that may fail in a row before the engine is given up."""
LIFETIME = 60.0
"""Seconds after which a process that dies has not failed, even if nobody wanted a token of it."""
LAST_WORDS = 1.0
"""Seconds in which the event loop reads what a dead process has left in its pipe."""

logger = logging.getLogger(__name__)


class EngineProcess:
    """Keeps one engine process alive and speaks for it. See `EngineHost`.

    The process is started at once, so that it finds its libraries meanwhile; `load` tells it what to load.
    """

    def __init__(
        self,
        *,
        arena_bytes: int = ARENA,
        shelf_bytes: int = 0,
        program: Sequence[str] = PROGRAM,
        log_format: Format = "text",
    ) -> None:
        """`shelf_bytes`: for pixels that stay between requests, beside those of requests."""
        self._log_format = log_format
        self._program = program
        self._arena = Arena.create(arena_bytes + shelf_bytes)
        self.shelf = Shelf(self._arena, arena_bytes, shelf_bytes)
        self._loaded: SimpleQueue[EngineFacts | SaccadeError] = SimpleQueue()
        self._facts: EngineFacts | None = None
        self._stats: EngineStats | None = None
        self._spec: EngineSpec | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._emit: Emit = lambda _: None
        self._ended: Ended = lambda _: None
        self._wake = threading.Event()
        """There is something for the keeper to look at."""
        self._progress: tuple[str, float | None] = ("libraries", None)
        self._device_type = "cpu"
        self._profiled: Callable[[str | None], None] | None = None
        """Who waits for a trace."""
        self._was_loaded = False
        """By any process so far."""
        self._failures = self._restarts = 0
        self._closing = False
        self._over = False
        self._serving: Child | None = None
        self._dispatch = Dispatch(self._arena, arena_bytes, emit=self._tell, wake=self._wake.set)
        first = Child(program, self._arena)
        self._keeper = threading.Thread(target=self._keep, args=(first,), name="saccade-keeper", daemon=True)
        self._keeper.start()

    def load(self, spec: EngineSpec) -> None:
        """What every process of this engine loads; once, before all else."""
        self._spec = replace(spec, log_format=self._log_format)
        self._wake.set()

    def facts(self) -> EngineFacts:
        while self._facts is None:
            told = self._loaded.get()
            if isinstance(told, SaccadeError):
                self._loaded.put(told)
                raise told
            self._facts = told
        return self._facts

    def start(self, loop: asyncio.AbstractEventLoop, *, emit: Emit, ended: Ended) -> None:
        self._emit, self._ended, self._loop = emit, ended, loop
        self._wake.set()

    def submit(self, request: EngineRequest) -> None:
        self._dispatch.submit(request)

    def abort(self, request_id: str) -> None:
        self._dispatch.abort(request_id)

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        self._keeper.join()

    def stage(self) -> tuple[str, float | None]:
        """Where loading is, and how much of that is done, 0 to 1, if it is known."""
        return self._progress if self._spec else ("files", None)

    def profile(self, steps: int, file: Path, done: Callable[[str | None], None]) -> None:
        serving = self._serving
        if self._profiled or serving is None:
            done("A trace is being recorded already." if serving else "The engine is being started again.")
            return
        self._profiled = done
        serving.requests.send(("profile", steps, file))

    def end_profile(self) -> None:
        if serving := self._serving:
            serving.requests.send(("end_profile",))

    def _end_profile(self, error: str | None) -> None:
        done, self._profiled = self._profiled, None
        if done:
            done(error)

    def stats(self) -> EngineStats | None:
        return replace(self._stats, restarts=self._restarts) if self._stats else None

    @property
    def alive(self) -> bool:
        return not self._over

    @property
    def ready(self) -> bool:
        return self._serving is not None

    # --- in the event loop -------------------------------------------------------------------------------------------

    def _on_loop(self, call: Callable[..., object], *args: object) -> bool:
        """Have something called in the loop's thread; whether there is a loop still."""
        with contextlib.suppress(RuntimeError):  # it is closed
            if self._loop:
                self._loop.call_soon_threadsafe(call, *args)
                return True
        return False

    def _tell(self, outs: list[TokenOut]) -> None:
        self._on_loop(self._emit, outs)

    def _attach(self, loop: asyncio.AbstractEventLoop, child: Child) -> None:
        loop.add_reader(child.answers.fd, self._hear, loop, child)

    def _hear(self, loop: asyncio.AbstractEventLoop, child: Child) -> None:
        """A process has said something, or died."""
        messages = child.answers.read()
        if messages is None:
            self._detach(loop, child)
            return
        for kind, value in messages:
            if kind == "outs":
                outs = unpack_outs(value)
                self._dispatch.note(outs)
                self._emit(outs)
            elif kind == "profiled":
                self._end_profile(value)
            else:
                self._stats = value

    def _detach(self, loop: asyncio.AbstractEventLoop, child: Child) -> None:
        if not child.is_silent.is_set():
            loop.remove_reader(child.answers.fd)
            child.answers.close()
            child.is_silent.set()
            self._wake.set()

    # --- in the keeper's thread --------------------------------------------------------------------------------------

    def _keep(self, first: Child) -> None:
        cause: BaseException | None = None
        child: Child | None = first
        try:
            while child:
                reason = self._live(child)
                child = None if self._closing else self._another(reason)
        except BaseException as error:
            cause = error
        self._over = True
        if not self._was_loaded:
            self._loaded.put(cause if isinstance(cause, SaccadeError) else EngineError("The engine was closed."))
        elif cause is not None:
            logger.critical("The engine is given up.", exc_info=cause)
        self._arena.close()
        self._on_loop(self._ended, cause)

    def _live(self, child: Child) -> str:
        """A process from its start to its death; how that was. Raises what went wrong if nothing was ever loaded."""
        error: SaccadeError | None = None
        begun, born = self._dispatch.num_begun, time.monotonic()
        try:
            error = self._load(child)
            if error is None:
                self._serve(child)
        finally:
            child.close(gently=self._closing and error is None)
        if self._closing:
            return ""
        if error and not self._was_loaded:
            raise error
        if self._dispatch.num_begun > begun or time.monotonic() - born > LIFETIME:
            self._failures = 0
        self._dispatch.bury()
        return error.message if error else f"The engine process {child.end}."

    def _load(self, child: Child) -> SaccadeError | None:
        """Wait until it has loaded; what came instead."""
        error: SaccadeError | None = None

        was_dead = False

        def tick() -> None:
            nonlocal was_dead
            if self._closing or was_dead:
                raise EOFError
            was_dead = child.process.poll() is not None  # its last words are read before it counts

        try:
            while self._spec is None:
                self._pause(TICK)
                tick()
            child.requests.send(self._spec)
            for messages in read_messages(child.answers, tick):
                for kind, value in messages:
                    if kind == "loaded":
                        self._device_type = value.device_type
                        self._was_loaded = True
                        if value.device_type == "cuda":  # it is pinned
                            threading.Thread(target=self._arena.map_all, name="saccade-map", daemon=True).start()
                        self._progress = ("warm-up", None)
                        self._loaded.put(value)
                        return None
                    if kind == "progress":
                        self._progress = value
                    else:
                        error = value
        except EOFError:
            pass
        if error is None:
            child.process.kill()
            error = EngineError(f"The engine process {child.end} before it had loaded the model.")
        return error

    def _serve(self, child: Child) -> None:
        """Feed it and watch it until it is dead, or to be closed."""
        while self._loop is None:
            self._pause(TICK)
            if self._closing or child.process.poll() is not None:
                return
        loop = self._loop
        child.is_attached = self._on_loop(self._attach, loop, child)
        self._dispatch.connect(child.requests.send)
        self._serving = child
        self._watch(child)
        self._serving = None
        self._end_profile("The engine broke down while it was recorded.")
        self._dispatch.connect(None)
        if not child.is_silent.is_set() and not self._on_loop(self._detach, loop, child):
            child.is_attached = False
        while child.is_attached and not child.is_silent.wait(TICK) and not self._closing:
            pass  # what it said last is heard before it is buried

    def _watch(self, child: Child) -> None:
        assert self._spec, "it was loaded"
        least = self._spec.options.step_timeout or DEFAULT[self._device_type]
        watch, died_at = Watch(self._arena.pulse, least, 4 * TICK), None
        while not self._closing and not child.is_silent.is_set():
            self._dispatch.hand_on_waiting()
            self._pause(TICK)
            now = time.monotonic()
            wrong = None if died_at else watch.look(is_busy=self._dispatch.num_sent > 0)
            if wrong:
                logger.critical("%s; its process is killed.", wrong)
                self._serving = None
                child.kill_with_stacks()
            if child.process.poll() is not None:
                died_at = died_at or now
                if now - died_at > LAST_WORDS:  # somebody else still has its pipe
                    return

    def _another(self, reason: str) -> Child | None:
        """The next process: at once, then after 1, 2, 4 seconds. None when closed; EngineError when that was enough."""
        while True:
            self._failures += 1
            if self._failures == MAX_FAILURES:
                raise EngineError(f"{reason} That was number {MAX_FAILURES} in a row, and no other is started.")
            wait = 2.0 ** (self._failures - 2) if self._failures > 1 else 0.0
            logger.critical("%s Another one is started in %.0f s.", reason, wait)
            due = time.monotonic() + wait
            while (left := due - time.monotonic()) > 0 and not self._closing:
                self._pause(left)
            if self._closing:
                return None
            try:
                child = Child(self._program, self._arena)
                self._restarts += 1
                return child
            except OSError as error:
                reason = f"No engine process can be started: {error.strerror}."

    def _pause(self, seconds: float) -> None:
        """Wait until something happens, but not for longer."""
        self._wake.wait(seconds)
        self._wake.clear()
