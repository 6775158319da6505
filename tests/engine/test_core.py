"""Laws of the engine: what one sequence gets does not depend on the others, and each ends exactly once."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from itertools import count

import numpy as np
import pytest
import torch

import tiny
from saccade.engine import draws
from saccade.engine.core import Engine
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.engine.staging import Fetched
from saccade.errors import ContextLengthError, RequestError
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.vision import Encoding
from saccade.text.positions import lay_out
from saccade.types import MediaSpan, Picture, Prompt, SamplingParams, TokenOut

Ask = Callable[..., EngineRequest]
STOP = 5


@pytest.fixture
def engine(model: Qwen3VL) -> Engine:
    return fresh(model)


@pytest.fixture
def ask() -> Callable[..., EngineRequest]:
    """Makes a request: `ask(num_text, pictures, temperature=..., ...)`, greedy unless told otherwise."""
    numbers = count()

    def make(
        num_text: int = 7,
        pictures: Iterable[Picture] = (),
        *,
        seed_of_ids: int = 0,
        id: str | None = None,
        **sampling: object,
    ) -> EngineRequest:
        rng = np.random.default_rng(seed_of_ids)
        pictures = tuple(pictures)
        ids: list[int] = [int(i) for i in rng.integers(6, 60, num_text)]
        spans = []
        for number, picture in enumerate(pictures):
            spans.append(MediaSpan(len(ids), picture.num_tokens, number, 0))
            ids += [60] * picture.num_tokens + [int(rng.integers(6, 60))]
        positions, delta = lay_out(len(ids), spans, [p.grid for p in pictures])
        params = dataclasses.replace(SamplingParams(temperature=0.0, max_tokens=12), **sampling)  # type: ignore[arg-type]
        prompt = Prompt(tuple(ids), tuple(spans), positions, delta)
        return EngineRequest(id or f"r{next(numbers)}", prompt, pictures, params)

    return make


def picture(height: int = 64, width: int = 96, seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    pixels.setflags(write=False)
    return Picture("image", pixels, (1, height // 16, width // 16), (), (height, width), f"{seed}-{height}-{width}")


def run(engine: Engine, *requests: EngineRequest) -> dict[str, list[TokenOut]]:
    """Submit all, step until there is nothing to do, what came out by request."""
    out: dict[str, list[TokenOut]] = {request.id: [] for request in requests}
    for request in requests:
        engine.submit(request)
    while engine.has_work:
        for token in engine.step():
            out[token.request_id].append(token)
    return out


def ids(outs: Iterable[TokenOut]) -> list[int | None]:
    return [out.token for out in outs]


def fresh(model: Qwen3VL, *, max_context: int = 256, max_running: int = 4, stop: int = STOP, **limits: int) -> Engine:
    options = EngineOptions(
        max_context=max_context, max_running=max_running, kv_cache_bytes=2**24, feature_cache_bytes=2**24
    )
    return Engine(model, stop_ids=[stop], options=options, **limits)


@torch.inference_mode()
def whole_forward(model: Qwen3VL, request: EngineRequest, answer: list[int]) -> torch.Tensor:
    """Logits [len(answer), V] before each token of an answer, from one pass over prompt and answer, without a cache."""
    prompt, language = request.prompt, model.language
    x = language.embed(torch.tensor([*prompt.ids, *answer[:-1]]))
    tail = np.arange(len(prompt.ids), len(prompt.ids) + len(answer) - 1) + prompt.delta
    positions = np.concatenate([prompt.positions, np.broadcast_to(tail, (3, len(tail)))], axis=1)
    rows = deepstack = None
    if request.pictures:
        features = model.visual([torch.tensor(p.pixels) for p in request.pictures], [p.grid for p in request.pictures])
        rows = torch.cat([torch.arange(span.start, span.start + span.length) for span in prompt.spans])
        x = x.index_copy(0, rows, features[0])  # pictures stand in the order of their spans
        deepstack = features[1:]
    attend = tiny.ContiguousKV(model).at(torch.tensor(positions))
    return language.head(language.forward(x, attend, deepstack, rows))[len(prompt.ids) - 1 :]


@pytest.mark.parametrize("sizes", [[], [(64, 96)], [(32, 32), (96, 64), (64, 64)]])
def test_step_by_step_is_the_whole_forward(
    model: Qwen3VL, engine: Engine, ask: Ask, sizes: list[tuple[int, int]]
) -> None:
    pictures = [picture(*size, seed=n) for n, size in enumerate(sizes)]
    for sampling in ({"temperature": 0.0}, {"temperature": 2.0, "seed": 3}):
        request = ask(9, pictures, logprobs=5, max_tokens=100, ignore_eos=True, **sampling)
        outs = run(engine, request)[request.id]
        answer = [out.token for out in outs if out.token is not None]
        assert len(answer) == 100
        logits = whole_forward(model, request, answer)
        reference = logits.log_softmax(-1)
        told = [[alternative.logprob for alternative in out.top_logprobs] for out in outs]
        torch.testing.assert_close(torch.tensor(told), reference.topk(5).values, atol=1e-4, rtol=0)
        chosen = torch.tensor([out.logprob for out in outs])
        torch.testing.assert_close(chosen, reference[torch.arange(100), answer], atol=1e-4, rtol=0)
        if sampling["temperature"] == 0.0:
            assert answer == logits.argmax(-1).tolist()
        else:
            assert len(set(answer)) > 20, "a story of few words would prove little"


def test_pictures_matter(engine: Engine, ask: Ask) -> None:
    answers = {
        tuple(ids(run(engine, request)[request.id]))
        for request in (ask(5, [picture(seed=s)], ignore_eos=True) for s in range(4))
    }
    assert len(answers) > 1


def mixed(ask: Ask) -> list[EngineRequest]:
    return [
        ask(5, id="a", max_tokens=30, ignore_eos=True),
        ask(9, [picture()], id="b", seed_of_ids=1, max_tokens=20, ignore_eos=True),
        ask(3, id="c", temperature=1.3, seed=11, max_tokens=25, ignore_eos=True, logprobs=2),
        ask(40, [picture(32, 64, 3), picture(96, 96, 4)], id="d", temperature=0.8, top_k=20, top_p=0.9, seed=5),
        ask(4, id="e", seed_of_ids=2, max_tokens=1),
        ask(6, id="f", temperature=2.0, seed=0, max_tokens=40, min_tokens=10),
    ]


@pytest.mark.parametrize("max_running", [1, 3, 8])
def test_together_is_each_alone(model: Qwen3VL, ask: Ask, max_running: int) -> None:
    alone = {r.id: run(fresh(model), r)[r.id] for r in mixed(ask)}
    together = run(fresh(model, max_running=max_running), *mixed(ask))
    for id, outs in together.items():
        assert [(out.token, out.finish_reason) for out in outs] == [(o.token, o.finish_reason) for o in alone[id]]
        for out, other in zip(outs, alone[id], strict=True):  # products of other sizes are rounded otherwise
            assert out.logprob == pytest.approx(other.logprob, abs=1e-5)
            pairs = zip(out.top_logprobs, other.top_logprobs, strict=True)
            assert all(a.token == b.token and abs(a.logprob - b.logprob) < 1e-5 for a, b in pairs)


def test_late_comers_change_nothing(model: Qwen3VL, ask: Ask) -> None:
    first, *others = mixed(ask)
    alone = ids(run(fresh(model), first)["a"])
    engine = fresh(model)
    engine.submit(first)
    seen = []
    while engine.has_work:
        seen += [out.token for out in engine.step() if out.request_id == "a"]
        if others:
            engine.submit(others.pop())
    assert seen == alone


def test_first_come_first_served(engine: Engine, ask: Ask) -> None:
    requests = [ask(3, max_tokens=8, ignore_eos=True) for _ in range(7)]
    for request in requests:
        engine.submit(request)
    began: list[str] = []
    while engine.has_work:
        outs = engine.step()
        assert len(outs) <= engine.max_running
        assert len({out.request_id for out in outs}) == len(outs)
        began += [out.request_id for out in outs if out.times is not None]
    assert sorted(began[:4]) == [request.id for request in requests[:4]], "as many as may run begin together"
    assert sorted(began[4:]) == [request.id for request in requests[4:]]


def test_every_request_ends_exactly_once_and_says_nothing_after(model: Qwen3VL, ask: Ask) -> None:
    for id, outs in run(fresh(model, max_running=2), *mixed(ask)).items():
        assert [out.finish_reason is not None for out in outs] == [False] * (len(outs) - 1) + [True], id
        assert outs[0].times is not None
        assert all(out.times is None for out in outs[1:])


def test_stop_length_min_tokens_and_ignore_eos(model: Qwen3VL, ask: Ask) -> None:
    def told(**sampling: object) -> tuple[list[int | None], str | None]:
        request = ask(7, **({"max_tokens": 60, "temperature": 3.0, "seed": 1} | sampling))
        outs = run(engine, request)[request.id]
        return ids(outs), outs[-1].finish_reason

    engine = fresh(model)
    story, _ = told(ignore_eos=True)
    at = next(i for i in range(10, 60) if story[i] not in story[:i])
    engine = fresh(model, stop=story[at])
    assert told() == (story[: at + 1], "stop")
    assert told(ignore_eos=True) == (story, "length")
    assert told(max_tokens=at) == (story[:at], "length")
    patient, _ = told(min_tokens=at + 3)
    assert len(patient) >= at + 3
    assert story[at] not in patient[: at + 3]


def test_the_context_is_a_wall(model: Qwen3VL, ask: Ask) -> None:
    engine = fresh(model, max_context=50)
    with pytest.raises(ContextLengthError, match=r"(?s)50.*50"):
        engine.submit(ask(50))
    with pytest.raises(ContextLengthError, match=r"(?s)73.*50"):
        engine.submit(ask(73))
    with pytest.raises(RequestError, match="max_tokens"):
        engine.submit(ask(5, max_tokens=0))
    assert not engine.has_work
    for wanted in (None, 1000):
        request = ask(20, max_tokens=wanted, ignore_eos=True)
        outs = run(engine, request)[request.id]
        assert len(outs) == 30
        assert outs[-1].finish_reason == "length"


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_abort_ends_a_request_in_any_state(engine: Engine, ask: Ask, steps: int) -> None:
    victim, other = ask(5, [picture()], max_tokens=30, ignore_eos=True), ask(6, max_tokens=10, ignore_eos=True)
    engine.submit(victim)
    engine.submit(other)
    seen = [out for _ in range(steps) for out in engine.step()]
    engine.abort(victim.id)
    engine.abort(victim.id)
    engine.abort("nobody")
    while engine.has_work:
        seen += engine.step()
    mine = [out for out in seen if out.request_id == victim.id]
    assert len(mine) == steps + 1
    assert mine[-1].finish_reason == "abort"
    assert mine[-1].token is None
    assert len([out for out in seen if out.request_id == other.id]) == 10


def test_abort_frees_the_memory_at_once(engine: Engine, ask: Ask) -> None:
    request = ask(5, [picture()], max_tokens=30, ignore_eos=True)
    engine.submit(request)
    engine.step()
    blocks = engine._scheduler.blocks
    assert blocks.held()
    engine.abort(request.id)
    assert not blocks.held()
    assert not engine._runner._requests
    assert [out.finish_reason for out in engine.step()] == ["abort"]
    assert not engine.has_work
    engine.submit(request)  # the name is free again


def test_abort_after_the_end_is_nothing(engine: Engine, ask: Ask) -> None:
    request = ask(5, max_tokens=3)
    run(engine, request)
    engine.abort(request.id)
    assert not engine.has_work


def test_a_failing_picture_ends_its_own_request_only(model: Qwen3VL, ask: Ask) -> None:
    good = mixed(ask)
    broken = ask(5, [dataclasses.replace(picture(), grid=(1, 2, 2), key="broken")], id="broken")
    expected = {r.id: ids(run(fresh(model), r)[r.id]) for r in good}
    outs = run(fresh(model), *good[:3], broken, *good[3:])
    assert [(out.token, out.finish_reason) for out in outs.pop("broken")] == [(None, "error")]
    assert {id: ids(found) for id, found in outs.items()} == expected


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "memory"),
        (RuntimeError("secret"), "RuntimeError"),
    ],
)
def test_a_failure_to_encode_ends_its_own_request_only(
    model: Qwen3VL, ask: Ask, monkeypatch: pytest.MonkeyPatch, failure: Exception, told: str
) -> None:
    good, bad = ask(5, [picture()], max_tokens=10, ignore_eos=True), ask(6, [picture(96, 96)], max_tokens=10)
    plain = model.visual.encode_slice

    def encode_slice(encoding: Encoding, last: int) -> None:
        if len(encoding.x) >= 36:
            raise failure
        plain(encoding, last)

    expected = ids(run(fresh(model), good)[good.id])
    monkeypatch.setattr(model.visual, "encode_slice", encode_slice)
    outs = run(fresh(model), good, bad)
    assert ids(outs[good.id]) == expected
    (last,) = outs[bad.id]
    assert last.finish_reason == "error"
    assert last.error is not None
    assert told in last.error
    assert "secret" not in last.error


def test_a_failing_pass_ends_its_rows_and_not_the_engine(
    model: Qwen3VL, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = fresh(model, max_running=2)
    request, *others = (ask(5, seed_of_ids=n, max_tokens=6, ignore_eos=True) for n in range(3))
    expected = ids(run(fresh(model), others[1])[others[1].id])

    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.language, "forward", full)
    engine.submit(request)
    engine.submit(others[0])
    assert {out.finish_reason for out in engine.step()} == {"error"}
    monkeypatch.undo()
    assert ids(run(engine, others[1])[others[1].id]) == expected
    engine._scheduler.blocks.check()
    assert not engine._scheduler.blocks.held()


def test_nan_ends_its_own_request_only(model: Qwen3VL, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = ask(5, max_tokens=40, ignore_eos=True), ask(6, [picture()])
    expected = ids(run(fresh(model), good)[good.id])
    monkeypatch.setattr(model.visual, "finish", lambda encoding: torch.full((3, 6, 32), torch.nan))
    engine = fresh(model, num_blocks=8)
    outs = run(engine, good, bad)
    assert ids(outs[good.id]) == expected
    assert [(out.finish_reason, out.error) for out in outs[bad.id]] == [
        ("error", "The model produced no finite probabilities.")
    ]
    monkeypatch.undo()
    after = [ask(5, seed_of_ids=n, max_tokens=20, ignore_eos=True) for n in range(1, 4)]
    for request in after:  # they get the blocks in which the bad one has left its keys
        assert ids(run(engine, request)[request.id]) == ids(run(fresh(model), request)[request.id])
    again = ask(6, [picture()], ignore_eos=True)
    assert ids(run(engine, again)[again.id]) == ids(run(fresh(model), again)[again.id])


def test_a_lost_device_is_not_a_request_s_failure(engine: Engine, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object, **__: object) -> object:
        raise torch.AcceleratorError("an illegal memory access was encountered", 700)

    monkeypatch.setattr(draws, "choose", lost)
    engine.submit(ask())
    with pytest.raises(torch.AcceleratorError):
        engine.step()


def test_the_host_is_never_more_than_a_step_ahead(model: Qwen3VL, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned memory of a step is written again three steps later, so each is waited for, also if it gives no token."""
    waits, wait = [], Fetched.wait

    def counted(fetched: Fetched) -> list[float]:
        waits.append(fetched)
        return wait(fetched)

    monkeypatch.setattr(Fetched, "wait", counted)
    options = EngineOptions(max_context=256, max_running=4, overlap=True)
    engine = Engine(model, stop_ids=[STOP], options=options, max_rows=16)
    engine.submit(ask(150, max_tokens=1))
    for launched in range(1, 11):  # the last of 10 chunks gives the token
        engine.step()
        assert len(waits) == launched - 1


def test_times_are_milliseconds_of_each_stage(model: Qwen3VL, ask: Ask) -> None:
    outs = run(fresh(model, max_running=1), ask(5, [picture(256, 256)], id="a"), ask(5, id="b"))
    first, second = outs["a"][0].times, outs["b"][0].times
    assert first is not None
    assert second is not None
    assert first.vision > 0
    assert first.prefill > 0
    assert second.queue > first.vision + first.prefill, "the second waited for the first"
    assert second.vision == 0


@pytest.mark.gpu
def test_an_accelerator_says_the_same(model: Qwen3VL, ask: Ask) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = copy.deepcopy(model).cuda()
    greedy = [
        ask(9, [picture(), picture(96, 32, 1)], ignore_eos=True, max_tokens=40, logprobs=3),
        ask(30, seed_of_ids=3, logprobs=3),
    ]
    here, there = run(fresh(model), *greedy), run(fresh(device), *greedy)
    for request in greedy:
        assert ids(there[request.id]) == ids(here[request.id])
        told = [[out.logprob for out in outs[request.id]] for outs in (here, there)]
        torch.testing.assert_close(*map(torch.tensor, told), atol=1e-4, rtol=0)
    alone = {r.id: ids(run(fresh(device), r)[r.id]) for r in mixed(ask)}
    assert {id: ids(outs) for id, outs in run(fresh(device), *mixed(ask)).items()} == alone
