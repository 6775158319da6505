"""The engine in a thread of its own: requests and aborts come in from anywhere, lists of TokenOut go out through one
callback; knows no event loop and no text."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from saccade.engine.core import Engine
from saccade.engine.request import EngineRequest
from saccade.errors import RequestError
from saccade.types import TokenOut

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str


class Worker:
    """Steps an engine while it has work and sleeps while it has none. Both callbacks run in the worker's thread."""

    def __init__(
        self,
        engine: Engine,
        *,
        emit: Callable[[list[TokenOut]], None],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        """`emit` gets what each step brought; `ended` is called once, with the cause unless the end was asked for.
        Requests that are open then end without a word of their own."""
        self._engine = engine
        self._emit = emit
        self._ended = ended
        self._inbox: SimpleQueue[EngineRequest | _Abort | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="saccade-engine", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs: started, and neither closed nor broken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def submit(self, request: EngineRequest) -> None:
        """Hand a request in; one that the engine refuses ends with finish_reason "error"."""
        self._inbox.put(request)

    def abort(self, request_id: str) -> None:
        """End a request before the next step."""
        self._inbox.put(_Abort(request_id))

    def close(self) -> None:
        """Stop after the step under way, and wait for that. Harmless when it is over already."""
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        cause: BaseException | None = None
        try:
            while self._take_in():
                if self._engine.has_work:
                    self._emit(self._engine.step())
        except BaseException as error:
            cause = error
            logger.critical("The engine broke down.", exc_info=error)
        finally:
            self._ended(cause)

    def _take_in(self) -> bool:
        """Everything that has arrived, after waiting for it if there is nothing else to do; False at the end."""
        while not self._inbox.empty() or not self._engine.has_work:
            message = self._inbox.get()
            if message is None:
                return False
            if isinstance(message, _Abort):
                self._engine.abort(message.request_id)
                continue
            try:
                self._engine.submit(message)
            except RequestError as error:
                self._emit([TokenOut(message.id, None, finish_reason="error", error=error.message)])
        return True
