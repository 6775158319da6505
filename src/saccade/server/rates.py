"""How much each key has asked for lately, against its limits; the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from saccade.errors import RateLimitError
from saccade.server.keys import KeyLimits


@dataclass(slots=True)
class Bucket:
    """So much each minute: a bucket that holds a minute's worth, fills evenly, and is full at the beginning."""

    per_minute: int
    now: float
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = float(self.per_minute)

    def missing(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; 0: now. What is more than a minute's worth waits for a full bucket."""
        self.level = min(self.per_minute, self.level + (now - self.now) * self.per_minute / 60)
        self.now = now
        return max(0.0, (min(amount, self.per_minute) - self.level) * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        """Take it, there or not: what is owed is waited for by those who come later. Less than nothing is put back."""
        self.level = min(self.per_minute, self.level - amount)


class KeyRates:
    """What one key has asked for."""

    def __init__(self, limits: KeyLimits, now: float) -> None:
        self.limits = limits
        self.open = 0
        """Requests whose answers are not complete."""
        rpm, tpm = limits.requests_per_minute, limits.tokens_per_minute
        self._requests = Bucket(rpm, now) if rpm else None
        self._tokens = Bucket(tpm, now) if tpm else None

    def enter(self, now: float) -> None:
        """One more request. Raises RateLimitError, and then it does not count."""
        limits = self.limits
        if limits.concurrent and self.open >= limits.concurrent:
            raise _exceeded("concurrent", limits.concurrent, 1.0)
        if self._requests and (seconds := self._requests.missing(1, now)):
            raise _exceeded("requests_per_minute", limits.requests_per_minute, seconds)
        if self._tokens and (seconds := self._tokens.missing(1, now)):
            raise _exceeded("tokens_per_minute", limits.tokens_per_minute, seconds)
        if self._requests:
            self._requests.take(1)
        self.open += 1

    def leave(self) -> None:
        """The answer to one of them is complete, or will never be."""
        self.open -= 1

    def ask(self, tokens: int, now: float) -> None:
        """A prompt of so many tokens, at a guess. Raises RateLimitError."""
        if self._tokens:
            if seconds := self._tokens.missing(tokens, now):
                raise _exceeded("tokens_per_minute", self.limits.tokens_per_minute, seconds)
            self._tokens.take(tokens)

    def correct(self, tokens: int) -> None:
        """How many more (or fewer) it was than guessed, the answer included."""
        if self._tokens:
            self._tokens.take(tokens)

    def headers(self, now: float) -> dict[str, str]:
        """What is left, under OpenAI's names; only of limits that there are."""
        told = {}
        for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket:
                seconds = bucket.missing(bucket.per_minute, now)
                told[f"x-ratelimit-limit-{name}"] = str(bucket.per_minute)
                told[f"x-ratelimit-remaining-{name}"] = str(max(0, int(bucket.level)))
                told[f"x-ratelimit-reset-{name}"] = f"{seconds:.3f}s"
        return told


def _exceeded(name: str, limit: int | None, seconds: float) -> RateLimitError:
    retry = max(1, ceil(seconds))
    return RateLimitError(f"This key's {name} is {limit}.", hint=f"Try again in {retry} s.", retry_after=retry)
