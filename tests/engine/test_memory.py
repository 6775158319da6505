"""What memory plans count."""

from __future__ import annotations

import copy

import torch

from saccade.engine.memory import activation_bytes
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.vision import VisionBlock


def test_an_mlp_of_the_tower_in_fp32_is_counted_so(model: Qwen3VL) -> None:
    half = copy.deepcopy(model).half()
    before = activation_bytes(half)
    assert 2 * before <= activation_bytes(model) <= 2 * before + 1
    for block in half.visual.blocks:
        assert isinstance(block, VisionBlock)
        block.linear_fc1.float()
        block.linear_fc2.float()
    assert half.dtype == torch.float16
    # For each of 16,384 patches: inner width 48 twice, 2 bytes more; outer width 32 in and out, 4 bytes.
    assert abs(activation_bytes(half) - before - 1.1 * 16384 * (2 * 48 * 2 + 2 * 32 * 4)) < 2
