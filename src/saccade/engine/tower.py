"""The vision tower for small pictures, whose launches take longer than their work: passes over a few numbers of patches
are captured at the start and replayed. Pixels come in, features go out; knows no keys and no plans."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from saccade.model.config import PATCH
from saccade.model.vision import Encoding, VisionLayout, VisionTower
from saccade.types import Grid

SIZES = (64, 128, 256, 512, 768, 1024)
"""Patches of a captured pass. Above, what the device computes takes longer than what the host launches."""
PICTURES = 8
"""Of one pass at most; what is over of its patches is one picture more, which nobody reads."""


class SmallTower:
    """Whole passes over stills of together at most SIZES[-1] patches.

    All passes read the same inputs, N = SIZES[-1]: patch rows [N, 768] and the fields of a `VisionLayout`.
    """

    def __init__(self, tower: VisionTower, *, stream: torch.cuda.Stream | None) -> None:
        """`stream`: where passes are captured, and where they will be replayed; None: they run as they are."""
        self._tower = tower
        most, dtype = SIZES[-1], tower.patch_embed.bias.dtype
        self._rows = torch.zeros(most, 3 * PATCH * PATCH, dtype=dtype, device=tower.patch_embed.bias.device)
        layout = tower.layout([(1, 2, most // 2)], self._rows.device)
        fields = (layout.table_index, layout.table_weight, layout.cos, layout.sin)
        self._fields = tuple(field.clone() for field in fields)
        self._bounds = torch.zeros(PICTURES + 2, dtype=torch.int32, device=self._rows.device)
        self._grids: tuple[Grid, ...] = ()
        """What fields and bounds hold."""
        self._captured: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        if stream:
            self._capture(stream)

    @staticmethod
    def fits(grids: Sequence[Grid]) -> bool:
        """Whether pictures with these grids (t, H/16, W/16) can go through together; videos cannot."""
        few = len(grids) <= PICTURES and all(t == 1 for t, _, _ in grids)
        return few and sum(height * width for _, height, width in grids) <= SIZES[-1]

    def __call__(self, pixels: Sequence[Tensor], grids: Sequence[Grid]) -> Tensor:
        """uint8 [1, H, W, 3] each, on the tower's device -> features [1+L, M, E], as the tower gives them."""
        patches = torch.cat([self._tower.ops.patch_rows(picture, self._rows.dtype) for picture in pixels])
        count = len(patches)
        size = SIZES[bisect_left(SIZES, count)]
        self._rows[:count].copy_(patches)
        self._place(tuple(grids), size)
        if size in self._captured:
            graph, out = self._captured[size]
            graph.replay()
        else:
            out = self._pass(size)
        return out[:, : count // 4].clone()

    def _place(self, grids: tuple[Grid, ...], size: int) -> None:
        if grids == self._grids:
            return
        self._grids = ()  # until all is written
        layout = self._tower.layout(grids, self._rows.device)
        fields = (layout.table_index, layout.table_weight, layout.cos, layout.sin)
        for mine, theirs in zip(self._fields, fields, strict=True):
            mine[: len(theirs)].copy_(theirs)
        known = len(grids) + 1
        self._bounds[:known].copy_(layout.cu_seqlens)
        self._bounds[known:-1].copy_(layout.cu_seqlens[-1:].expand(PICTURES + 1 - known))
        self._bounds[-1:].fill_(size)
        self._grids = grids

    def _pass(self, size: int) -> Tensor:
        index, weight, cos, sin = (field[:size] for field in self._fields)
        layout = VisionLayout(index, weight, cos, sin, self._bounds, size)
        encoding = Encoding(self._tower.place(self._tower.embed(self._rows[:size]), layout), layout)
        self._tower.encode_slice(encoding, self._tower.config.depth)
        return self._tower.finish(encoding)

    def _capture(self, stream: torch.cuda.Stream) -> None:
        pool: Any = torch.cuda.graph_pool_handle()
        for size in reversed(SIZES):  # the largest first, so that the others live in its memory
            self._bounds[-1:].fill_(size)
            stream.wait_stream(torch.cuda.current_stream(self._rows.device))
            with torch.cuda.stream(stream):
                self._pass(size)  # kernels are loaded, libraries take their workspaces
            torch.cuda.current_stream(self._rows.device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                out = self._pass(size)
            self._captured[size] = graph, out
