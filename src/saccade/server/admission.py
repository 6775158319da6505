"""Who may wait, and whose turn it is: a request that finds no room is refused at once and told when to come back; knows
no sockets.

    enter --> reading --> asked --> its turn? --> in the backend --> first token --> answering --> over
              '------------------- it waits: bounded -----------------'            counts for its key alone

What waits is bounded in requests, tokens, pixels and bytes. Only a few are in the backend without a first token; the
others wait here, in the fair order of their keys. How long one more would wait is told by the pace of first tokens.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from math import ceil
from time import monotonic
from typing import Literal

from saccade.errors import BusyError, QueueFullError
from saccade.server.fair import FairQueue
from saccade.server.keys import ANYONE, Key
from saccade.server.load import NOTHING, Estimates, Load
from saccade.server.rates import KeyRates

PACE_SECONDS = 5.0
"""How far back the pace is measured."""
MAX_RETRY_SECONDS = 60
LEAST_AHEAD, MOST_AHEAD = 8, 64
AHEAD_SECONDS = 0.5
"""So much work the backend has before first tokens, within these bounds: enough to fill its batches, and not more than
one who comes late and has a turn can wait for."""
FIRST_ROOM = 16
"""Requests that may wait before it is known how many can be in time."""
STEP = 0.1
BASE_COST = 64
"""Tokens that every request costs in the fair order, beside those of its prompt."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for a first token, and how long."""

    max_body_bytes: int = 64 * 2**20
    body_seconds: float = 10.0
    """For a body; more for a large one, see connection.LEAST_RATE."""
    max_waiting: int = 1024
    max_queued_tokens: int = 1_000_000
    max_queued_pixels: int = 4_000_000_000
    max_queued_bytes: int = 2**30
    queue_timeout: float = 300.0
    """Seconds that a request may wait for its first token."""
    target_ttft: float | None = None
    """Requests are refused while more would wait longer for it, in seconds."""


class Admission:
    """The requests that wait, and how many more may. Belongs to one event loop."""

    def __init__(
        self, limits: Limits, context: Callable[[], int], several_keys: Callable[[], bool] = lambda: False
    ) -> None:
        """`context`: tokens, the most that one request can have. `several_keys`: whether there are; no key may then
        have more than half of each."""
        self.limits = limits
        self._several_keys = several_keys
        self.estimates = Estimates(context)
        self._queue: FairQueue[Ticket] = FairQueue()
        self._rates: dict[str, KeyRates] = {}
        self._of_key: Counter[str] = Counter()
        """Requests without a first token."""
        self._begun: deque[float] = deque(maxlen=1024)
        """When the last requests got their first token."""
        self._busy_since = 0.0
        self._last_pace = 0.0
        self._inside = 0
        self._room = float(FIRST_ROOM)
        self._shrunk = 0.0
        self.waiting = 0
        """Requests without a first token."""
        self.tokens = 0
        """Of their prompts, as estimated."""
        self.pixels = 0
        self.bytes = 0
        """Of their bodies, as far as they were read."""

    def enter(self, key: Key = ANYONE, patience: float | None = None) -> Ticket:
        """A place for one more request. Raises QueueFullError or BusyError when there is none, or none with a first
        token within `patience` seconds, RateLimitError when its key has asked for enough."""
        limits, share = self.limits, self._share
        if self.waiting >= limits.max_waiting:
            raise self._full(f"{limits.max_waiting} requests are waiting already (--max-waiting).")
        if self._of_key[key.name] >= max(1, limits.max_waiting // share):
            raise self._full(f"{self._of_key[key.name]} requests of this key are waiting already.")
        if self.tokens >= limits.max_queued_tokens:
            raise self._full_of("tokens", limits.max_queued_tokens)
        if self.pixels >= limits.max_queued_pixels:
            raise self._full_of("pixels", limits.max_queued_pixels)
        if self.bytes >= limits.max_queued_bytes:
            raise self._full_of("bytes", limits.max_queued_bytes)
        self._check_wait(key, patience)
        rates = self._rates.get(key.name)
        if rates is None or rates.limits != key.limits:  # their file has changed
            rates = self._rates[key.name] = KeyRates(key.limits, monotonic())
        rates.enter(monotonic())
        if not self.waiting:
            self._busy_since = monotonic()
        self.waiting += 1
        self._of_key[key.name] += 1
        return Ticket(self, key, rates)

    def retry_seconds(self) -> int:
        """How long those who wait now will take, at the present pace; when nobody's turn came yet, as long again as
        they have waited."""
        pace = self._pace()
        seconds = self.waiting / pace if pace else min(monotonic() - self._busy_since, PACE_SECONDS)
        return min(max(1, ceil(seconds)), MAX_RETRY_SECONDS)

    def expected_wait(self, key: Key) -> float:
        """Seconds until the first token of one more request of `key`, at a guess; 0 when nobody waits, or nothing is
        known."""
        pace = self._pace()
        reading = self.waiting - self._inside - len(self._queue)
        return (self._inside + reading + self._queue.ahead(key.name) + 1) / pace if pace and self.waiting else 0.0

    # --- for tickets ------------------------------------------------------------------------------------------------

    def take(self, ticket: Ticket) -> None:
        """It stands in line, and goes in as soon as it may."""
        if self._inside < self._max_inside() and not self._queue:
            self._go_in(ticket)
        else:
            cost = BASE_COST + ticket.load.tokens
            ticket.number = self._queue.push(ticket.key.name, cost, ticket)

    def leave(self, ticket: Ticket, *, begun: bool) -> None:
        """It does not wait any more."""
        if begun:
            now = monotonic()
            self._begun.append(now)
            self._adapt(ticket.asked, now)
        if ticket.phase == "inside":
            self._inside -= 1
        elif ticket.number is not None:
            self._queue.drop(ticket.number, ticket.key.name)
        self.waiting -= 1
        self._of_key[ticket.key.name] -= 1
        if not self._of_key[ticket.key.name]:
            del self._of_key[ticket.key.name]
        self.tokens -= ticket.load.tokens
        self.pixels -= ticket.load.pixels
        self.bytes -= ticket.bytes
        if not self.waiting:
            self._last_pace = self._pace()
        while self._queue and self._inside < self._max_inside():
            self._go_in(self._queue.pop())

    def add_bytes(self, ticket: Ticket, num: int) -> None:
        limit = self.limits.max_queued_bytes
        if self.bytes + num > limit and self.waiting > 1:
            raise self._full_of("bytes", limit)
        self.bytes += num
        ticket.bytes += num

    def add_load(self, ticket: Ticket, load: Load) -> None:
        """Raises QueueFullError. What has more than all may have together is let in when nobody waits: else it never
        would be."""
        limits, share = self.limits, self._share
        if self.waiting > 1:
            if self.tokens + load.tokens > limits.max_queued_tokens // share:
                raise self._full_of("tokens", limits.max_queued_tokens)
            if self.pixels + load.pixels > limits.max_queued_pixels // share:
                raise self._full_of("pixels", limits.max_queued_pixels)
        self.tokens += load.tokens
        self.pixels += load.pixels
        ticket.load = load

    def _go_in(self, ticket: Ticket) -> None:
        self._inside += 1
        ticket.phase, ticket.number = "inside", None
        if not ticket.turn.done():
            ticket.turn.set_result(None)

    @property
    def _share(self) -> int:
        return 2 if self._several_keys() else 1

    def _max_inside(self) -> int:
        return min(max(LEAST_AHEAD, int(self._pace() * AHEAD_SECONDS)), MOST_AHEAD)

    def _pace(self) -> float:
        """First tokens in a second, while somebody waits; that of the last time when too few are known; 0: unknown."""
        now = monotonic()
        elapsed = min(PACE_SECONDS, now - self._busy_since)
        num = sum(1 for _ in takewhile(lambda then: then >= now - elapsed, reversed(self._begun)))
        return num / elapsed if num >= 4 and elapsed > 0 and self.waiting else self._last_pace

    def _check_wait(self, key: Key, patience: float | None) -> None:
        """BusyError when its first token would come too late. With a target, so many may wait as `_adapt` found out; a
        key of which nobody waits is let in all the same, so that others cannot keep it out."""
        limits = self.limits
        seconds = self.expected_wait(key)
        is_first = self._several_keys() and not self._of_key[key.name]
        if limits.target_ttft and self.waiting >= int(self._room) and not is_first:
            why = f"More would not have a first token within {limits.target_ttft:g} s (--target-ttft)."
        elif seconds > limits.queue_timeout:
            why = f"The first token would not come within {limits.queue_timeout:g} s (--queue-timeout)."
        elif patience is not None and seconds > patience:
            why = f"The first token would not come within {patience:g} s (X-Request-Timeout)."
        else:
            return
        retry = min(max(1, ceil(seconds)), MAX_RETRY_SECONDS)
        raise BusyError(why, code="overloaded", hint=f"Try again in {retry} s.", retry_after=retry)

    def _adapt(self, asked: float, now: float) -> None:
        """How many may wait so that about one in twenty waits longer than the target: a little more for each that was
        in time while there was a crowd, but no more than have their turn in that time at the present pace (who is let
        in now is known to be late a whole target later), less when one was late; once for those who waited together."""
        target = self.limits.target_ttft
        if target and now - asked > target:
            if asked > self._shrunk:
                self._shrunk = now
                self._room = max(1.0, self._room * (1 - STEP))
        elif target and self.waiting >= self._room / 2:
            most = min(max(FIRST_ROOM, target * self._pace()), self.limits.max_waiting)
            self._room = min(self._room * (1 + STEP / 20), float(most))

    def _full_of(self, what: Literal["tokens", "pixels", "bytes"], limit: int) -> QueueFullError:
        return self._full(f"What is waiting has as many {what} as it may: {limit} (--max-queued-{what}).")

    def _full(self, message: str) -> QueueFullError:
        seconds = self.retry_seconds()
        return QueueFullError(message, hint=f"Try again in {seconds} s.", retry_after=seconds)


class Ticket:
    """One request, from its arrival to the end of its answer."""

    def __init__(self, admission: Admission, key: Key, rates: KeyRates) -> None:
        self._admission = admission
        self._rates = rates
        self.key = key
        self.phase: Literal["waiting", "inside", "answering", "over"] = "waiting"
        self.load = NOTHING
        self.asked = 0.0
        """When it had been read."""
        self.bytes = 0
        self.number: int | None = None
        """In the queue."""
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def read(self, num_bytes: int) -> None:
        """So much more of its body came. Raises QueueFullError."""
        self._admission.add_bytes(self, num_bytes)

    async def wait(self, load: Load) -> None:
        """Until it is its turn. Raises QueueFullError or RateLimitError at once."""
        self.asked = monotonic()
        self._admission.add_load(self, load)
        self._rates.ask(load.tokens, monotonic())
        self._admission.take(self)
        await self.turn

    def begun(self) -> None:
        """Its first token is there."""
        if self.phase == "inside":
            self._admission.leave(self, begun=True)
            self.phase = "answering"

    def close(self) -> None:
        """Its answer is complete, or will never be. Twice is harmless."""
        if self.phase in ("waiting", "inside"):
            self._admission.leave(self, begun=False)
        if self.phase != "over":
            self.phase = "over"
            self._rates.leave()

    def used(self, tokens: int) -> None:
        """How many tokens it had in all, prompt and answer."""
        self._rates.correct(tokens - self.load.tokens)

    def headers(self) -> dict[str, str]:
        """What is left of its key's limits."""
        return self._rates.headers(monotonic())
