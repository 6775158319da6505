"""Who may wait: a request that finds the queue full is refused at once and told when to come back; knows no sockets.

A request waits from the moment it has been read until its first token. How many tokens its prompt will have is known
only when its pictures are decoded, so they are estimated: text by its bytes, pictures by those of recent requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import monotonic

from saccade.errors import QueueFullError
from saccade.types import MediaKind, Request, TextPart, Usage

MAX_WAITING = 1024
MAX_QUEUED_TOKENS = 1_000_000
BYTES_PER_TOKEN = 4
"""Of text in UTF-8."""
FIRST_GUESS: dict[MediaKind, float] = {"image": 1024.0, "video": 4096.0}
"""Tokens of a picture of a megapixel, and of a short video."""
MEMORY = 16
"""About so many requests the mean tokens of a picture remember."""
PACE_SECONDS = 30.0
"""How far back the pace is measured."""
MAX_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Load:
    """What a request will ask of the engine, at a guess."""

    tokens: int
    num_images: int
    num_videos: int

    def __add__(self, other: Load) -> Load:
        return Load(self.tokens + other.tokens, self.num_images + other.num_images, self.num_videos + other.num_videos)


NOTHING = Load(0, 0, 0)


class Admission:
    """The requests that wait, and how many more may. Belongs to one event loop."""

    def __init__(self, *, max_waiting: int, max_tokens: int, context: Callable[[], int]) -> None:
        """`context`: tokens, the most that one request can have; asked for each, since it is not known while the model
        is loaded."""
        self._max_waiting = max_waiting
        self._max_tokens = max_tokens
        self._context = context
        self._guess = dict(FIRST_GUESS)
        self._begun: deque[float] = deque(maxlen=1024)
        """When the last requests got their first token."""
        self._busy_since = 0.0
        self.waiting = 0
        """Requests without a first token."""
        self.tokens = 0
        """Of their prompts, as estimated."""

    def load(self, request: Request) -> Load:
        """What is known of a request before anything is done for it."""
        parts = [part for message in request.messages for part in message.parts]
        size = sum(len(part.text.encode(errors="replace")) for part in parts if isinstance(part, TextPart))
        kinds = [ref.kind for ref in request.media]
        tokens = ceil(size / BYTES_PER_TOKEN + sum(self._guess[kind] for kind in kinds))
        return Load(min(tokens, self._context()), kinds.count("image"), kinds.count("video"))

    def check(self) -> None:
        """QueueFullError when nobody else may wait; asked before a body is read."""
        if self.waiting >= self._max_waiting:
            raise self._full(f"{self._max_waiting} requests are waiting already (--max-waiting).")
        if self.tokens >= self._max_tokens:
            raise self._full_of_tokens()

    @contextmanager
    def place(self, load: Load) -> Iterator[None]:
        """A place in the queue until the first token is there; given back however that ends. Raises QueueFullError.

        A request that has more tokens than all may have together is let in when nobody waits: else it never would be.
        """
        self.check()
        if self.waiting and self.tokens + load.tokens > self._max_tokens:
            raise self._full_of_tokens()
        if not self.waiting:
            self._busy_since = monotonic()
        self.waiting += 1
        self.tokens += load.tokens
        try:
            yield
            self._begun.append(monotonic())
        finally:
            self.waiting -= 1
            self.tokens -= load.tokens

    def learn(self, load: Load, usage: Usage) -> None:
        """What the pictures of a request turned out to have."""
        if load.num_images:
            self._guess["image"] += (usage.image_tokens / load.num_images - self._guess["image"]) / MEMORY
        if load.num_videos:
            self._guess["video"] += (usage.video_tokens / load.num_videos - self._guess["video"]) / MEMORY

    def retry_seconds(self) -> int:
        """How long those who wait now will take, at the pace of the last half minute in which somebody waited; when
        nobody's turn came yet, as long again as they have waited."""
        now = monotonic()
        elapsed = min(PACE_SECONDS, now - self._busy_since)
        num_begun = sum(then >= now - elapsed for then in self._begun)
        seconds = self.waiting * elapsed / num_begun if num_begun else elapsed
        return min(max(1, ceil(seconds)), MAX_RETRY_SECONDS)

    def _full_of_tokens(self) -> QueueFullError:
        limit = f"{self._max_tokens} (--max-queued-tokens)"
        return self._full(f"The prompts that are waiting have as many tokens as they may: {limit}.")

    def _full(self, message: str) -> QueueFullError:
        seconds = self.retry_seconds()
        return QueueFullError(message, hint=f"Try again in {seconds} s.", retry_after=seconds)
