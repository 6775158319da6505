"""Who listens to which request of the engine. Requests whose answers cannot but be equal are one to the engine while
they are in flight at the same time: the later ones get the tokens that are there at once, and the rest as they come.

    listen ... submit: it goes to the engine, or joins an equal one
    deliver: tokens come, for all who listen --> Listener.next
    leave: the engine ends its work when the last one has left

Knows tokens; words, stop strings, calls and times are each listener's own.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import TypeAlias

from saccade.engine.request import EngineRequest
from saccade.engine.worker import EngineHost
from saccade.errors import EngineError, RequestError
from saccade.types import CacheHits, Picture, Prompt, StageTimes, TokenOut, VisionLevel

Outcome: TypeAlias = tuple[object, ...]
"""All that an answer depends on, to be looked up by."""
MAX_BEHIND = 1024
"""Tokens that are kept for a client that does not read."""
MAX_KEPT = 4096
"""Tokens of an answer, and alternatives to them, that are kept for those who may join it; with more, nobody does."""


class Listener:
    """One who waits for an answer. Belongs to the event loop that it was made in."""

    def __init__(self, id: str) -> None:
        self.id = id
        """What the engine calls the request, unless it joins another."""
        self.has_left = False
        self.generation: _Generation | None = None
        """Where its tokens come from."""
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[TokenOut | Exception] = asyncio.Queue()
        self._past: Iterator[TokenOut] = iter(())
        """What was there when it joined; not counted as being behind."""
        self._joined: StageTimes | None = None

    def is_needed(self) -> bool:
        """Whether somebody still waits; may be asked in any thread."""
        return not self.has_left

    async def next(self) -> TokenOut:
        """What the engine says next. Raises EngineError when that is a failure, RequestError when the request is at
        fault."""
        if out := next(self._past, None):
            await asyncio.sleep(0)  # there may be thousands, and others wait for their turn
        else:
            told = await self._queue.get()
            if isinstance(told, Exception):
                raise told
            out = told
        if out.error and out.param:
            raise RequestError(out.error, param=out.param)
        if out.finish_reason == "error":
            raise EngineError(out.error or "The engine failed.")
        if out.times and self._joined:
            return replace(out, times=self._joined, cached_tokens=self._joined.cache.prefix_tokens)
        return out

    def join(self, request: EngineRequest, past: Iterable[TokenOut]) -> None:
        """Its answer is that of another request, `past` and what is put from now on. Nothing was computed for it, and
        it waited in no queue."""
        vision: VisionLevel | None = "prefix" if request.pictures else None
        hits = CacheHits(vision=vision, prefix_tokens=len(request.prompt.ids), shared=True)
        self._past, self._joined = iter(past), StageTimes(cache=hits)

    def put(self, told: TokenOut) -> bool:
        """False when it is too far behind, which is the last that it hears."""
        if self._queue.qsize() < MAX_BEHIND:
            self._queue.put_nowait(told)
            return True
        self.fail(EngineError(f"The client is more than {MAX_BEHIND} tokens behind."))
        return False

    def fail(self, error: Exception) -> None:
        """Its answer ends with an error."""
        self._queue.put_nowait(error)

    def fail_soon(self, error: Exception) -> None:
        """The same, from any thread."""
        self._loop.call_soon_threadsafe(self.fail, error)


@dataclass(slots=True, eq=False)
class _Generation:
    """A request that the engine has, or is about to."""

    id: str
    outcome: Outcome | None
    """None: nobody may join."""
    listeners: set[Listener]
    kept: list[TokenOut] = field(default_factory=list)
    """All of its tokens, while somebody may join."""
    size: int = 0
    """What they count towards MAX_KEPT."""
    is_handed_in: bool = False


class Answers:
    """All answers under way. `submit` may be called in any thread, all else in the event loop's."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host
        self._numbers = itertools.count()
        self._listeners: set[Listener] = set()
        self._lock = threading.Lock()
        """For everything below, and who has left; never held while something is waited for."""
        self._generations: dict[str, _Generation] = {}
        self._open: dict[Outcome, _Generation] = {}
        """Those that may be joined."""

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def listen(self) -> Listener:
        """Somebody begins to wait for an answer, and will `leave`."""
        listener = Listener(str(next(self._numbers)))
        self._listeners.add(listener)
        return listener

    def submit(self, listener: Listener, request: EngineRequest) -> None:
        """Get the answer to `request`, whose id is the listener's; does nothing if that has left. Raises as
        `EngineHost.submit` does, and takes as long."""
        is_certain = request.sampling.is_greedy or request.sampling.seed is not None
        outcome = outcome_of(request) if is_certain else None
        with self._lock:
            if listener.has_left:
                return
            if outcome and (generation := self._open.get(outcome)):
                listener.join(request, itertools.islice(generation.kept, len(generation.kept)))
                generation.listeners.add(listener)
                listener.generation = generation
                return
            generation = _Generation(request.id, outcome, {listener})
            self._generations[request.id] = listener.generation = generation
            if outcome:
                self._open[outcome] = generation
        try:
            self._host.submit(request)
        except Exception as error:
            with self._lock:
                self._forget(generation)
                others = generation.listeners - {listener}
            for other in others:
                other.fail_soon(error)
            raise
        with self._lock:
            generation.is_handed_in = True
            is_left = not generation.listeners
        if is_left:
            self._host.abort(generation.id)

    def leave(self, listener: Listener) -> None:
        """Nobody waits for it any more. Harmless when that is known."""
        self._listeners.discard(listener)
        with self._lock:
            listener.has_left = True
            generation, listener.generation = listener.generation, None
            if generation is None:
                return
            generation.listeners.discard(listener)
            is_left = not generation.listeners and generation.id in self._generations
            if is_left:
                self._forget(generation)
        if is_left and generation.is_handed_in:  # otherwise whoever hands it in sees to it
            self._host.abort(generation.id)

    def deliver(self, outs: Iterable[TokenOut]) -> None:
        """What a step of the engine brought."""
        behind: list[Listener] = []
        with self._lock:
            for out in outs:
                if (generation := self._generations.get(out.request_id)) is None:
                    continue
                if out.finish_reason:
                    self._forget(generation)
                elif generation.outcome:
                    self._keep(generation, out)
                behind += [listener for listener in generation.listeners if not listener.put(out)]
        for listener in behind:  # Its reader's connection is full: what is kept for one is bounded.
            self.leave(listener)

    def end(self, why: str) -> None:
        """Nobody hears more than `why`."""
        for listener in self._listeners:
            listener.fail(EngineError(why))

    def _keep(self, generation: _Generation, out: TokenOut) -> None:
        generation.size += 1 + len(out.top_logprobs)
        if generation.size > MAX_KEPT:
            self._close(generation)
        else:
            generation.kept.append(out)

    def _close(self, generation: _Generation) -> None:
        """Nobody joins it any more. Those who did may still have to read what was kept."""
        if generation.outcome:
            del self._open[generation.outcome]
        generation.outcome, generation.kept = None, []

    def _forget(self, generation: _Generation) -> None:
        """It has ended, or nobody listens."""
        self._close(generation)
        self._generations.pop(generation.id, None)


def outcome_of(request: EngineRequest) -> Outcome:
    """Every field of a request but those that are named here. Of the ids a digest, since this lives as long as the
    answer and is compared with a lock held."""
    sampling = replace(request.sampling, stop=(), repetition_guard=None)  # these are looked for by each listener
    if sampling.is_greedy:
        sampling = replace(sampling, seed=None)
    return (
        _but(request, "id", "prompt", "pictures", "sampling"),
        sampling,
        _but(request.prompt, "ids", "positions"),  # positions follow from spans and grids
        blake2b(array("q", request.prompt.ids).tobytes(), digest_size=32).digest(),
        tuple(_but(picture, "pixels") for picture in request.pictures),  # which the key stands for
    )


def _but(thing: EngineRequest | Prompt | Picture, *names: str) -> tuple[object, ...]:
    """The values of all fields except those with these names."""
    return tuple(getattr(thing, field.name) for field in fields(thing) if field.name not in names)
