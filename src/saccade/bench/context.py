"""What a workload works with: a client, fresh pictures and words, and the place where every reply is kept."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from saccade.bench.client import Client, Question, Reply
from saccade.bench.pictures import Pictures
from saccade.bench.plan import Plan

Messages = list[dict[str, Any]]

_WORDS = """
a about above after again air all always and animal answer back before begin between book both bring build bus
but by call came car carry change city clear close cold come cut day did do door down draw each earth eat end
even every eye face fall far farm fast feet few find fire first fish five fly follow food for form found four
from full gave get girl give go gold good got grand great green ground grow half hand hard has have head hear
heat help here high hold home hot hour house how idea if in it just keep kind king know land large last late
laugh lead learn
""".split()  # noqa: SIM905 - a list would fill the screen


class Context:
    """One workload's view of the run. `seed` decides pictures and words; `advance` hears of each reply."""

    def __init__(
        self, client: Client, plan: Plan, *, seed: int, context: int | None, advance: Callable[[], None]
    ) -> None:
        self.plan = plan
        self.pictures = Pictures(seed)
        self.random = random.Random(seed)
        self.context = context
        """Tokens of prompt and answer together, where the server tells."""
        self.replies: list[Reply] = []
        self.asked = 0
        """Requests sent, the forgotten ones too."""
        self.notes: list[str] = []
        """What was left out, and why."""
        self._client = client
        self._advance = advance

    def photo(self, side: int | None = None) -> str:
        """A picture that was not there before."""
        return self.pictures.photo(side or self.plan.side, side or self.plan.side)

    def question(self, label: str, pictures: Iterable[str], words: int, tokens: int, *, before: int = 0) -> Question:
        """`before` random words, pictures, and then `words` more, to be answered with `tokens` tokens."""
        return self._client.question(label, [self.turn(pictures, words, before=before)], tokens)

    def conversation(self, label: str, messages: Messages, tokens: int) -> Question:
        return self._client.question(label, messages, tokens)

    def turn(self, pictures: Iterable[str], words: int, *, before: int = 0) -> dict[str, Any]:
        """One message of the user."""
        first = [self._text(before)] if before else []
        shown = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
        return {"role": "user", "content": [*first, *shown, self._text(words)]}

    def _text(self, words: int) -> dict[str, Any]:
        return {"type": "text", "text": " ".join(self.random.choices(_WORDS, k=words))}

    async def ask(self, question: Question) -> Reply:
        """The reply, kept for the report."""
        self.asked += 1
        reply = await self._client.ask(question)
        self.replies.append(reply)
        self._advance()
        return reply

    async def each(self, questions: Iterable[Question]) -> list[Reply]:
        """One after another."""
        return [await self.ask(question) for question in questions]

    async def warm(self, *questions: Question) -> None:
        """Asked and forgotten; what fails here fails again where it is counted."""
        for question in questions:
            self.asked += 1
            await self._client.ask(question)


def good(replies: Iterable[Reply]) -> list[Reply]:
    """Those that may be counted."""
    return [reply for reply in replies if reply.error is None]


def now() -> float:
    return time.perf_counter()
