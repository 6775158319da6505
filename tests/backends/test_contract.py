"""What every backend promises, held against each of them: both are made to say the user's text back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
import torch

from saccade.backends.base import Backend, Echo
from saccade.backends.native import Native
from saccade.engine import draws, runner
from saccade.engine.options import EngineOptions
from saccade.engine.sampler import Choices
from saccade.errors import ContextLengthError, EngineError, RequestError
from saccade.types import Delta, Message, Request, SamplingParams, TextPart

TEXT = "Grüße: 你好, naïve 👩‍🚀 and plain words."
CONTEXT = 600


def request(text: str = TEXT, **sampling: Any) -> Request:
    return Request("r", "m", (Message("user", (TextPart(text),)),), SamplingParams(**sampling))


class Parrot:
    """In place of the sampler: says what the user said, ends, and says it again if it may not end."""

    is_plain = False
    constraint = None

    def __init__(self, params: SamplingParams, *, stop_ids: tuple[int, ...], **_: Any) -> None:
        self.logprobs = params.logprobs
        self._params = params
        self._end = max(stop_ids)
        self._said = 0
        self.text = TEXT.encode()

    def say(self) -> int:
        held = self._params.ignore_eos or self._said < self._params.min_tokens
        done = self._said >= len(self.text) and not held
        token = self._end if done else self.text[self._said % len(self.text)]
        self._said += 1
        return token


def choose(parrots: Sequence[Parrot], *_: Any, **__: Any) -> Choices:
    """Each is certain of what it says."""
    ids = torch.tensor([parrot.say() for parrot in parrots])
    telling = torch.tensor([parrot.logprobs is not None for parrot in parrots])
    certain = torch.zeros(3 * int(telling.sum()))  # chosen logits, logsumexps, values of the likeliest
    facts = torch.cat([ids.float(), torch.zeros(len(ids)), certain, ids[telling].float()])
    return Choices(ids, facts, tuple(parrot.logprobs for parrot in parrots), width=1)


Scene = Callable[[Backend], Coroutine[Any, Any, None]]


@pytest.fixture(params=["echo", "native"])
def play(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], None]:
    """Runs a scene with a started backend, and closes it."""

    def make() -> Backend:
        if request.param == "echo":
            return Echo(context=CONTEXT, delay=0.0005)
        monkeypatch.setattr(runner, "Sampler", Parrot)
        monkeypatch.setattr(draws, "choose", choose)
        return request.getfixturevalue("load")(options=EngineOptions(max_context=CONTEXT))

    async def run(scene: Scene) -> None:
        backend = make()
        assert not backend.ready
        await backend.start()
        assert backend.ready
        try:
            await scene(backend)
            assert idle(backend)
        finally:
            await backend.close()
        assert not backend.ready
        assert not backend.alive()
        await backend.close()
        with pytest.raises(EngineError):
            await told(backend.generate(globals()["request"]()))
        with pytest.raises(EngineError):
            await backend.tokenize(TEXT)

    return lambda scene: asyncio.run(asyncio.wait_for(run(scene), 60))


def idle(backend: Backend) -> bool:
    return not backend.running if isinstance(backend, Echo) else not backend._answers  # type: ignore[attr-defined]


async def told(deltas: AsyncIterator[Delta]) -> list[Delta]:
    return [delta async for delta in deltas]


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def check_form(deltas: list[Delta]) -> None:
    *before, last = deltas
    assert all((d.finish_reason, d.usage, d.times) == (None, None, None) for d in before)
    assert last.finish_reason in ("stop", "length")
    assert last.usage is not None
    assert last.times is not None
    assert last.usage.completion_tokens == sum(len(d.token_ids) for d in deltas)
    assert last.usage.prompt_tokens > 0
    assert last.times.first_token > 0
    assert last.times.decode >= 0


def test_answers_in_whole_characters(play: Callable[[Scene], None]) -> None:
    async def scene(backend: Backend) -> None:
        deltas = await told(backend.generate(request()))
        check_form(deltas)
        assert text_of(deltas) == TEXT
        assert deltas[-1].finish_reason == "stop"
        assert len([d for d in deltas if d.text]) == len(TEXT), "a piece for each character, none cut"

    play(scene)


def test_max_tokens_and_context(play: Callable[[Scene], None]) -> None:
    async def scene(backend: Backend) -> None:
        deltas = await told(backend.generate(request(max_tokens=5)))
        check_form(deltas)
        assert deltas[-1].finish_reason == "length"
        assert deltas[-1].usage.completion_tokens == 5
        assert TEXT.startswith(text_of(deltas).rstrip("\ufffd"))

        deltas = await told(backend.generate(request(ignore_eos=True)))
        usage = deltas[-1].usage
        assert usage.prompt_tokens + usage.completion_tokens == backend.card().context == CONTEXT

        with pytest.raises(ContextLengthError, match=str(CONTEXT)) as refused:
            await told(backend.generate(request(max_tokens=CONTEXT)))
        assert refused.value.param == "max_tokens"
        with pytest.raises(ContextLengthError, match=str(CONTEXT)) as refused:
            await told(backend.generate(request("x" * CONTEXT)))
        assert refused.value.param == "messages"

    play(scene)


def test_min_tokens_and_ignore_eos(play: Callable[[Scene], None]) -> None:
    async def scene(backend: Backend) -> None:
        deltas = await told(backend.generate(request(min_tokens=100, max_tokens=200)))
        check_form(deltas)
        assert 100 <= deltas[-1].usage.completion_tokens <= 101
        assert text_of(deltas).startswith(TEXT + TEXT[:1])
        deltas = await told(backend.generate(request(ignore_eos=True, max_tokens=150)))
        assert deltas[-1].usage.completion_tokens == 150
        assert deltas[-1].finish_reason == "length"

    play(scene)


@pytest.mark.parametrize(("stop", "at"), [(("naïve",), "naïve"), (("zzz", "plain", "and"), "and"), ((".",), ".")])
def test_stop_strings_end_the_answer_and_never_show(
    play: Callable[[Scene], None], stop: tuple[str, ...], at: str
) -> None:
    async def scene(backend: Backend) -> None:
        deltas = await told(backend.generate(request(stop=stop, ignore_eos=True)))
        check_form(deltas)
        assert text_of(deltas) == TEXT[: TEXT.index(at)]
        assert deltas[-1].finish_reason == "stop"
        assert deltas[-1].usage.completion_tokens <= len(TEXT.encode())

    play(scene)


@pytest.mark.parametrize("wanted", [None, 0, 1])
def test_logprobs_come_with_their_tokens(play: Callable[[Scene], None], wanted: int | None) -> None:
    async def scene(backend: Backend) -> None:
        deltas = await told(backend.generate(request(logprobs=wanted, max_tokens=12)))
        entries = [entry for delta in deltas for entry in delta.logprobs]
        assert len(entries) == (0 if wanted is None else 12)
        assert b"".join(entry.raw for entry in entries) == TEXT.encode()[: sum(len(entry.raw) for entry in entries)]
        assert all(entry.logprob <= 0 for entry in entries)
        assert all(len(entry.top) == wanted for entry in entries)

    play(scene)


def test_closing_the_answer_frees_the_backend_and_disturbs_nobody(play: Callable[[Scene], None]) -> None:
    async def scene(backend: Backend) -> None:
        other = asyncio.create_task(told(backend.generate(request())))
        async with aclosing(backend.generate(request(ignore_eos=True))) as deltas:
            async for _ in deltas:
                break
        assert text_of(await other) == TEXT
        assert idle(backend)

    play(scene)


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.05])
def test_cancelling_the_reader_frees_the_backend(play: Callable[[Scene], None], moment: float) -> None:
    async def scene(backend: Backend) -> None:
        reader = asyncio.create_task(told(backend.generate(request(ignore_eos=True))))
        await asyncio.sleep(moment)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert text_of(await told(backend.generate(request()))) == TEXT

    play(scene)


def test_close_ends_what_runs_with_an_error(play: Callable[[Scene], None]) -> None:
    async def scene(backend: Backend) -> None:
        deltas = backend.generate(request(ignore_eos=True))
        await anext(deltas)
        reader = asyncio.create_task(told(deltas))
        await asyncio.sleep(0)
        await backend.close()
        with pytest.raises(EngineError):
            await reader

    play(scene)


def test_many_at_once(play: Callable[[Scene], None]) -> None:
    async def scene(backend: Backend) -> None:
        answers = await asyncio.gather(*(told(backend.generate(request())) for _ in range(20)))
        assert [text_of(answer) for answer in answers] == [TEXT] * 20

    play(scene)


def test_echo_waits_between_tokens() -> None:
    async def scene() -> None:
        backend = Echo(delay=0.01)
        await backend.start()
        deltas = await told(backend.generate(request("abc")))
        assert deltas[-1].times.first_token >= 9
        assert deltas[-1].times.decode >= 18
        assert deltas[-1].usage == replace(deltas[-1].usage, prompt_tokens=3, completion_tokens=3)

    asyncio.run(scene())


def test_an_empty_stop_string_is_refused(load: Callable[..., Native]) -> None:
    async def scene() -> None:
        backend = load()
        await backend.start()
        with pytest.raises(RequestError, match="empty"):
            await told(backend.generate(request(stop=("",))))
        await backend.close()

    asyncio.run(scene())


def test_tokens_are_counted_as_they_will_be(play: Callable[[Scene], None]) -> None:
    async def scene(backend: Backend) -> None:
        asked = request()
        ids = await backend.tokenize(asked)
        (*_, last) = await told(backend.generate(asked))
        assert last.usage is not None
        assert len(ids) == last.usage.prompt_tokens
        of_text = await backend.tokenize(TEXT)
        assert of_text in [ids[start : start + len(of_text)] for start in range(len(ids))]
        assert await backend.tokenize("") == ()
        assert len(await backend.tokenize("<|im_end|>")) > 1, "text is no special token"
        assert len(await backend.tokenize("word " * CONTEXT)) > CONTEXT, "it may be longer than the context"

    play(scene)
