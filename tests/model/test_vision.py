"""The tower's own laws: where patches are, what a still is, that pictures do not touch, and fp16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from saccade.kernels import select
from saccade.model import weights
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.vision import VisionTower


@pytest.fixture
def tower() -> VisionTower:
    config = ModelConfig.from_dict(tiny.config())
    made = VisionTower(config.vision, select("cpu"))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.15)
    return made


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads((shared / "qwen3-vl" / "golden" / "reference_vectors.json").read_text())
    return vectors


def test_the_position_table_is_read_as_in_the_reference(golden: dict[str, Any], tower: VisionTower) -> None:
    example = golden["pos_embed_interp_grid_1x4x6"]
    layout = tower.layout([(1, 4, 6)], "cpu")
    assert layout.table_index.tolist() == example["indices"]
    torch.testing.assert_close(layout.table_weight, torch.tensor(example["weights"]), rtol=0, atol=2e-6)


def test_segments_are_frame_pairs(golden: dict[str, Any], tower: VisionTower) -> None:
    example = golden["cu_seqlens_example"]
    layout = tower.layout([tuple(grid) for grid in example["grid_thw"]], "cpu")
    assert layout.cu_seqlens.tolist() == example["cu_seqlens"]
    assert layout.cu_seqlens.dtype == torch.int32
    assert layout.max_seqlen == 320


def test_a_layout_is_the_layouts_of_its_pictures_in_order(tower: VisionTower) -> None:
    both = tower.layout([(1, 4, 6), (2, 8, 2)], "cpu")
    parts = [tower.layout([(1, 4, 6)], "cpu"), *[tower.layout([(1, 8, 2)], "cpu")] * 2]
    for name in ("table_index", "table_weight", "cos", "sin"):
        assert torch.equal(getattr(both, name), torch.cat([getattr(part, name) for part in parts]))


def test_the_table_is_summed_in_fp32_and_rounded_once(tower: VisionTower) -> None:
    tower.bfloat16()
    layout = tower.layout([(1, 6, 10)], "cpu")
    rows = tower.pos_embed.weight[layout.table_index].float()
    expected = (rows * layout.table_weight[:, :, None]).sum(1).bfloat16()
    assert torch.equal(tower.place(torch.zeros(60, 64, dtype=torch.bfloat16), layout), expected)


@torch.inference_mode()
def test_a_still_equals_the_same_frame_twice(tower: VisionTower) -> None:
    still = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    twice = tower([still.expand(2, -1, -1, -1).contiguous()], [(1, 4, 6)])
    assert tiny.relative_error(tower([still], [(1, 4, 6)]), twice) < 1e-5


@torch.inference_mode()
def test_pictures_and_frame_pairs_do_not_touch(tower: VisionTower, rng: np.random.Generator) -> None:
    pieces = [tiny.picture(rng, 0, 4, 6), tiny.picture(rng, 3, 2, 8), tiny.picture(rng, 0, 10, 2)]
    pixels = [torch.from_numpy(piece.pixels) for piece in pieces]
    together = tower(pixels, [piece.grid for piece in pieces])
    frames = [pixels[0], *pixels[1].split(2), pixels[2]]
    grids = [(1, 4, 6), *[(1, 2, 8)] * 3, (1, 10, 2)]
    alone = torch.cat([tower([p], [grid]) for p, grid in zip(frames, grids, strict=True)], dim=1)
    assert tiny.relative_error(together, alone) < 1e-5


def test_fp16_keeps_the_wide_mlp_in_fp32(tmp_path: Path, rng: np.random.Generator) -> None:
    """The first product of block 1 reaches several 100,000, as in released weights; fp16 ends at 65,504."""
    torch.manual_seed(1)
    config = ModelConfig.from_dict(tiny.config())
    model = Qwen3VL(config, select("cpu"))
    with torch.no_grad():
        for parameter in model.visual.parameters():
            parameter.normal_(0.0, 0.1)
        block = model.visual.blocks[1]
        block.linear_fc1.weight.mul_(1e6)
        block.linear_fc2.weight.mul_(1e-6)
    weights.save(model, tmp_path)
    talk = tiny.conversation(rng, tiny.picture(rng, 0, 6, 8))
    with torch.inference_mode():
        expected = tiny.features(weights.load(tmp_path, dtype="float32", device="cpu"), talk)
        half = weights.load(tmp_path, dtype="float16", device="cpu")
        ours = tiny.features(half, talk)
        assert ours.dtype == torch.float16
        assert tiny.relative_error(ours, expected) < 5e-3
        half.visual.half()
        assert not tiny.features(half, talk).isfinite().all(), "the planted weights do not overflow"
    kept = {
        name
        for name, p in weights.load(tmp_path, dtype="float16", device="cpu").named_parameters()
        if p.dtype == torch.float32
    }
    assert kept == {name for name, _ in half.named_parameters() if "visual.blocks" in name and ".linear_fc" in name}
