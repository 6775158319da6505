"""Whatever goes wrong with one request ends that one: the others get what they would have got, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from saccade.engine import draws, runner
from saccade.engine.core import Engine
from saccade.engine.options import EngineOptions
from saccade.engine.pictures import Pictures
from saccade.engine.request import EngineRequest
from saccade.engine.sampler import Sampler
from saccade.engine.spec import EngineFacts
from saccade.engine.worker import Worker
from saccade.model.qwen3vl import Qwen3VL
from saccade.text.positions import lay_out
from saccade.types import MediaSpan, Picture, Prompt, SamplingParams, TokenOut

Ask = Callable[..., EngineRequest]
Fault = Exception
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory: secret")
BROKEN = ZeroDivisionError("secret")
FAULTS = [(NO_MEMORY, "memory"), (BROKEN, "ZeroDivisionError")]


def fresh(model: Qwen3VL, overlap: bool = False, **options: Any) -> Engine:
    return Engine(model, stop_ids=(), options=EngineOptions(max_context=256, max_running=4, overlap=overlap, **options))


def ask(id: str, *pictures: Picture, **sampling: Any) -> EngineRequest:
    ids, spans = [(3 * n + len(id)) % 50 for n in range(6)], []
    for number, picture in enumerate(pictures):
        spans.append(MediaSpan(len(ids), picture.num_tokens, number, 0))
        ids += [60] * picture.num_tokens + [5]
    positions, delta = lay_out(len(ids), spans, [picture.grid for picture in pictures])
    params = SamplingParams(**({"temperature": 0.0, "max_tokens": 12, "ignore_eos": True} | sampling))
    return EngineRequest(id, Prompt(tuple(ids), tuple(spans), positions, delta), pictures, params)


def picture(seed: int) -> Picture:
    pixels = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Picture("image", pixels.numpy(), (1, 4, 6), (), (64, 96), f"picture {seed}")


def no_memory(*_: Any, **__: Any) -> Any:
    raise NO_MEMORY


def run(engine: Engine, *requests: EngineRequest) -> dict[str, list[TokenOut]]:
    outs: dict[str, list[TokenOut]] = {request.id: [] for request in requests}
    for request in requests:
        engine.submit(request)
    while engine.has_work:
        for out in engine.step():
            outs[out.request_id].append(out)
    engine._scheduler.blocks.check()
    engine._scheduler.encoder.features.check()
    assert not engine._scheduler.blocks.held()
    assert not engine._runner._requests
    return outs


def tokens(outs: list[TokenOut]) -> list[int | None]:
    return [out.token for out in outs]


def others() -> list[EngineRequest]:
    return [
        ask("plain"),
        ask("drawn", temperature=1.0, seed=1),
        ask("edited", temperature=1.0, seed=2, presence_penalty=1.0),
    ]


def only_bad_ends(
    engine: Engine, model: Qwen3VL, bad: EngineRequest, told: str, inject: Callable[[], Any], undo: Callable[[], Any]
) -> None:
    """`bad` ends with an error that tells this, the others are as alone, and afterwards `bad` can be had."""
    expected = {other.id: tokens(run(fresh(model), other)[other.id]) for other in others()}
    inject()
    first, *rest = others()
    outs = run(engine, first, bad, *rest)
    *_, last = outs[bad.id]
    assert last.finish_reason == "error"
    assert last.error
    assert told in last.error
    assert "secret" not in last.error
    assert {other.id: tokens(outs[other.id]) for other in others()} == expected
    undo()
    assert tokens(run(engine, bad)[bad.id]) == tokens(run(fresh(model), bad)[bad.id])


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(("fault", "told"), FAULTS)
def test_admitting(model: Qwen3VL, monkeypatch: pytest.MonkeyPatch, overlap: bool, fault: Fault, told: str) -> None:
    made = Sampler.__init__

    def fails(sampler: Sampler, params: SamplingParams, **kwargs: Any) -> None:
        if params.seed == 13:
            raise fault
        made(sampler, params, **kwargs)

    bad = ask("bad", temperature=1.0, seed=13, logit_bias=((1, 1.0),))
    inject = lambda: monkeypatch.setattr(Sampler, "__init__", fails)  # noqa: E731
    only_bad_ends(fresh(model, overlap), model, bad, told, inject, monkeypatch.undo)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(("fault", "told"), FAULTS)
def test_choosing(model: Qwen3VL, monkeypatch: pytest.MonkeyPatch, overlap: bool, fault: Fault, told: str) -> None:
    """Whoever is chosen for together with the one to blame is chosen for once, with the same random numbers."""
    choose = draws.choose

    def fails(samplers: list[Sampler], *args: Any, **kwargs: Any) -> Any:
        chosen = choose(samplers, *args, **kwargs) if all(s.logprobs != 13 for s in samplers) else None
        if chosen is None:
            raise fault
        return chosen

    inject = lambda: monkeypatch.setattr(draws, "choose", fails)  # noqa: E731
    only_bad_ends(fresh(model, overlap), model, ask("bad", logprobs=13), told, inject, monkeypatch.undo)


def test_a_choice_that_fails_half_way_has_chosen_nothing(model: Qwen3VL, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thing that a choice does, fails once in each step: penalties must not count a token twice."""
    expected = {other.id: tokens(run(fresh(model), other)[other.id]) for other in others()}
    from saccade.engine import sampler

    told, calls = sampler._logprobs, []

    def fails(asked: Any, *args: Any) -> Any:
        calls.append(len(asked))
        if len(asked) > 1:
            raise NO_MEMORY
        return told(asked, *args)

    monkeypatch.setattr(sampler, "_logprobs", fails)
    assert {id: tokens(outs) for id, outs in run(fresh(model), *others()).items()} == expected
    assert max(calls) > 1


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(("fault", "told"), FAULTS)
def test_encoding(model: Qwen3VL, monkeypatch: pytest.MonkeyPatch, overlap: bool, fault: Fault, told: str) -> None:
    pixels = Pictures._pixels

    def fails(pictures: Pictures, unit: Any) -> Any:
        if unit.id == "bad":
            raise fault
        return pixels(pictures, unit)

    inject = lambda: monkeypatch.setattr(Pictures, "_pixels", fails)  # noqa: E731
    only_bad_ends(fresh(model, overlap), model, ask("bad", picture(1)), told, inject, monkeypatch.undo)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("kind", ["demote", "promote"])
def test_moving(model: Qwen3VL, monkeypatch: pytest.MonkeyPatch, overlap: bool, kind: str) -> None:
    """Features that could not be moved are gone; whoever reads them ends, and the next one encodes them again."""
    tokens_of_one = picture(1).num_tokens
    size = 3 * tokens_of_one * model.config.text.hidden_size * 4
    options = {"feature_cache_bytes": size, "host_feature_cache_bytes": 8 * size, "prefix_cache": False}
    engine = fresh(model, overlap, **options)
    moves = []
    move = Pictures.move

    def fails(pictures: Pictures, wanted: Any) -> Any:
        moves.append(wanted.kind)
        with monkeypatch.context() as patch:
            if wanted.kind == kind:
                patch.setattr(torch, "empty", no_memory)
                patch.setattr(torch.Tensor, "to", no_memory)
            return move(pictures, wanted)

    first, second = ask("first", picture(1)), ask("second", picture(2))
    expected = tokens(run(fresh(model), first)["first"])
    assert tokens(run(engine, first)["first"]) == expected
    monkeypatch.setattr(Pictures, "move", fails)
    run(engine, second)  # the first one's features make room
    again = ask("again", picture(1))
    outs = run(engine, again, *others())
    assert kind in moves
    assert outs["again"][-1].finish_reason == "error"
    assert outs["again"][-1].error == runner.NO_FEATURES
    assert all(outs[other.id][-1].finish_reason == "length" for other in others())
    monkeypatch.undo()
    assert tokens(run(engine, first)["first"]) == expected


def test_what_cannot_even_be_taken_in(model: Qwen3VL, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = fresh(model)
    worker = Worker(engine, EngineFacts("cpu", "cpu", "float32", 0, 256))
    submit, outs = engine.submit, list[TokenOut]()

    def fails(request: EngineRequest, compiled: Any = None) -> None:
        if request.id == "bad":
            raise BROKEN
        submit(request, compiled)

    monkeypatch.setattr(engine, "submit", fails)
    for request in (ask("plain"), ask("bad"), ask("drawn", temperature=1.0, seed=1)):
        worker.submit(request)
    while len([out for out in outs if out.finish_reason]) < 3:
        worker._take_in(outs.extend, None)
        outs.extend(engine.step())
    told = {out.request_id: (out.finish_reason, out.error) for out in outs if out.finish_reason}
    assert told == {
        "plain": ("length", None),
        "drawn": ("length", None),
        "bad": ("error", "The engine failed at this request: ZeroDivisionError."),
    }
