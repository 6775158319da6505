"""Whatever the engine does to be quick, each request gets what it would get alone, at once and without a memory:
tokens equal, and what the model thinks of every id within 1e-5."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saccade
import tiny
from saccade.engine.batch import Layout
from saccade.engine.core import Engine
from saccade.engine.graphs import Graphs, Passed
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.engine.staging import Staging
from saccade.kernels import select
from saccade.model import weights
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL
from saccade.text.positions import lay_out
from saccade.types import IntArray, MediaSpan, Picture, Prompt, SamplingParams

CONTEXT = 400
PLAIN = {"max_running": 1, "prefix_cache": False, "feature_cache": False}
"""One after the other, and nothing is remembered."""


@dataclass(frozen=True)
class Subject:
    """A model and the ids its prompts may hold."""

    model: Qwen3VL
    num_text_ids: int
    pad: int


@pytest.fixture(scope="module", params=["dense", "moe", "demo"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "demo":
        directory = Path(saccade.__file__).parent / "demo" / "checkpoint"
        return Subject(weights.load(directory, dtype="float32", device=torch.device("cpu")), 255, 268)
    made = Qwen3VL(ModelConfig.from_dict(tiny.config(moe=request.param == "moe")), select("cpu")).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # wide, so that every token and every picture matters to the next
        for name, parameter in made.named_parameters():
            parameter.normal_(float("norm" in name and name.endswith("weight")), 0.15, generator=generator)
    return Subject(made, 255, tiny.IMAGE)


def look(seed: int, height: int = 96, width: int = 128, pairs: int = 0) -> Picture:
    """A still, or a video of so many frame pairs: (96, 128) gives 12 tokens for each."""
    shape = (2 * pairs or 1, height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    pixels.setflags(write=False)
    grid = (pairs or 1, height // 16, width // 16)
    times = tuple(float(pair) for pair in range(pairs))
    return Picture("video" if pairs else "image", pixels, grid, times, (height, width), f"{seed} {shape}")


def ask(subject: Subject, id: str, *parts: int | Picture, max_tokens: int = 10, **sampling: Any) -> EngineRequest:
    """Numbers are runs of text of that length: those at one place of two prompts begin with the same ids."""
    rng = np.random.default_rng(9)
    ids: list[int] = []
    spans: list[MediaSpan] = []
    pictures: list[Picture] = []
    for place, part in enumerate(parts):
        if isinstance(part, int):
            ids += np.random.default_rng(place).integers(0, subject.num_text_ids, part).tolist()
            continue
        length = part.num_tokens // part.grid[0]
        pictures.append(part)
        for patch in range(part.grid[0]):
            spans.append(MediaSpan(len(ids), length, len(pictures) - 1, patch * length))
            ids += [subject.pad] * length + rng.integers(0, subject.num_text_ids, 2).tolist()
    positions, delta = lay_out(len(ids), spans, [p.grid for p in pictures])
    greedy = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True, logprobs=1 << 20)
    prompt = Prompt(tuple(ids), tuple(spans), positions, delta)
    return EngineRequest(id, prompt, tuple(pictures), replace(greedy, **sampling))


ODD = {
    "temperature": 1.2,
    "top_p": 0.9,
    "min_p": 0.01,
    "frequency_penalty": 0.6,
    "logit_bias": ((1, 4.0), (2, 3.0), (5, -100.0)),
}


def requests(subject: Subject) -> list[EngineRequest]:
    """Short and long, with and without pictures, one of them a video, two of them with the same picture."""
    return [
        ask(subject, "text", 30, max_tokens=24),
        ask(subject, "still", 5, look(1), 20, max_tokens=16),
        ask(subject, "two", 40, look(2, 64, 64), 3, look(1), 9),
        ask(subject, "video", 4, look(3, 64, 96, pairs=3), 7, max_tokens=20),
        ask(subject, "long", 150, look(4, 160, 160), 33),
        ask(subject, "drawn", 12, look(5), 6, max_tokens=24, temperature=1.5, seed=3),
        ask(subject, "few", 12, look(5), 6, max_tokens=24, temperature=1.5, seed=4, top_k=30, top_p=0.9),
        ask(subject, "fresh", 20, max_tokens=24, presence_penalty=1.5, repetition_penalty=1.2),
        ask(subject, "odd", 7, look(5), max_tokens=24, seed=5, **ODD),
    ]


def engine(subject: Subject, **settings: Any) -> Engine:
    """`settings` are fields of EngineOptions and of Limits, and the block size."""
    mine = {field.name for field in fields(EngineOptions)} & settings.keys()
    chosen = {"max_context": CONTEXT, "max_running": 8} | {name: settings.pop(name) for name in mine}
    return Engine(subject.model, stop_ids=(), options=EngineOptions(**chosen), **settings)


Told = tuple[list[int], Tensor]
"""Tokens, and the logprobs of all ids at each of them [tokens, V]."""


def run(served: Engine, asked: list[EngineRequest], *, at_once: bool = True) -> dict[str, Told]:
    """All requests to their ends: submitted together, or one in each step."""
    outs: dict[str, list[Any]] = {request.id: [] for request in asked}
    left = list(asked)
    while left or served.has_work:
        for request in left[: None if at_once else 1]:
            served.submit(request)
            left.remove(request)
        for out in served.step():
            assert out.error is None
            outs[out.request_id].append(out)
        served._scheduler.blocks.check()
        served._scheduler.encoder.features.check()
    assert not served._scheduler.blocks.held()
    assert not any(pins for _, pins in served._scheduler.encoder.features.entries().values())
    assert not served._runner._pictures._jobs
    assert not served._runner._requests
    return {id: ([out.token for out in found], _logprobs(found)) for id, found in outs.items()}


def _logprobs(outs: list[Any]) -> Tensor:
    table = torch.full((len(outs), 1 + max(top.token for out in outs for top in out.top_logprobs)), -math.inf)
    for row, out in enumerate(outs):
        for top in out.top_logprobs:
            table[row, top.token] = top.logprob
    return table


@pytest.fixture(scope="module")
def alone(subject: Subject) -> dict[str, Told]:
    """What each request gets from an engine of its own, in one piece."""
    return {request.id: run(engine(subject, **PLAIN), [request])[request.id] for request in requests(subject)}


def same(got: dict[str, Told], wanted: dict[str, Told]) -> None:
    for id, (tokens, logprobs) in got.items():
        assert tokens == wanted[id][0], id
        torch.testing.assert_close(logprobs, wanted[id][1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("at_once", [True, False])
def test_together_is_alone(subject: Subject, alone: dict[str, Told], at_once: bool) -> None:
    assert len({tuple(tokens) for tokens, _ in alone.values()}) == len(alone), "stories that are equal prove little"
    same(run(engine(subject, prefix_cache=False, feature_cache=False), requests(subject), at_once=at_once), alone)


@pytest.mark.parametrize(("rows", "size"), [(1, 16), (23, 16), (23, 64)])
def test_in_chunks_is_whole(subject: Subject, alone: dict[str, Told], rows: int, size: int) -> None:
    asked = requests(subject)[: 2 if rows == 1 else None]
    served = engine(subject, max_rows=rows, mixed_rows=rows, relief=1 << 20, block_size=size)
    same(run(served, asked, at_once=False), alone)


@pytest.mark.parametrize(("bytes_", "host_bytes"), [(256 * 2**20, 0), (60_000, 0), (60_000, 1 << 30)])
def test_cached_features_are_fresh_ones(subject: Subject, alone: dict[str, Told], bytes_: int, host_bytes: int) -> None:
    served = engine(subject, prefix_cache=False, feature_cache_bytes=bytes_, host_feature_cache_bytes=host_bytes)
    counters = served._scheduler.encoder.features.counters
    same(run(served, requests(subject)), alone)
    same(run(served, requests(subject), at_once=False), alone)
    if bytes_ > 60_000:
        assert counters.hits > 80
        assert counters.evictions == counters.demotions == 0
    else:
        assert (counters.promotions if host_bytes else counters.evictions) > 0


@pytest.mark.parametrize("size", [16, 64])
def test_a_prefix_hit_is_no_hit(subject: Subject, alone: dict[str, Told], size: int) -> None:
    served = engine(subject, block_size=size)
    same(run(served, requests(subject)), alone)
    hits = served._scheduler.blocks.counters.hits
    same(run(served, requests(subject)), alone)
    assert served._scheduler.blocks.counters.hits - hits >= sum(
        (len(request.prompt.ids) - 1) // size * size for request in requests(subject)
    )


@pytest.mark.parametrize(("size", "shared"), [(16, 112), (64, 64)])
def test_a_prefix_hit_may_end_inside_a_picture(subject: Subject, size: int, shared: int) -> None:
    # The picture has rows 15..114 of both prompts, which part behind it: of 16, blocks 0..6 are shared, up to row 111.
    first, second = (ask(subject, str(n), 15, look(7, 320, 320), *n) for n in ((12,), (0, 15)))
    wanted = run(engine(subject, **PLAIN), [second])
    for feature_cache in (True, False):
        served = engine(subject, feature_cache=feature_cache, block_size=size)
        run(served, [first])
        counters = served._scheduler.blocks.counters
        before = counters.hits
        same(run(served, [second]), wanted)
        assert counters.hits - before == shared


def test_other_pictures_and_other_tenants_share_nothing(subject: Subject) -> None:
    asked = [ask(subject, "a", 20, look(1), 5), ask(subject, "b", 20, look(2), 5)]
    asked += [replace(asked[0], id="c", salt=b"other")]
    wanted = run(engine(subject, **PLAIN), asked)
    served = engine(subject)
    for request in asked:
        same(run(served, [request]), wanted)
    counters = served._scheduler.blocks.counters
    assert counters.hits == 16, "only the text before another picture, and nothing of another tenant"
    assert served._scheduler.encoder.features.counters.hits == 0


@pytest.mark.parametrize(("prefix_cache", "blocks", "size"), [(True, 20, 16), (False, 20, 16), (True, 8, 64)])
def test_a_preempted_sequence_is_undisturbed(subject: Subject, prefix_cache: bool, blocks: int, size: int) -> None:
    asked = [
        ask(subject, f"{n}", 20 + n, look(n % 2), 5, max_tokens=40, temperature=1.2 * (n % 2), seed=n) for n in range(5)
    ]
    wanted = {request.id: run(engine(subject, **PLAIN), [request])[request.id] for request in asked}
    served = engine(subject, num_blocks=blocks, prefix_cache=prefix_cache, block_size=size)
    same(run(served, asked), wanted)
    assert served._scheduler.num_preemptions > 0


def test_pictures_in_slices_are_whole(
    subject: Subject, alone: dict[str, Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    slices: list[int] = []
    plain: Callable[..., None] = subject.model.visual.encode_slice

    def noted(encoding: Any, last: int) -> None:
        slices.append(last - encoding.done)
        plain(encoding, last)

    monkeypatch.setattr(subject.model.visual, "encode_slice", noted)
    served = engine(subject, vision_work=1, feature_cache=False, prefix_cache=False)
    same(run(served, requests(subject), at_once=False), alone)
    assert slices.count(1) >= 3 * len(subject.model.visual.blocks)


class Padded(Graphs):
    """What graphs do with steps, without a device that can capture them."""

    def capture(self, layout: Layout, step: Callable[[], Passed]) -> None:
        self.steps = getattr(self, "steps", {}) | {layout: step}
        self._captured[layout] = step  # type: ignore[assignment]

    def replay(self, layout: Layout) -> Passed:
        self.used = getattr(self, "used", set()) | {layout}
        return self.steps[layout]()


class InPlace(Staging):
    """Every step's array lies in the same memory, as on a device."""

    memory = torch.zeros(1 << 16, dtype=torch.int64)

    def send(self, array: IntArray) -> Tensor:
        self.memory[: len(array)] = torch.from_numpy(array)
        return self.memory[: len(array)]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_step_filled_up_is_the_step(subject: Subject, alone: dict[str, Told], at_once: bool) -> None:
    served = engine(subject, feature_cache=False, max_rows=60, mixed_rows=60, relief=1 << 20)
    runner = served._runner
    runner._staging = InPlace(torch.device("cpu"))
    runner._slots.next = lambda _: None  # type: ignore[method-assign]
    runner._capture(padded := Padded(8, CONTEXT))
    same(run(served, requests(subject), at_once=at_once), alone)
    assert {layout.decodes for layout in padded.used if layout.max_q > 1} == {0, 8}
    assert len({layout.decodes for layout in padded.used if layout.max_q == 1}) > 2


@pytest.mark.parametrize("at_once", [True, False])
def test_one_step_ahead_is_one_after_the_other(subject: Subject, alone: dict[str, Told], at_once: bool) -> None:
    served = engine(subject, overlap=True)
    same(run(served, requests(subject), at_once=at_once), alone)
    same(run(served, requests(subject), at_once=at_once), alone)
