"""The engine in a thread of its own: requests and aborts come in from anywhere, lists of TokenOut go out through one
callback; knows no text. The same face over another process is in supervisor.py."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol, TypeAlias

from saccade.engine.pulse import Pulse
from saccade.engine.recording import EXPORT_SECONDS, Recording
from saccade.engine.request import EngineRequest
from saccade.engine.spec import EngineFacts
from saccade.errors import RequestError
from saccade.types import EngineStats, TokenOut

if TYPE_CHECKING:  # Whoever talks to an engine in another process does not wait for torch.
    from saccade.engine.core import Engine
    from saccade.engine.grammar import Compiled

logger = logging.getLogger(__name__)

Emit: TypeAlias = Callable[[list[TokenOut]], None]
Ended: TypeAlias = Callable[[BaseException | None], None]

STATS_SECONDS = 0.5
"""How old what is told of the engine may be."""


class EngineHost(Protocol):
    """Where an engine runs, seen from the one who asks it. All methods but `facts` and `close` return at once, and all
    may be called in any thread."""

    def facts(self) -> EngineFacts:
        """Wait until the model is loaded. Raises CheckpointError, SettingsError or EngineError if it cannot be."""
        ...

    def start(self, loop: asyncio.AbstractEventLoop, *, emit: Emit, ended: Ended) -> None:
        """Begin to serve. Both callbacks run in the loop's thread.

        `emit` gets what a step brought. `ended` is called once, with the cause unless the end was asked for; requests
        that are open then end without a word of their own.
        """
        ...

    def submit(self, request: EngineRequest) -> None:
        """Hand a request in; one that the engine refuses ends with finish_reason "error". Raises RequestError for one
        that cannot even be handed in. Takes the time of copying its pixels."""
        ...

    def abort(self, request_id: str) -> None:
        """End a request before the next step; nothing happens if it has ended or was not handed in yet."""
        ...

    def close(self) -> None:
        """Stop after the step under way, and wait for that. Harmless when it is over already."""
        ...

    def stats(self) -> EngineStats | None:
        """What the engine was doing STATS_SECONDS ago or later; None when that is not known yet."""
        ...

    def profile(self, steps: int, file: Path, done: Callable[[str | None], None]) -> None:
        """Record a trace of the next steps; `done` hears, in any thread, when the file is there or why it is not."""
        ...

    def end_profile(self) -> None:
        """No further steps are recorded; what there is is written."""
        ...

    @property
    def alive(self) -> bool:
        """Whether what is handed in will be answered, if perhaps not at once."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the engine runs now."""
        ...


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str


class _EndRecording:
    """Nobody waits for further steps of a trace."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    request: EngineRequest
    grammar: Future[Compiled]


class Worker:
    """Steps an engine while it has work and sleeps while it has none. See `EngineHost`."""

    def __init__(self, engine: Engine, facts: EngineFacts) -> None:
        self._engine = engine
        self._facts = facts
        self._inbox: SimpleQueue[EngineRequest | _Compiled | _Abort | Recording | _EndRecording | None] = SimpleQueue()
        self._compiling: set[str] = set()
        """Requests whose grammars are being compiled; the engine does not know them yet."""
        self._recording: Recording | None = None
        self._stats: EngineStats | None = None
        self._thread: threading.Thread | None = None

    def facts(self) -> EngineFacts:
        return self._facts

    def stats(self) -> EngineStats | None:
        return self._stats

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    ready = alive

    def start(self, loop: asyncio.AbstractEventLoop, *, emit: Emit, ended: Ended) -> None:
        def tell(outs: list[TokenOut]) -> None:
            if outs:
                loop.call_soon_threadsafe(emit, outs)

        def end(cause: BaseException | None) -> None:
            loop.call_soon_threadsafe(ended, cause)

        self._thread = threading.Thread(
            target=self.run, args=(tell, end, self._note), name="saccade-engine", daemon=True
        )
        self._thread.start()

    def submit(self, request: EngineRequest) -> None:
        if (grammar := request.sampling.grammar) is None:
            self._inbox.put(request)
            return
        self._compiling.add(request.id)
        compiled = self._engine.compile(grammar)
        compiled.add_done_callback(lambda done: self._inbox.put(_Compiled(request, done)))

    def abort(self, request_id: str) -> None:
        self._inbox.put(_Abort(request_id))

    def close(self) -> None:
        self._inbox.put(None)
        if self._thread is not None:
            self._thread.join()

    def profile(self, steps: int, file: Path, done: Callable[[str | None], None]) -> None:
        self._inbox.put(Recording(steps, file, done))

    def end_profile(self) -> None:
        self._inbox.put(_EndRecording())

    def run(self, emit: Emit, ended: Ended, note: Callable[[EngineStats], None], pulse: Pulse | None = None) -> None:
        """What the thread does: returns when all is over. The callbacks run in this thread; `emit` gets what each step
        brought, which may be nothing, `note` the stats from time to time, and `pulse` is told of each step."""
        cause: BaseException | None = None
        if pulse:
            self._engine.on_plan = pulse.expect
        try:
            note(self._engine.stats())
            noted = time.monotonic()
            while self._take_in(emit, pulse):
                if self._engine.has_work:
                    emit(self._step(pulse))
                if not self._engine.has_work or time.monotonic() - noted > STATS_SECONDS:
                    note(self._engine.stats())
                    noted = time.monotonic()
        except BaseException as error:
            cause = error
            logger.critical("The engine broke down.", exc_info=error)
        finally:
            ended(cause)

    def _step(self, pulse: Pulse | None) -> list[TokenOut]:
        if self._recording:
            self._recording.before_step()
        if pulse:
            pulse.begin()
        outs = self._engine.step()
        if pulse:
            pulse.end()
        if self._recording and self._recording.after_step():
            self._end_recording(pulse)
        return outs

    def _record(self, recording: Recording) -> None:
        if self._recording:
            recording.refuse()
        else:
            self._recording = recording

    def _end_recording(self, pulse: Pulse | None) -> None:
        """Write the trace, which may take longer than a step."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        if pulse:
            pulse.begin(EXPORT_SECONDS)
        recording.end()
        if pulse:
            pulse.end()

    def _note(self, stats: EngineStats) -> None:
        self._stats = stats

    def _take_in(self, emit: Emit, pulse: Pulse | None) -> bool:
        """Everything that has arrived, after waiting for it if there is nothing else to do; False at the end."""
        while not self._inbox.empty() or not self._engine.has_work:
            message = self._inbox.get()
            if message is None:
                return False
            if isinstance(message, Recording):
                self._record(message)
                continue
            if isinstance(message, _EndRecording):
                self._end_recording(pulse)
                continue
            if isinstance(message, _Abort):
                self._compiling.discard(message.request_id)
                self._engine.abort(message.request_id)
                continue
            request = message.request if isinstance(message, _Compiled) else message
            try:
                if isinstance(message, EngineRequest):
                    self._engine.submit(message)
                elif request.id in self._compiling:
                    self._compiling.discard(request.id)
                    self._engine.submit(request, message.grammar.result())
                else:
                    emit([TokenOut(request.id, None, finish_reason="abort")])
            except RequestError as error:
                emit([_refusal(request, error.message, error.param)])
            except Exception as error:
                logger.warning("A request could not be taken in: %s", error, exc_info=error)
                emit([_refusal(request, f"The engine failed at this request: {type(error).__name__}.")])
        return True


def _refusal(request: EngineRequest, why: str, param: str | None = None) -> TokenOut:
    return TokenOut(request.id, None, finish_reason="error", error=why, param=param)
