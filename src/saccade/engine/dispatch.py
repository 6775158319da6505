"""Which requests are open, where each of them is, and what becomes of them when the engine process dies; knows the
process only as somebody to send to.

    submit --> in the queue --> on its way: pixels into the arena --> sent --> begun --> ended
                     ^                                                 |
                     `---------------- the process died, once ---------'

When a process dies, requests that have given a token end with an error. The others are kept and go to the next process,
which gets those that were in the dead one first and one by one: if it dies again, whose fault it was is known, and that
request is not tried a third time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from saccade.engine.arena import Arena, Segments, aligned
from saccade.engine.request import EngineRequest
from saccade.engine.wire import pack_request
from saccade.errors import MediaError
from saccade.types import FinishReason, TokenOut

MAX_LOSSES = 2
"""Processes that may die with a request before it is given up."""
BROKEN = "The engine broke down while it answered this request."
POISON = "The engine broke down twice at this request, which is not tried again."


@dataclass(slots=True, eq=False)
class _Open:
    """A request that has not ended. It is in the queue, or on its way into a process, or sent."""

    id: str
    data: bytes
    """Without its pixels; empty once it has begun."""
    pixels: list[memoryview]
    """Until they are in the arena, those that are not there from the beginning."""
    shelved: list[memoryview]
    """Those that are, held until it ends."""
    places: list[tuple[int, int]]
    """(offset, length) of all its pixels in the arena, in order; offset -1: not there yet."""
    taken: list[int] = field(default_factory=list)
    """Offsets that are its own, and are given back."""
    sent: bool = False
    """Whether a process has it now."""
    begun: bool = False
    """Whether it has given a token."""
    aborted: bool = False
    losses: int = 0
    """Processes that died with it."""


class Dispatch:
    """Requests on their way to an engine process. Used by several threads, none of which waits long."""

    def __init__(
        self, arena: Arena, size: int, emit: Callable[[list[TokenOut]], None], wake: Callable[[], None]
    ) -> None:
        """`size`: bytes of the arena for pixels that come with requests. `emit` gets ends that the process says nothing
        of; `wake` is called when `hand_on_waiting` may have something to do. Both return at once."""
        self._arena = arena
        self._segments = Segments(size)
        self._emit = emit
        self._wake = wake
        self._lock = threading.Lock()
        """Held for everything below, and never while something is waited for."""
        self._send: Callable[[object], None] | None = None
        """Says something to the process that serves."""
        self._open: dict[str, _Open] = {}
        self._queue: deque[_Open] = deque()
        """Those that a process died with come first, then those that wait, in the order they came."""
        self._trial: _Open | None = None
        """One that a process died with, while another has it and it has not begun: nothing else is sent then."""
        self.num_sent = 0
        """Open requests that the process has."""
        self.num_begun = 0
        """Requests that have given a token, since the start."""

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return len(self._open)

    @property
    def bytes_used(self) -> int:
        """Of the arena."""
        return self._segments.used

    def submit(self, request: EngineRequest) -> None:
        """Take a request, and pass it on at once if that is possible. Raises MediaError for one that never will be."""
        data, parts = pack_request(request)
        places = [(-1 if (offset := self._arena.find(part)) is None else offset, len(part)) for part in parts]
        pixels = [part for part, (offset, _) in zip(parts, places, strict=True) if offset < 0]
        shelved = [part for part, (offset, _) in zip(parts, places, strict=True) if offset >= 0]
        opened = _Open(request.id, data, pixels, shelved, places)
        size = sum(aligned(len(part)) for part in pixels)
        if size > self._segments.size:
            raise MediaError(
                f"The pictures of this request have {size:,} bytes after the resize; "
                f"at most {self._segments.size:,} fit between gateway and engine.",
                param="messages",
                hint="Send fewer or smaller ones.",
            )
        with self._lock:
            self._open[opened.id] = opened
            at_once = self._send is not None and not self._queue and self._trial is None and self._take_room(opened)
            if not at_once:
                self._queue.append(opened)
        if at_once:
            self._hand_on(opened)
        else:
            self._wake()

    def abort(self, request_id: str) -> None:
        """End a request wherever it is; unknown ones have ended."""
        with self._lock:
            opened = self._open.get(request_id)
            if opened is None:
                return
            opened.aborted = True
            if opened.sent and self._send:
                self._send(request_id)
            elif opened in self._queue:
                self._queue.remove(opened)
                self._end(opened, "abort")

    def connect(self, send: Callable[[object], None] | None) -> None:
        """From now on there is a process that serves, or none."""
        with self._lock:
            self._send = send

    def hand_on_waiting(self) -> None:
        """Pass on what can be. Those whose pixels find no room wait in order, those without pixels pass them."""
        while True:
            with self._lock:
                opened = self._next()
            if opened is None:
                return
            self._hand_on(opened)

    def note(self, outs: list[TokenOut]) -> None:
        """What the process said: requests have given their first token, or ended."""
        begun = [out.request_id for out in outs if out.times]
        ended = [out.request_id for out in outs if out.finish_reason]
        if not begun and not ended:
            return
        with self._lock:
            self.num_begun += len(begun)
            for id in begun:
                opened = self._open[id]
                opened.begun, opened.data = True, b""
                self._acquit(opened)
            for id in ended:
                self.num_sent -= 1
                self._forget(self._open[id])
            is_waiting = bool(self._queue)
        if is_waiting:
            self._wake()

    def bury(self) -> None:
        """The process is dead: tell those who have heard something of it, and keep the others for the next one."""
        again = []
        with self._lock:
            for opened in [opened for opened in self._open.values() if opened.sent]:
                opened.sent = False
                opened.losses += 1
                if opened.aborted:
                    self._end(opened, "abort")
                elif opened.begun or opened.losses == MAX_LOSSES:
                    self._end(opened, "error", BROKEN if opened.begun else POISON)
                else:
                    again.append(opened)
            self._queue.extendleft(reversed(again))
            self._trial = None
            self.num_sent = 0

    def _take_room(self, opened: _Open) -> bool:
        """Whether there is room in the arena for its pixels, which is then its own."""
        if opened.pixels:
            offsets = self._segments.take(map(len, opened.pixels))
            if offsets is None:
                return False
            opened.taken, own = offsets, iter(offsets)
            opened.places = [(next(own) if offset < 0 else offset, length) for offset, length in opened.places]
        return True

    def _hand_on(self, opened: _Open) -> None:
        """A request that is neither in the queue nor in a process, and has its room, goes to the process. The lock is
        not held, since pixels are copied."""
        for offset, part in zip(opened.taken, opened.pixels, strict=False):
            np.copyto(np.frombuffer(self._arena.view(offset, len(part)), np.uint8), np.frombuffer(part, np.uint8))
        opened.pixels = []
        with self._lock:
            if opened.aborted:
                self._end(opened, "abort")
            elif self._send is None or self._trial not in (None, opened):  # the process has died meanwhile
                self._acquit(opened)
                self._queue.insert(0 if opened.losses else len(self._queue), opened)
            else:
                opened.sent = True
                self.num_sent += 1
                self._send((opened.data, opened.places))

    def _next(self) -> _Open | None:
        """The next of the queue that can go."""
        if self._send is None or self._trial is not None:
            return None
        is_full = False
        for opened in self._queue:
            if opened.pixels and (is_full or not self._take_room(opened)):
                is_full = True
                continue
            self._queue.remove(opened)
            if opened.losses:
                self._trial = opened
            return opened
        return None

    def _end(self, opened: _Open, reason: FinishReason, error: str | None = None) -> None:
        """It ends without a word of the process."""
        self._forget(opened)
        self._emit([TokenOut(opened.id, None, finish_reason=reason, error=error)])

    def _forget(self, opened: _Open) -> None:
        del self._open[opened.id]
        self._segments.give(opened.taken)
        self._acquit(opened)

    def _acquit(self, opened: _Open) -> None:
        if self._trial is opened:
            self._trial = None
