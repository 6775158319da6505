"""Three-axis positions are the reference's, and quick."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from saccade.text.positions import lay_out
from saccade.types import Grid, MediaSpan

Item = int | Grid
"""So many text tokens, or a picture (t = 1) or video of that grid."""


def spread(items: list[Item]) -> tuple[int, list[MediaSpan], list[Grid]]:
    """Length, spans and grids of a prompt; three text tokens stand before each temporal patch of a video."""
    at, spans, grids = 0, [], []
    for item in items:
        if isinstance(item, int):
            at += item
            continue
        t, h, w = item
        for index in range(t):
            at += 3 if t > 1 else 0
            spans.append(MediaSpan(at, h * w // 4, len(grids), index * h * w // 4))
            at += h * w // 4
        grids.append(item)
    return at, spans, grids


def test_golden(shared: Path) -> None:
    golden = json.loads((shared / "qwen3-vl" / "golden" / "reference_vectors.json").read_text())["rope_index_example"]
    spans = [MediaSpan(4, 6, 0, 0), MediaSpan(15, 2, 1, 0), MediaSpan(20, 2, 1, 2)]
    positions, delta = lay_out(24, spans, [(1, 4, 6), (2, 2, 4)])
    assert positions.tolist() == golden["position_ids_thw"]
    assert delta == golden["delta"]


def test_text_counts_up() -> None:
    positions, delta = lay_out(5, [], [])
    assert positions.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert delta == 0
    assert lay_out(0, [], [])[0].shape == (3, 0)


@pytest.fixture(scope="module")
def reference(transformers: ModuleType) -> Any:
    """`get_rope_index` needs nothing of a model but the merge size."""
    model = transformers.models.qwen3_vl.modeling_qwen3_vl.Qwen3VLModel
    stub = SimpleNamespace(config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2)))
    stub.get_vision_position_ids = model.get_vision_position_ids.__get__(stub)
    return model.get_rope_index.__get__(stub)


def test_reference_on_random_mixes(reference: Any, rng: np.random.Generator) -> None:
    import torch

    def side() -> int:
        return 2 * int(rng.integers(1, 12))

    for _ in range(200):
        items: list[Item] = []
        for kind in rng.integers(0, 3, size=int(rng.integers(1, 12))):
            # Two pictures never touch: the template puts markers around each.
            items += [int(rng.integers(1, 30)), (int(rng.integers(2, 6)) if kind == 2 else 1, side(), side())][
                : kind + 1
            ]
        length, spans, grids = spread(items)
        kinds = np.zeros((1, length), dtype=np.int64)
        for span in spans:
            kinds[0, span.start : span.start + span.length] = 1 if grids[span.picture][0] == 1 else 2
        images, videos = [g for g in grids if g[0] == 1], [g for g in grids if g[0] > 1]
        expected, delta = reference(
            torch.zeros(1, length, dtype=torch.int64),
            torch.from_numpy(kinds),
            torch.tensor(images) if images else None,
            torch.tensor(videos) if videos else None,
        )
        positions, ours = lay_out(length, spans, grids)
        assert positions.dtype == np.int64
        assert np.array_equal(positions, expected[:, 0].numpy())
        assert ours == delta.item()


def test_a_hundred_thousand_tokens_are_quick() -> None:
    length, spans, grids = spread([1000, (384, 16, 16), 20_000, *[(1, 64, 64), 2] * 40, 10_000])
    assert length > 97_000
    start = time.perf_counter()
    lay_out(length, spans, grids)
    assert time.perf_counter() - start < 0.25  # 6 ms on an idle core
