"""Layouts with room to spare: what is over changes nothing. Here a replay is the step itself on what was just sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from saccade.engine.batch import Layout
from saccade.engine.core import Engine
from saccade.engine.graphs import PROMPTS, Graphs, Passed
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.engine.staging import Staging
from saccade.model.qwen3vl import Qwen3VL
from saccade.text.positions import lay_out
from saccade.types import MediaSpan, Picture, Prompt, SamplingParams

OPTIONS = EngineOptions(max_context=200, max_running=20)


def ask(number: int, num_text: int, *, shows: bool) -> EngineRequest:
    rng = np.random.default_rng(number)
    ids, spans, pictures = rng.integers(6, 60, num_text).tolist(), [], []
    if shows:
        pixels = rng.integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
        pictures = [Picture("image", pixels, (1, 4, 6), (), (64, 96), str(number))]
        spans = [MediaSpan(len(ids), 6, 0, 0)]
        ids += [60] * 6 + [7]
    positions, delta = lay_out(len(ids), spans, [picture.grid for picture in pictures])
    sampling = SamplingParams(temperature=0.0, max_tokens=9, ignore_eos=True)
    return EngineRequest(str(number), Prompt(tuple(ids), tuple(spans), positions, delta), tuple(pictures), sampling)


def answers(engine: Engine, requests: list[EngineRequest], at_once: int) -> dict[str, list[int | None]]:
    out: dict[str, list[int | None]] = {request.id: [] for request in requests}
    left = list(requests)
    while left or engine.has_work:
        for request in left[:at_once]:
            engine.submit(request)
        del left[:at_once]
        for told in engine.step():
            assert told.error is None
            out[told.request_id].append(told.token)
    return out


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Counter[Layout]:
    """Which layouts were replayed how often, from now on."""
    counts: Counter[Layout] = Counter()
    sent: list[torch.Tensor] = []
    send = Staging.send

    def remembered(staging: Staging, array: Any) -> torch.Tensor:
        sent[:] = [send(staging, array)]
        return sent[0]

    def capture(graphs: Graphs, layout: Layout, step: Callable[[], Passed]) -> None:
        graphs._captured[layout] = (step, step())  # type: ignore[assignment]

    def replay(graphs: Graphs, layout: Layout) -> Passed:
        counts[layout] += 1
        step: Any = graphs._captured[layout][0]
        _, layout, *others = step.args
        passed: Passed = step.func(sent[0], layout, *others)
        return passed

    monkeypatch.setattr(Staging, "send", remembered)
    monkeypatch.setattr(Graphs, "capture", capture)
    monkeypatch.setattr(Graphs, "replay", replay)
    return counts


@pytest.mark.parametrize("at_once", [1, 3, PROMPTS, PROMPTS + 1])
def test_room_to_spare_changes_nothing(model: Qwen3VL, replayed: Counter[Layout], at_once: int) -> None:
    requests = [
        ask(n, length, shows=n % 2 == 0) for n, length in enumerate((3, 50, 17, 64, 5, 30, 9, 120, 1, 33, 80, 2))
    ]
    wanted = answers(Engine(model, stop_ids=(), options=OPTIONS), requests, at_once)
    engine = Engine(model, stop_ids=(), options=OPTIONS)
    engine._runner._capture(Graphs(OPTIONS.max_running or 0, OPTIONS.max_context or 0))
    assert answers(engine, requests, at_once) == wanted
    assert {bool(layout.feature_rows) for layout in replayed} == {True, False}
    assert any(layout.sequences > layout.decodes > 0 for layout in replayed) or at_once > PROMPTS


def test_logits_of_all_layouts_lie_in_one_place(model: Qwen3VL, replayed: Counter[Layout]) -> None:
    graphs = Graphs(20, 200)
    Engine(model, stop_ids=(), options=OPTIONS)._runner._capture(graphs)
    assert len(graphs._captured) == len(list(graphs.layouts())) > 20
    logits = [passed.logits for _, passed in graphs._captured.values()]
    assert len({values.data_ptr() for values in logits}) == 1
    assert {len(values) for values in logits} == {layout.sampled for layout in graphs._captured}
