"""What a backend promises: a Request comes in, Deltas go out; and Echo, its smallest honest implementation, which knows
no model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from saccade.errors import ContextLengthError, EngineError, MediaError, RequestError
from saccade.text.parsers import AnswerParser
from saccade.types import (
    Delta,
    EngineStats,
    FinishReason,
    KeptMedia,
    LoadProgress,
    MediaRef,
    MediaStats,
    ModelCard,
    Request,
    StageTimes,
    TextLogprob,
    TextPart,
    Usage,
)


class Backend(Protocol):
    """Answers chat requests. All methods are called from one event loop; none of them blocks it."""

    async def start(self) -> None:
        """Take what is needed to answer (threads, connections); returns when the first request may come."""
        ...

    def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """The answer to one request, piece by piece.

        - The concatenated `text` of all deltas is the answer, `reasoning` what the model thought before, `tool_calls`
          the functions it calls, which are looked for only if the request has tools; a piece never ends inside a
          character, and no piece holds any part of a stop string.
        - The last delta, and only it, carries `finish_reason` ("stop", "length" or "tool_calls"), `usage` and `times`.
        - Closing the generator (`aclose`, or cancelling the task that reads it) ends the work within one step.
        - Raises RequestError (MediaError, ContextLengthError ...) before the first delta when the request cannot be
          answered, EngineError at any time when we failed.
        """
        ...

    async def tokenize(self, asked: Request | str) -> tuple[int, ...]:
        """The ids of a request's whole prompt, one for each token of its pictures, or of a text as it is; of any
        length. Raises RequestError or EngineError as `generate` does."""
        ...

    async def keep(self, media: MediaRef, salt: bytes) -> KeptMedia:
        """Take a file in, so that requests of the same `salt` can name it by its id until it is pushed out by later
        ones. Its kind is what it is, not what `media` says. It is decoded now, and its features are computed when
        nobody waits for a first token. Raises MediaError."""
        ...

    async def page(self, digest: str, number: int, salt: bytes) -> bytes:
        """A page, from 1, of a PDF file that is kept, as a PNG file. Raises MediaError, also for one that is not
        there."""
        ...

    def keeps(self, digest: str, salt: bytes) -> bool:
        """Whether such a file is still there; it counts as used."""
        ...

    def card(self) -> ModelCard:
        """What is served; known as soon as the backend exists."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a request that comes now would be answered at once: started, alive, not closing and not being
        mended. One that comes while the backend is alive and not ready waits."""
        ...

    def alive(self) -> bool:
        """Whether the backend can still answer; once False it stays so and the process should be restarted."""
        ...

    def stats(self) -> EngineStats | None:
        """What the engine behind it says of itself; None when there is nothing to say, or not yet."""
        ...

    def media_stats(self) -> MediaStats | None:
        """What became of files; None when there is nothing to say, or not yet."""
        ...

    async def profile(self, steps: int, file: Path) -> None:
        """Record a trace of the next steps of the engine. Raises RequestError when there is no engine or one is being
        recorded, BusyError when no steps come, EngineError when it cannot be written."""
        ...

    def progress(self) -> LoadProgress | None:
        """How far the model is loaded, while a request would be refused for that reason; else None."""
        ...

    async def close(self) -> None:
        """End all running requests with EngineError and give everything back; calling it twice is harmless."""
        ...


class Echo:
    """Answers with the text of the last message: one token for each character, pictures count as nothing.

    Sampling cannot change its mind, since every token is certain (logprob 0). `min_tokens` and `ignore_eos` make it
    say the text again. Where the request has tools, calls in that text are calls. `delay` are seconds before each
    token.
    """

    def __init__(self, *, name: str = "echo", context: int = 8192, delay: float = 0.0) -> None:
        self._card = ModelCard(name, context, {"model": "echo"})
        self._delay = delay
        self._started = False
        self._closed = False
        self._kept: set[tuple[str, bytes]] = set()
        self.running = 0
        """Requests being answered now."""

    async def start(self) -> None:
        self._started = True

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        prompt = len(await self.tokenize(request))
        text, reason, stop = self._answer(request, prompt)
        clock = asyncio.get_running_loop().time
        start = first = clock()
        wanted = request.sampling.logprobs
        parser = AnswerParser(thinking=False, tools=bool(request.tools), parallel=request.tool_choice.parallel)
        self.running += 1
        try:
            for number, char in enumerate(text):
                await asyncio.sleep(self._delay)
                if self._closed:
                    raise EngineError("The backend was closed.")
                if number == 0:
                    first = clock()
                certain = (char, char.encode(), 0.0)
                entry = TextLogprob(*certain, top=(certain,) if wanted else ())
                told = parser.push(char)
                yield Delta(told.text, (ord(char),), () if wanted is None else (entry,), tool_calls=told.calls)
            rest = parser.finish()
            if reason == "stop" and parser.num_calls:
                reason = "tool_calls"
            usage = Usage(prompt, len(text))
            times = StageTimes(first_token=(first - start) * 1e3, decode=(clock() - first) * 1e3)
            last = Delta(rest.text, finish_reason=reason, usage=usage, times=times, stop=stop)
            yield replace(last, tool_calls=rest.calls)
        finally:
            self.running -= 1

    async def tokenize(self, asked: Request | str) -> tuple[int, ...]:
        if not self.ready:
            raise EngineError("The backend is not running.")
        parts = [TextPart(asked)] if isinstance(asked, str) else [p for m in asked.messages for p in m.parts]
        return tuple(ord(char) for part in parts if isinstance(part, TextPart) for char in part.text)

    async def keep(self, media: MediaRef, salt: bytes) -> KeptMedia:
        if media.data is None:
            raise MediaError("Only the bytes of a file can be kept here.", param=media.param)
        digest = sha256(media.data).hexdigest()
        self._kept.add((digest, salt))
        return KeptMedia(digest, media.kind, len(media.data), (0, 0), 0)

    async def page(self, digest: str, number: int, salt: bytes) -> bytes:
        raise MediaError("No PDF files are kept here.", param="digest")

    def keeps(self, digest: str, salt: bytes) -> bool:
        return (digest, salt) in self._kept

    def _answer(self, request: Request, prompt: int) -> tuple[str, FinishReason, str | None]:
        """The whole answer, why it ends there, and the stop string that ended it."""
        sampling = request.sampling
        room = self._card.context - prompt
        limit = room if sampling.max_tokens is None else sampling.max_tokens
        if room < 1 or limit > room:
            raise ContextLengthError(
                f"The prompt of {prompt} tokens and max_tokens = {limit} exceed the context of "
                f"{self._card.context} tokens.",
                param="messages" if room < 1 else "max_tokens",
            )
        said = "".join(p.text for m in request.messages[-1:] for p in m.parts if isinstance(p, TextPart))
        wanted = limit if sampling.ignore_eos else max(len(said), sampling.min_tokens)
        text = said * -(-wanted // max(1, len(said))) if wanted else ""
        reason: FinishReason = "length" if wanted > limit or sampling.ignore_eos else "stop"
        text = text[: min(wanted, limit)]
        found = [(at, stop) for stop in sampling.stop if (at := text.find(stop)) >= 0]
        if not found:
            return text, reason, None
        at, ended = min(found)
        return text[:at], "stop", ended

    def card(self) -> ModelCard:
        return self._card

    @property
    def ready(self) -> bool:
        return self._started and not self._closed

    def alive(self) -> bool:
        return not self._closed

    def stats(self) -> EngineStats | None:
        return None

    def media_stats(self) -> MediaStats | None:
        return None

    async def profile(self, steps: int, file: Path) -> None:
        raise RequestError("There is no engine whose steps could be recorded.")

    def progress(self) -> LoadProgress | None:
        return None

    async def close(self) -> None:
        self._closed = True
