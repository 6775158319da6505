"""Rotary tables against golden values of the reference and against ordinary rotary embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from saccade.model.rope import decoder_rotary, frequencies, pair_axes, vision_rotary

SECTION = (24, 20, 20)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads((shared / "qwen3-vl" / "golden" / "reference_vectors.json").read_text())
    return vectors


def test_the_axes_are_dealt_out_as_in_the_reference(golden: dict[str, Any]) -> None:
    assert "".join("THW"[axis] for axis in pair_axes(SECTION, CPU).tolist()) == golden["mrope_axis_of_freq_pair"]


def test_cosines_and_sines_equal_the_reference(golden: dict[str, Any]) -> None:
    example = golden["mrope_cos_sin_example"]
    positions = torch.tensor(example["position_thw"])[:, None]
    cos, sin = decoder_rotary(positions, SECTION, 5e6, torch.float32)
    assert cos.shape == sin.shape == (1, 128)
    for table, name in ((cos[0], "cos"), (sin[0], "sin")):
        torch.testing.assert_close(table[:8], torch.tensor(example[f"{name}_first8"]), rtol=0, atol=1e-6)
        torch.testing.assert_close(table[60:64], torch.tensor(example[f"{name}_60_64"]), rtol=1e-5, atol=0)
        assert torch.equal(table[:64], table[64:])


def test_text_gets_ordinary_rotary_embedding() -> None:
    positions = torch.arange(50)
    cos, sin = decoder_rotary(positions.expand(3, 50), SECTION, 1e4, torch.float32)
    angle = positions[:, None] * frequencies(64, 1e4, CPU)
    torch.testing.assert_close(cos[:, :64], angle.cos())
    torch.testing.assert_close(sin[:, 64:], angle.sin())


def test_tables_are_made_in_fp32_and_rounded_once() -> None:
    positions = torch.tensor([[100_000], [99_991], [7]])
    exact = decoder_rotary(positions, SECTION, 5e6, torch.float32)
    rounded = decoder_rotary(positions, SECTION, 5e6, torch.bfloat16)
    for a, b in zip(exact, rounded, strict=True):
        assert torch.equal(a.bfloat16(), b)


def test_vision_turns_by_row_then_by_column() -> None:
    rows, columns = torch.tensor([0, 3, 0]), torch.tensor([0, 0, 5])
    cos, sin = vision_rotary(rows, columns, 72, 1e4)
    steps = frequencies(18, 1e4, CPU)
    assert cos.shape == (3, 72)
    assert torch.equal(cos[0], torch.ones(72))
    torch.testing.assert_close(sin[1], torch.cat(((3 * steps).sin(), torch.zeros(18))).repeat(2))
    torch.testing.assert_close(sin[2], torch.cat((torch.zeros(18), (5 * steps).sin())).repeat(2))


def test_cached_tables_made_while_serving_can_be_trained_through() -> None:
    frequencies.cache_clear()
    with torch.inference_mode():
        steps = frequencies(8, 123.0, CPU)
    weight = torch.ones(8, requires_grad=True)
    (weight * steps).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, steps)
