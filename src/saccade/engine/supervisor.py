"""The engine in a process of its own, from the gateway's side: started, fed, watched and started again, behind the face
that an engine in a thread has. See process.py for the other side.

    any thread       submit, abort --> inbox
    keeper thread    inbox --> pixels into the arena, requests into the pipe; dead processes are replaced
    reader thread    pipe --> emit; what began and what ended --> inbox; a process that hangs is killed

When a process dies, requests that have given a token end with an error. The others are kept and go to the next process,
which gets those that were in the dead one first and one by one: if it dies again, whose fault it was is known, and that
request is not tried a third time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

import numpy as np

from saccade.engine.arena import Arena, Segments
from saccade.engine.child import PROGRAM, Child
from saccade.engine.request import EngineRequest
from saccade.engine.spec import EngineFacts, EngineSpec
from saccade.engine.wire import pack_request, read_messages, unpack_outs
from saccade.engine.worker import Emit, Ended
from saccade.errors import EngineError, MediaError, SaccadeError
from saccade.types import EngineStats, FinishReason, TokenOut

ARENA = 2**30
"""Bytes of pixels that requests may hold together; memory is taken as it is needed. 85 pictures of 2048 x 2048."""
PATIENCE = {"cuda": 30.0, "cpu": 600.0}
"""Seconds that one step may take before the engine counts as hanging; a CPU may need minutes for a long prompt."""
LIFETIME = 60.0
"""Seconds that a process must serve, or its death counts together with the one before."""
MAX_FAILURES = 5
"""Deaths that count together before the engine is given up."""
MAX_LOSSES = 2
"""Processes that may die with a request before it is given up."""
END = 2.0
"""Seconds that a process has to end when its pipe is closed."""
BROKEN = "The engine broke down while it answered this request."
POISON = "The engine broke down twice at this request, which is not tried again."

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Open:
    """A request that has not ended."""

    id: str
    data: bytes
    """Without its pixels; empty once it has begun."""
    pixels: list[memoryview]
    """Until they are in the arena."""
    sizes: list[int]
    offsets: list[int] = field(default_factory=list)
    """Of its pixels in the arena."""
    sent: bool = False
    """Whether a process has it now."""
    begun: bool = False
    """Whether it has given a token."""
    aborted: bool = False
    losses: int = 0
    """Processes that died with it."""


class EngineProcess:
    """Keeps one engine process alive and speaks for it. See `EngineHost`.

    The process is started at once, so that it finds its libraries meanwhile; `load` tells it what to load.
    """

    def __init__(
        self, *, arena_bytes: int = ARENA, patience: float | None = None, program: Sequence[str] = PROGRAM
    ) -> None:
        """`patience`: seconds that a step may take; None: as the device suggests."""
        self._program = program
        self._patience = patience
        self._arena = Arena.create(arena_bytes)
        self._segments = Segments(arena_bytes)
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._loaded: SimpleQueue[EngineFacts | SaccadeError] = SimpleQueue()
        self._facts: EngineFacts | None = None
        self._stats: EngineStats | None = None
        self._spec: EngineSpec | None = None
        self._was_loaded = False
        """By any process so far."""
        self._error: SaccadeError | None = None
        """Why the model could not be loaded."""
        self._emit: Emit = lambda _: None
        self._ended: Ended = lambda _: None
        self._open: dict[str, _Open] = {}
        """In the order they came."""
        self._queue: deque[_Open] = deque()
        """Those of them that no process has."""
        self._trial: _Open | None = None
        """One that a process died with, while another has it and it has not begun."""
        self._failures = 0
        self._due: float | None = None
        """When the next process is to be started."""
        self._over = False
        self._child: Child | None = None
        self._spawn()
        self._keeper = threading.Thread(target=self._keep, name="saccade-keeper", daemon=True)
        self._keeper.start()

    def load(self, spec: EngineSpec) -> None:
        """What every process of this engine loads; once, before all else."""
        self._inbox.put(partial(self._set_spec, spec))

    def facts(self) -> EngineFacts:
        while self._facts is None:
            told = self._loaded.get()
            if isinstance(told, SaccadeError):
                self._loaded.put(told)
                raise told
            self._facts = told
        return self._facts

    def start(self, *, emit: Emit, ended: Ended) -> None:
        self._emit, self._ended = emit, ended

    def submit(self, request: EngineRequest) -> None:
        size = sum(picture.pixels.nbytes for picture in request.pictures)
        if size > self._segments.size:
            raise MediaError(
                f"The pictures of this request have {size:,} bytes after the resize; "
                f"at most {self._segments.size:,} fit between gateway and engine.",
                param="messages",
                hint="Send fewer or smaller ones.",
            )
        self._inbox.put(partial(self._submit, request))

    def abort(self, request_id: str) -> None:
        self._inbox.put(partial(self._abort, request_id))

    def close(self) -> None:
        self._inbox.put(self._close)
        self._keeper.join(END)
        while self._keeper.is_alive():  # it waits for a process that reads no more
            if child := self._child:
                child.process.kill()
            self._keeper.join(END)

    def stats(self) -> EngineStats | None:
        return self._stats

    @property
    def alive(self) -> bool:
        return not self._over

    @property
    def ready(self) -> bool:
        child = self._child
        return child is not None and child.loaded_at is not None and not self._over

    # --- the keeper's thread: everything below but `_listen` runs there ----------------------------------------------

    def _keep(self) -> None:
        cause: BaseException | None = None
        try:
            while not self._over:
                left = None if self._due is None else max(0.0, self._due - time.monotonic())
                with contextlib.suppress(Empty):
                    self._inbox.get(timeout=left)()
                if self._due is not None and time.monotonic() >= self._due:
                    self._due = None
                    try:
                        self._spawn()
                    except OSError as error:
                        self._restart(f"No engine process can be started: {error.strerror}.")
        except BaseException as error:
            cause = error
            logger.critical("The engine is given up.", exc_info=error)
        self._over = True
        if self._facts is None:
            self._loaded.put(self._error or EngineError("The engine was closed before it was loaded."))
        self._end_child()
        self._arena.close()
        self._ended(cause)

    def _close(self) -> None:
        self._over = True

    def _set_spec(self, spec: EngineSpec) -> None:
        self._spec = spec
        if self._child:
            self._child.send(spec)

    def _submit(self, request: EngineRequest) -> None:
        data, pixels = pack_request(request)
        opened = _Open(request.id, data, pixels, [len(part) for part in pixels])
        self._open[request.id] = opened
        self._queue.append(opened)
        self._pump()

    def _abort(self, request_id: str) -> None:
        opened = self._open.get(request_id)
        if opened is None:
            return
        opened.aborted = True
        if opened.sent and self._child:
            self._child.send(request_id)
            return
        self._queue.remove(opened)
        self._end(opened, "abort")

    def _pump(self) -> None:
        """Hand over what can be. Requests whose pixels find no room wait in order, those without pixels pass them."""
        child = self._child
        if child is None or child.loaded_at is None:
            return
        waiting: list[_Open] = []
        while self._queue and self._trial is None:
            opened = self._queue.popleft()
            if (waiting and opened.sizes) or not self._place(opened):
                waiting.append(opened)
                continue
            opened.sent = True
            if opened.losses:
                self._trial = opened
            child.num_sent += 1
            child.send((opened.data, list(zip(opened.offsets, opened.sizes, strict=True))))
        self._queue.extendleft(reversed(waiting))

    def _place(self, opened: _Open) -> bool:
        """Whether its pixels are in the arena, now at the latest."""
        if opened.pixels:
            offsets = self._segments.take(opened.sizes)
            if offsets is None:
                return False
            for offset, part in zip(offsets, opened.pixels, strict=True):
                np.copyto(np.frombuffer(self._arena.view(offset, len(part)), np.uint8), np.frombuffer(part, np.uint8))
            opened.offsets, opened.pixels = offsets, []
        return True

    def _told(self, begun: Iterable[str], ended: Iterable[str]) -> None:
        """Requests have given their first token, or ended, in the process."""
        for id in begun:
            opened = self._open[id]
            opened.begun, opened.data = True, b""
            self._acquit(opened)
        for id in ended:
            opened = self._open[id]
            self._forget(opened)
            if self._child:
                self._child.num_sent -= 1
        self._pump()

    def _forget(self, opened: _Open) -> None:
        """It has ended."""
        del self._open[opened.id]
        self._segments.give(opened.offsets)
        self._acquit(opened)

    def _end(self, opened: _Open, reason: FinishReason, error: str | None = None) -> None:
        """It ends without a word of the process."""
        self._forget(opened)
        self._emit([TokenOut(opened.id, None, finish_reason=reason, error=error)])

    def _acquit(self, opened: _Open) -> None:
        if self._trial is opened:
            self._trial = None

    # --- life and death of processes ---------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._child = child = Child(self._program, self._arena)
        if self._spec:
            child.send(self._spec)
        self._reader = threading.Thread(target=self._listen, args=(child,), name="saccade-reader", daemon=True)
        self._reader.start()

    def _listen(self, child: Child) -> None:
        """The reader's thread: what a process says until it is dead."""
        steps, since = 0, time.monotonic()

        def watch() -> None:
            nonlocal steps, since
            if child.process.poll() is not None:  # and another process, which it had started, still has the pipe
                raise EOFError
            now, before, steps = time.monotonic(), steps, self._arena.steps
            if child.num_sent == 0 or steps != before:
                since = now
            elif self._patience and now - since > self._patience:
                logger.critical("The engine has made no step for %.0f seconds; its process is killed.", now - since)
                child.kill_with_stacks()

        try:
            for kind, value in read_messages(child.answers, watch):
                if kind == "outs":
                    outs = unpack_outs(value)
                    self._emit(outs)
                    begun = [out.request_id for out in outs if out.times]
                    ended = [out.request_id for out in outs if out.finish_reason]
                    if begun or ended:
                        self._inbox.put(partial(self._told, begun, ended))
                elif kind == "stats":
                    self._stats = value
                elif kind == "loaded":
                    self._inbox.put(partial(self._has_loaded, child, value))
                else:
                    self._inbox.put(partial(self._has_failed, value))
        except EOFError:
            pass
        finally:
            child.process.kill()
            child.process.wait()
            os.close(child.answers)
            self._inbox.put(self._has_died)

    def _has_loaded(self, child: Child, facts: EngineFacts) -> None:
        child.loaded_at = time.monotonic()
        self._patience = self._patience or PATIENCE[facts.device_type]
        self._was_loaded = True
        self._loaded.put(facts)
        self._pump()

    def _has_failed(self, error: SaccadeError) -> None:
        self._error = error

    def _has_died(self) -> None:
        """Tell those who have heard something of it, keep the others, and have the process replaced."""
        child, self._child, self._trial = self._child, None, None
        assert child
        os.close(child.requests)
        if not self._was_loaded:
            self._loaded.put(self._error or EngineError(f"The engine ended while the model was loaded: {child.end}."))
            self._over = True
            return
        for opened in list(self._open.values()):
            opened.losses += opened.sent
            opened.sent = False
            if opened.aborted:
                self._end(opened, "abort")
            elif opened.begun or opened.losses == MAX_LOSSES:
                self._end(opened, "error", BROKEN if opened.begun else POISON)
        self._queue = deque(sorted(self._open.values(), key=lambda opened: -opened.losses))
        served = time.monotonic() - child.loaded_at if child.loaded_at else 0.0
        if served > LIFETIME:
            self._failures = 0
        self._restart(f"The engine process {child.end}.")

    def _restart(self, reason: str) -> None:
        """Have another process started: at once, then after 1, 2, 4 seconds; EngineError when that was enough."""
        self._failures += 1
        if self._failures == MAX_FAILURES:
            raise EngineError(f"{reason} That was number {MAX_FAILURES} in a row, and no other is started.")
        wait = 2.0 ** (self._failures - 2) if self._failures > 1 else 0.0
        logger.critical("%s Another one is started in %.0f s.", reason, wait)
        self._due = time.monotonic() + wait

    def _end_child(self) -> None:
        """The process ends as soon as its pipe is closed."""
        child, self._child = self._child, None
        if child:
            os.close(child.requests)
            if child.loaded_at is not None:
                self._reader.join(END)
            child.process.kill()
            self._reader.join()
