"""THE CORRIDOR: a Request becomes pictures, a prompt, tokens and text again; the only file that sees all rooms.

    event loop    generate                                                     deliver --> Reply --> Deltas
    threads         `--> _look: fetch, decode, resize --> prompt --> submit       ^
    engine                                                             `--> vision, prefill, one token per step

The engine runs in a thread of this process or in a process of its own. The event loop never waits for a picture or for
the model. Timings are taken where the work is done.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from saccade.backends.ahead import Ahead
from saccade.backends.constraints import Constraints, vocabulary
from saccade.backends.context import Context
from saccade.backends.generation import GenerationDefaults
from saccade.backends.pictures import WHITE, Pictures
from saccade.backends.profile import recorded
from saccade.backends.reply import Reply
from saccade.backends.shared import Answers, Listener
from saccade.backends.times import looked, whole
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.engine.spec import EngineSpec
from saccade.engine.supervisor import EngineProcess
from saccade.engine.worker import EngineHost, Worker
from saccade.errors import EngineError, SaccadeError
from saccade.media.limits import Decoding, MediaLimits
from saccade.media.pixels import Plans, prepare_resize
from saccade.text.grammars import tool_grammar
from saccade.text.prompt import Draft, PromptBuilder
from saccade.types import (
    Delta,
    EngineStats,
    KeptMedia,
    LoadProgress,
    MediaPart,
    MediaRef,
    MediaStats,
    Message,
    ModelCard,
    Picture,
    Prompt,
    Request,
    SamplingParams,
    StageTimes,
    TextPart,
    Usage,
)

END_TOKENS = ("<|im_end|>", "<|endoftext|>")
"""What ends an answer of a checkpoint that does not say."""


class Native:
    """A checkpoint served by our own engine. See `Backend` for what it promises."""

    def __init__(
        self,
        host: EngineHost,
        *,
        name: str,
        prompts: PromptBuilder,
        pictures: Pictures,
        defaults: GenerationDefaults,
        constraints: Constraints,
        stop_ids: frozenset[int],
    ) -> None:
        """`host` has an engine of the same checkpoint, or is about to. Raises as `EngineHost.facts` does."""
        self._prompts = prompts
        self._pictures = pictures
        self._constraints = constraints
        self._stop_ids = stop_ids
        self._host = host
        num_threads = min(8, 2 + (os.cpu_count() or 1))
        self._text_pool = ThreadPoolExecutor(num_threads, thread_name_prefix="saccade-text")
        """Apart from that of pictures, so that text does not wait for them."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answers = Answers(host)
        self._ahead = Ahead(self._encode)
        self._warm = False
        self._over: str | None = None
        """Why there will be no more answers; set on the event loop only, together with waking all who wait."""
        facts = host.facts()
        self._context = Context(facts.max_context, prompts.tokenizer, defaults)
        told = {
            "device": facts.device,
            "dtype": facts.dtype,
            "parameters": f"{facts.num_parameters / 1e6:.1f} M",
        }
        self._card = ModelCard(name, facts.max_context, told, self._pictures.facts())

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        name: str,
        limits: MediaLimits,
        dtype: str = "auto",
        device: str = "auto",
        load_format: Literal["auto", "dummy"] = "auto",
        options: EngineOptions = EngineOptions(),  # noqa: B008  it is frozen
        video_outer_markers: bool = False,
        process: EngineProcess | None = None,
        decoding: Decoding | None = None,
    ) -> Native:
        """Everything a checkpoint directory holds. Raises CheckpointError, or SettingsError for a device that is not
        there or a context that the model was not made for.

        `process`: where the engine shall be, instead of here; it loads the model while the small files are loaded
        here, and is closed with this backend, or when this fails. `decoding`: decode files in processes of their own.
        """
        pictures: Pictures | None = None
        try:
            prompts = PromptBuilder.from_dir(directory, video_outer_markers=video_outer_markers)
            shelf = process.shelf.take if process else None
            pictures = Pictures(limits, Plans.from_dir(directory, limits), decoding, shelf)
            defaults = GenerationDefaults.from_dir(directory)
            tokenizer = prompts.tokenizer
            named = [tokenizer.added[token] for token in END_TOKENS if token in tokenizer.added]
            stop_ids = frozenset(defaults.stop_ids or named)
            words = vocabulary(tokenizer, stop_ids)
            spec = EngineSpec(directory, dtype, device, load_format, stop_ids, tokenizer.size, words, options)
            if process:
                process.load(spec)
                # One thread for each that resizes: a resize does not use more, and the cores are the engine's.
                threading.Thread(target=prepare_resize, args=(1,), name="saccade-libraries", daemon=True).start()
            return cls(
                process or _here(spec),
                name=name,
                prompts=prompts,
                pictures=pictures,
                defaults=defaults,
                constraints=Constraints(tokenizer, words),
                stop_ids=stop_ids,
            )
        except BaseException:
            if process:
                process.close()
            if pictures:
                pictures.close()
            raise

    async def start(self) -> None:
        """Start the engine and answer one question about a white picture, so that the first caller does not pay for
        what every first pass makes once. A model that cannot even do that raises here."""
        self._loop = asyncio.get_running_loop()
        self._host.start(self._loop, emit=self._answers.deliver, ended=self._on_end)
        parts = (MediaPart(MediaRef("image", "warm-up", data=WHITE)), TextPart("?"))
        sampling = SamplingParams(temperature=0.0, max_tokens=2, ignore_eos=True)
        try:
            async for _ in self.generate(Request("warm-up", self._card.id, (Message("user", parts),), sampling)):
                pass
        except BaseException:
            await self.close()
            raise
        self._warm = True

    def card(self) -> ModelCard:
        return self._card

    @property
    def ready(self) -> bool:
        return self._warm and self.alive() and self._host.ready

    def alive(self) -> bool:
        return self._over is None

    def stats(self) -> EngineStats | None:
        """What the engine is doing, half a second old at most while it works; None before its first step."""
        return self._host.stats()

    def media_stats(self) -> MediaStats:
        return self._pictures.stats()

    async def profile(self, steps: int, file: Path) -> None:
        self._check_alive()
        await recorded(self._host, steps, file)

    def progress(self) -> LoadProgress | None:
        return None

    async def close(self) -> None:
        self._over = self._over or "The model was stopped."
        self._ahead.close()
        await asyncio.to_thread(self._host.close)
        self._pictures.close()
        self._text_pool.shutdown(wait=False, cancel_futures=True)
        self._constraints.close()
        self._end_all(self._over)

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        arrived = time.perf_counter()
        self._check_alive()
        thinking = self._prompts.thinks and not request.continues
        reply = Reply(request, self._prompts.tokenizer, self._stop_ids, thinking=thinking)
        listener = self._answers.listen()
        try:
            with self._ahead.someone_waits():
                refs = await self._pictures.bring(request.media)
                brought = time.perf_counter()
                several, needed = len(refs) > 1, listener.is_needed
                looks = await self._pictures.look_at_all(refs, request.salt, needed) if several else None
                pool = self._pictures.pool(refs[0]) if len(refs) == 1 else self._text_pool
                handing = pool.submit(self._hand_in, listener, request, looks or refs, reply)
                del request, refs, looks  # files and pixels are large, and answers may be long
                usage, stages = await asyncio.wrap_future(handing)
                begun = out = await listener.next()
            first = time.perf_counter()
            while not (delta := reply.take(out)).finish_reason:
                yield delta
                out = await listener.next()
            assert begun.times, "the first token carries the engine's times"
            now = time.perf_counter()
            stages = replace(stages, fetch=stages.fetch + (brought - arrived) * 1e3)
            times = whole(stages, begun.times, first_token=(first - arrived) * 1e3, decode=(now - first) * 1e3)
            usage = replace(
                usage,
                completion_tokens=reply.num_tokens,
                reasoning_tokens=reply.num_reasoning,
                cached_tokens=begun.cached_tokens,
            )
            yield replace(delta, usage=usage, times=times)
        finally:
            self._answers.leave(listener)

    async def tokenize(self, asked: Request | str) -> tuple[int, ...]:
        self._check_alive()
        run = asyncio.get_running_loop().run_in_executor
        if isinstance(asked, str):
            encode = partial(self._prompts.tokenizer.encode, specials=False)
            return tuple(await run(self._text_pool, encode, asked))
        refs = await self._pictures.bring(asked.media)
        pictures = [picture for picture, _ in await self._pictures.look_at_all(refs, asked.salt, lambda: True)]
        return (await run(self._text_pool, self._prompts.build, asked.messages, pictures, asked.tools)).ids

    async def keep(self, media: MediaRef, salt: bytes) -> KeptMedia:
        self._check_alive()
        kept, picture = await self._pictures.keep(media, salt)
        if picture:
            self._ahead.add(picture, salt)
        return kept

    async def page(self, digest: str, number: int, salt: bytes) -> bytes:
        return await self._pictures.page(digest, number, salt)

    def keeps(self, digest: str, salt: bytes) -> bool:
        return self._pictures.keeps(digest, salt)

    async def _encode(self, picture: Picture, salt: bytes) -> None:
        """A conversation that begins with the picture, of which nothing is wanted but what the engine keeps of it."""
        part = MediaPart(MediaRef(picture.kind, "body", data=b""))
        sampling = SamplingParams(temperature=0.0, max_tokens=1)
        request = Request("ahead", self._card.id, (Message("user", (part,)),), sampling, salt=salt)
        reply = Reply(request, self._prompts.tokenizer, self._stop_ids, thinking=self._prompts.thinks)
        listener = self._answers.listen()
        try:
            run = asyncio.get_running_loop().run_in_executor
            await run(self._text_pool, self._hand_in, listener, request, [(picture, StageTimes())], reply)
            await listener.next()
        finally:
            self._answers.leave(listener)

    def _hand_in(
        self,
        listener: Listener,
        request: Request,
        media: list[tuple[Picture, StageTimes]] | list[MediaRef],
        reply: Reply,
    ) -> tuple[Usage, StageTimes]:
        """The request goes to the engine; what it counts, and the times of what was done for it here. Runs in a thread:
        pictures and long texts take long. `media`: that of the request, looked at or not."""
        look, needed = self._pictures.look, listener.is_needed

        @cache
        def drafted() -> tuple[Draft, float]:
            self._context.check(request)
            began = time.perf_counter()
            draft = self._prompts.draft(request.messages, request.tools, continues=request.continues)
            return draft, time.perf_counter() - began

        def meanwhile() -> None:
            with suppress(SaccadeError):  # raised below, unless the picture is at fault too
                drafted()

        looks = [look(one, request.salt, needed, meanwhile) if isinstance(one, MediaRef) else one for one in media]
        pictures = tuple(picture for picture, _ in looks)
        if request.pixels_of is not None:
            reply.in_pixels(pictures[request.pixels_of].original_size)
        draft, seconds = drafted()
        began = time.perf_counter()
        prompt = self._prompts.fill(draft, pictures)
        seconds += time.perf_counter() - began
        sampling = self._context.fill(request.sampling, prompt)
        thinking = self._constraints.check(sampling, prompt)
        if request.tools:
            grammar = tool_grammar(request.tools, request.tool_choice, sampling.grammar, self._prompts.tokenizer.added)
            sampling = replace(sampling, grammar=grammar)
            self._constraints.check(sampling, prompt)
        asked = EngineRequest(listener.id, prompt, pictures, sampling, request.salt, thinking)
        self._answers.submit(listener, asked)
        stages = looked(look for _, look in looks)
        return _usage(prompt, pictures), replace(stages, tokenize=seconds * 1e3)

    def _check_alive(self) -> None:
        if self._over or self._loop is None:
            raise EngineError(self._over or "The model was not started.")

    # --- what the engine says -----------------------------------------------------------------------------------

    def _on_end(self, cause: BaseException | None) -> None:
        """Called by the engine's host, as the last thing it does."""
        if cause is not None:
            self._end_all("The engine broke down and must be restarted.")

    def _end_all(self, why: str) -> None:
        self._over = why
        self._answers.end(why)


def _usage(prompt: Prompt, pictures: tuple[Picture, ...]) -> Usage:
    """What is known before the answer."""
    tokens = {kind: sum(p.num_tokens for p in pictures if p.kind == kind) for kind in ("image", "video")}
    return Usage(len(prompt.ids), 0, tokens["image"], tokens["video"])


def _here(spec: EngineSpec) -> Worker:
    """The engine in a thread of this process, which alone needs all of its libraries here."""
    from saccade.engine.build import build

    return Worker(*build(spec))
