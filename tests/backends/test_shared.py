"""Requests whose answers must be equal are one to the engine while they are in flight; each listens for itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
from test_native import Load, noise, play, request, text_of, told

from saccade.backends import shared
from saccade.backends.native import Native
from saccade.backends.shared import Answers, Listener
from saccade.engine.request import EngineRequest
from saccade.errors import EngineError, MediaError
from saccade.types import Delta, Picture, Prompt, Request, SamplingParams, StageTimes, TokenLogprob, TokenOut


def but(asked: Request, **changes: Any) -> Request:
    """The same with other sampling."""
    return replace(asked, sampling=replace(asked.sampling, **changes))


def plain(answer: list[Delta]) -> list[Delta]:
    return [replace(delta, usage=None, times=None) for delta in answer]


@contextmanager
def held(backend: Native) -> Iterator[None]:
    """The engine stands still."""
    engine, go = backend._host._engine, threading.Event()  # type: ignore[attr-defined]
    on = engine.step

    def step() -> list[TokenOut]:
        go.wait(10)
        told: list[TokenOut] = on()
        return told

    engine.step = step
    try:
        yield
    finally:
        engine.step = on
        go.set()


def num_asked(backend: Native) -> int:
    """Requests that the engine has, however many listen."""
    return len(backend._answers._generations)


async def join(backend: Native, *asked: Request) -> list[asyncio.Task[list[Delta]]]:
    """Ask while the engine stands still; returns when all have been handed in."""

    def listening() -> int:
        return sum(len(generation.listeners) for generation in backend._answers._generations.values())

    wanted = listening() + len(asked)
    answers = [asyncio.create_task(told(backend.generate(one))) for one in asked]
    async with asyncio.timeout(10):
        while listening() < wanted:
            await asyncio.sleep(0.001)
    return answers


async def idle(backend: Native) -> None:
    engine = backend._host._engine  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        while engine.has_work or engine.stats().kv_blocks_used:
            await asyncio.sleep(0.01)
    assert not backend._answers
    assert not backend._answers._generations
    assert not backend._answers._open


@pytest.mark.parametrize("pictures", [(), (noise(), noise(seed=1))], ids=["text", "pictures"])
def test_equal_requests_at_once_are_one(load: Load, pictures: tuple[bytes, ...]) -> None:
    async def scene(backend: Native) -> None:
        asked = request(*pictures, max_tokens=30)
        with held(backend):
            tasks = await join(backend, asked, asked, asked)
            assert num_asked(backend) == 1
        answers = await asyncio.gather(*tasks)
        assert plain(answers[0]) == plain(answers[1]) == plain(answers[2])
        hits = []
        for usage, times in [(answer[-1].usage, answer[-1].times) for answer in answers]:
            assert usage is not None
            assert times is not None
            hits.append(times.cache.shared)
            assert usage.completion_tokens == 30
            assert (usage.image_tokens > 0) == bool(pictures)
            assert times.tokenize > 0, "each made its own prompt"
            assert times.first_token > 0
            if times.cache.shared:
                assert (times.queue, times.vision, times.prefill) == (0, 0, 0)
                assert usage.cached_tokens == times.cache.prefix_tokens == usage.prompt_tokens
                assert times.cache.vision == ("prefix" if pictures else None)
            else:
                assert (times.queue > 0, times.vision > 0, times.prefill > 0) == (True, bool(pictures), True)
                assert usage.cached_tokens == 0
        assert sorted(hits) == [False, True, True]
        await idle(backend)

    play(load(), scene)


def test_what_decides_the_answer_is_not_shared(load: Load) -> None:
    base, wild = request(noise()), request(noise(), temperature=1.5, seed=5)
    pairs = {
        "stop strings": (base, but(base, stop=("never said",)), 1),
        "a guard": (base, but(base, repetition_guard=5), 1),
        "a seed where nothing is drawn": (base, but(base, seed=3), 1),
        "the same seed": (wild, wild, 1),
        "another seed": (wild, but(wild, seed=6), 2),
        "no seed": (but(wild, seed=None), but(wild, seed=None), 2),
        "another key": (base, replace(base, salt=b"other"), 2),
        "other pixels": (base, request(noise(seed=1)), 2),
        "other words": (base, request(noise(), text="What was it?"), 2),
        "another length": (base, but(base, max_tokens=21), 2),
        "an end": (base, but(base, ignore_eos=False), 2),
        "logprobs": (base, but(base, logprobs=1), 2),
    }

    async def scene(backend: Native) -> None:
        for name, (one, other, number) in pairs.items():
            with held(backend):
                tasks = await join(backend, one, other)
                assert num_asked(backend) == number, name
            answers = await asyncio.gather(*tasks)
            assert number == 2 or plain(answers[0]) == plain(answers[1]), name

    play(load(), scene)


def test_who_comes_later_has_all_of_it(load: Load) -> None:
    async def scene(backend: Native) -> None:
        asked = request(max_tokens=200, temperature=1.5, seed=1, logprobs=2)
        stream = backend.generate(asked)
        said = [await anext(stream) for _ in range(50)]
        with held(backend):
            (task,) = await join(backend, asked)
            assert num_asked(backend) == 1
        said += await told(stream)
        joined = await task
        assert plain(joined) == plain(said)
        assert joined[-1].times is not None
        assert said[-1].times is not None
        assert joined[-1].times.cache.shared
        assert joined[-1].times.decode < said[-1].times.decode, "its own"
        again = await told(backend.generate(asked))
        assert again[-1].times is not None
        assert not again[-1].times.cache.shared, "nothing is kept after the end"
        assert plain(again) == plain(said)

    play(load(), scene)


def test_who_leaves_disturbs_nobody(load: Load) -> None:
    async def scene(backend: Native) -> None:
        asked = request(max_tokens=200)
        words = text_of(await told(backend.generate(asked)))
        stop = words[20:26]
        first, second = backend.generate(asked), backend.generate(asked)
        begun = [await anext(stream) for stream in (first, second)][1]
        with held(backend):
            (stopped,) = await join(backend, but(asked, stop=(stop,)))
            assert num_asked(backend) == 1
            await first.aclose()
        assert text_of(await stopped) == words[: words.find(stop)]
        assert text_of([begun, *await told(second)]) == words
        await idle(backend)
        await all_leave([backend.generate(but(asked, max_tokens=5000)) for _ in range(2)], backend)

    async def all_leave(streams: list[AsyncGenerator[Delta, None]], backend: Native) -> None:
        for stream in streams:
            await anext(stream)
        assert num_asked(backend) == 1
        for stream in streams:
            await stream.aclose()
        await idle(backend)

    play(load(), scene)


# --- without an engine -----------------------------------------------------------------------------------------------


@dataclass
class Host:
    """Notes what it is asked for."""

    submitted: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    on_submit: Callable[[], None] = lambda: None

    def submit(self, request: EngineRequest) -> None:
        self.submitted.append(request.id)
        self.on_submit()

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)


PROMPT = Prompt((1, 2, 3), (), np.zeros((3, 3), np.int64), 0)
PICTURE = Picture("image", np.zeros((1, 32, 32, 3), np.uint8), (1, 2, 2), (), (32, 32), "key")
GREEDY = SamplingParams(temperature=0.0, max_tokens=9)


def ask(answers: Answers, listener: Listener | None = None, **changes: Any) -> Listener:
    listener = listener or answers.listen()
    answers.submit(listener, EngineRequest(listener.id, PROMPT, (), replace(GREEDY, **changes)))
    return listener


def token(id: str, number: int, **more: Any) -> TokenOut:
    return TokenOut(id, number, times=None if number else StageTimes(), **more)


def alone(scene: Callable[[Host, Answers], Any]) -> None:
    async def run() -> None:
        host = Host()
        await scene(host, Answers(host))  # type: ignore[arg-type]

    asyncio.run(asyncio.wait_for(run(), 10))


def test_every_field_that_there_is_counts() -> None:
    """Those of later days too: whoever adds one that decides nothing of the tokens has to say so."""
    whole = EngineRequest("id", PROMPT, (PICTURE,), GREEDY, b"salt", None)
    places: list[tuple[Any, set[str], Callable[[Any], EngineRequest]]] = [
        (whole, {"id", "prompt", "pictures", "sampling"}, lambda one: one),
        (PROMPT, {"positions"}, lambda one: replace(whole, prompt=one)),
        (PICTURE, {"pixels"}, lambda one: replace(whole, pictures=(one,))),
        (GREEDY, {"stop", "repetition_guard", "seed"}, lambda one: replace(whole, sampling=one)),
        (
            replace(GREEDY, temperature=1.0),
            {"stop", "repetition_guard"},
            lambda one: replace(whole, sampling=one),
        ),
    ]
    for thing, exempt, put in places:
        for name in {one.name for one in fields(thing)} - {"prompt", "pictures", "sampling"}:
            other = replace(thing, **{name: (7,) if name == "ids" else 0.25})
            is_equal = shared.outcome_of(put(thing)) == shared.outcome_of(put(other))
            assert is_equal == (name in exempt), name


def test_a_failure_reaches_all() -> None:
    async def scene(host: Host, answers: Answers) -> None:
        first, second = ask(answers), ask(answers)
        answers.deliver([token(first.id, 0), TokenOut(first.id, None, finish_reason="error", error="It broke.")])
        third = ask(answers)
        for listener in (first, second):
            assert (await listener.next()).token == 0
            with pytest.raises(EngineError, match="It broke"):
                await listener.next()
        assert host.submitted == [first.id, third.id], "what has ended is not joined"

    alone(scene)


def test_what_cannot_be_handed_in_fails_for_all() -> None:
    async def scene(host: Host, answers: Answers) -> None:
        others = []

        def refuse() -> None:
            host.on_submit = lambda: None
            others.append(ask(answers))
            raise MediaError("Too many bytes.", param="messages")

        host.on_submit = refuse
        with pytest.raises(MediaError):
            ask(answers)
        with pytest.raises(MediaError):
            await others[0].next()
        assert len(host.submitted) == 1
        ask(answers)
        assert len(host.submitted) == 2

    alone(scene)


def test_who_leaves_while_it_is_handed_in() -> None:
    """The pixels may take a while to copy; the engine knows nothing of the request before."""

    async def scene(host: Host, answers: Answers) -> None:
        listener = answers.listen()

        def leave() -> None:
            answers.leave(listener)
            assert not host.aborted

        host.on_submit = leave
        ask(answers, listener)
        assert host.aborted == [listener.id]
        ask(answers, listener)
        assert host.submitted == [listener.id], "it has left"
        host.on_submit = lambda: None
        for number in (2, 3):
            other = ask(answers)
            assert host.submitted[1:][number - 2 :] == [other.id], "what nobody waits for any more is not joined"
            answers.leave(other)
            assert len(host.aborted) == number
        assert not answers

    alone(scene)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_BEHIND", 3)
    monkeypatch.setattr(shared, "MAX_KEPT", 5)

    async def scene(host: Host, answers: Answers) -> None:
        first = ask(answers)
        for number in range(5):
            answers.deliver([token(first.id, number)])
            if number < 3:
                await first.next()
        late = ask(answers)
        assert (await late.next()).cached_tokens == 3
        answers.deliver([token(first.id, 5)])
        assert ask(answers).id in host.submitted, "not all tokens are there any more"
        assert [(await late.next()).token for _ in range(5)] == [1, 2, 3, 4, 5], "what was there does not count"
        answers.deliver([token(first.id, 6)])
        answers.deliver([token(first.id, 7)])
        assert [(await late.next()).token for _ in range(2)] == [6, 7]
        assert [(await first.next()).token for _ in range(3)] == [3, 4, 5]
        with pytest.raises(EngineError, match="3 tokens behind"):
            await first.next()
        answers.leave(first)
        assert not host.aborted, "the other one reads"
        answers.leave(late)
        answers.leave(late)
        assert host.aborted == [first.id]

    alone(scene)


def test_alternatives_take_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_KEPT", 5)

    async def scene(host: Host, answers: Answers) -> None:
        first = ask(answers)
        answers.deliver([token(first.id, 0, top_logprobs=(TokenLogprob(1, 0.0),) * 5)])
        assert ask(answers).id in host.submitted

    alone(scene)
