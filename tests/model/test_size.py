"""What config.json alone tells of the weights is what the model allocates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import saccade
import tiny
from saccade.kernels import select
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.size import Widths, dtype_on, num_parameters, weight_bytes
from saccade.model.weights import build_empty

RELEASED = {
    "2b": 2_127_532_032,
    "4b-instruct": 4_437_815_808,
    "8b": 8_767_123_696,
    "32b": 33_357_390_064,
    "30b-a3b": 31_070_754_032,
    "235b-a22b": 235_670_022_896,
}
"""Directories of reference data beside the project, and the totals that transformers 5.23 gives for them."""


def allocated(config: ModelConfig) -> Qwen3VL:
    return build_empty(config, select("cpu", fused=False))


@pytest.mark.parametrize("moe", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_small_models(moe: bool, tied: bool) -> None:
    config = ModelConfig.from_dict(tiny.config(moe=moe, tied=tied))
    model = allocated(config)
    assert num_parameters(config) == sum(parameter.numel() for parameter in model.parameters())
    for dtype in ("float32", "bfloat16", "float16"):
        model.to(getattr(torch, dtype))
        for block in model.visual.blocks if dtype == "float16" else ():
            for part in ("linear_fc1", "linear_fc2"):
                getattr(block, part).float()
        assert weight_bytes(config, Widths.of(dtype)) == sum(p.nbytes for p in model.state_dict().values())


def test_the_demo_model() -> None:
    raw = json.loads((Path(saccade.__file__).parent / "demo" / "checkpoint" / "config.json").read_text())
    config = ModelConfig.from_dict(raw)
    assert num_parameters(config) == sum(parameter.numel() for parameter in allocated(config).parameters())


@pytest.mark.parametrize("name", RELEASED)
def test_released_models(shared: Path, name: str) -> None:
    config = ModelConfig.from_dict(json.loads((shared / "qwen3-vl" / name / "config.json").read_text()))
    numbers = [parameter.numel() for parameter in allocated(config).parameters()]
    assert num_parameters(config) == sum(numbers) == RELEASED[name]


def test_what_auto_means() -> None:
    config = ModelConfig.from_dict(tiny.config(top={"dtype": "float16"}))
    silent = ModelConfig.from_dict(tiny.config())
    assert dtype_on("cuda", "auto", config) == "float16"
    assert dtype_on("cuda", "auto", silent) == "bfloat16"
    assert dtype_on("cpu", "auto", config) == "float32"
    assert dtype_on("cpu", "bfloat16", config) == "bfloat16"
