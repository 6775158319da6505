"""Positions become the cosines and sines that turn queries and keys; knows no weights.

Decoder: three positions per token (time, height, width) share the D/2 angle pairs of a head, dealt out in turn:

    pair   0 1 2 3 4 5 ... 57 58 59 60 61 62 63         D = 128, mrope_section (24, 20, 20)
    axis   T H W T H W ...  T  H  W  T  T  T  T         24 T, 20 H, 20 W
    angle  position[axis] * theta^(-2 pair / D)

Pair j turns elements j and j + D/2 of a head. A text token at position p has (p, p, p): ordinary rotary embedding.

Vision: two positions per patch (row, column) with d/4 frequencies each, theta^(-2k / (d/2)): the first d/4 pairs
follow the row, the second d/4 the column; pair j turns elements j and j + d/2.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=16)
def frequencies(count: int, theta: float, device: torch.device) -> Tensor:
    """theta^(-k / count) for k = 0 .. count-1 as fp32 [count]: the angle steps of `count` pairs."""
    with torch.inference_mode(False):  # made once, used by serving and by training alike
        exponent = torch.arange(0, 2 * count, 2, dtype=torch.float32) / (2 * count)
        return (1.0 / theta**exponent).to(device)


@lru_cache(maxsize=16)
def pair_axes(section: tuple[int, int, int], device: torch.device) -> Tensor:
    """Which position (0 time, 1 height, 2 width) each angle pair follows: int64 [sum(section)]."""
    axes = [0] * sum(section)
    for axis in (1, 2):
        for pair in range(axis, 3 * section[axis], 3):
            axes[pair] = axis
    with torch.inference_mode(False):
        return torch.tensor(axes, device=device)


def decoder_rotary(
    positions: Tensor, section: tuple[int, int, int], theta: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """positions int64 [3, N] -> (cos, sin) [N, D], computed in fp32 and rounded to dtype."""
    steps = frequencies(sum(section), theta, positions.device)
    angles = positions[pair_axes(section, positions.device)].t() * steps
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def vision_rotary(rows: Tensor, columns: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Patch rows and columns int64 [N] -> (cos, sin) fp32 [N, d]."""
    steps = frequencies(head_dim // 4, theta, rows.device)
    angles = torch.cat((rows[:, None] * steps, columns[:, None] * steps), dim=-1)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()
