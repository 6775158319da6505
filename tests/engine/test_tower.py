"""Small pictures through passes with room to spare: as the tower gives them, whatever was there before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny
from saccade.engine.tower import PICTURES, SIZES, SmallTower
from saccade.model.qwen3vl import Qwen3VL
from saccade.types import Grid


@torch.inference_mode()
def test_a_pass_gives_what_the_tower_gives(model: Qwen3VL, rng: np.random.Generator) -> None:
    small = SmallTower(model.visual, stream=None)
    for sizes in ([(4, 6)], [(4, 6)], [(2, 2), (6, 4), (4, 6)], [(8, 8)], [(2, 4)] * PICTURES, [(16, 64)], [(4, 6)]):
        pieces = [tiny.picture(rng, 0, *size) for size in sizes]
        pixels, grids = [torch.from_numpy(piece.pixels) for piece in pieces], [piece.grid for piece in pieces]
        assert small.fits(grids)
        torch.testing.assert_close(small(pixels, grids), model.visual(pixels, grids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("grids", "fits"),
    [
        ([(1, 32, 32)], True),
        ([(1, 32, 34)], False),
        ([(1, 22, 22), (1, 24, 22)], True),
        ([(2, 4, 4)], False),
        ([(1, 2, 2)] * (PICTURES + 1), False),
    ],
)
def test_what_fits(grids: list[Grid], *, fits: bool) -> None:
    assert SmallTower.fits(grids) is fits
    assert SIZES[-1] == 1024
