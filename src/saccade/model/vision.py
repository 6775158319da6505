"""The vision tower: uint8 pictures go in, the rows that stand for them in the prompt come out; knows no text.

    T, H, W  frames and pixels of one picture        t, gh, gw  its grid: frame pairs, patch rows, patch columns
    N   patches of all pictures, packed               M = N / 4  tokens they become
    D   tower width      h heads of width d           E  decoder width      L  DeepStack levels

Patches go in block order (each 4 consecutive rows are one 2x2 block, one token). Attention is full inside one frame
pair and never crosses frame pairs or pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.kernels import Ops
from saccade.model.config import MERGE, PATCH, VisionConfig
from saccade.model.parts import part
from saccade.model.rope import vision_rotary
from saccade.types import Grid

EPS = 1e-6
"""Of every layer norm of the tower; no config file states it."""

AttendPatches: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q, k, v [N, h, d] -> [N, h, d]."""


@dataclass(frozen=True, slots=True, eq=False)
class VisionLayout:
    """Where patches are: everything the tower must know of the grids, as tensors on its device."""

    table_index: Tensor
    """int64 [N, 4]: the four entries of the position table around each patch."""
    table_weight: Tensor
    """fp32 [N, 4]: their bilinear weights."""
    cos: Tensor
    sin: Tensor
    """fp32 [N, d]."""
    cu_seqlens: Tensor
    """int32 [S+1]: where each frame pair begins, and the end."""
    max_seqlen: int
    """Patches of the largest frame pair."""


@dataclass(slots=True, eq=False)
class Encoding:
    """Pictures on their way through the tower, which may be interrupted between any two blocks."""

    x: Tensor
    """[N, D]: what the blocks so far made of the patches."""
    layout: VisionLayout
    levels: list[Tensor] = field(default_factory=list)
    """[M, E] of each DeepStack tap passed."""
    done: int = 0
    """Blocks that x has seen."""


@lru_cache(maxsize=16)
def _grid_layout(
    gh: int, gw: int, side: int, head_dim: int, theta: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """table_index, table_weight, cos and sin of one frame pair of gh x gw patches.

    The side x side table is stretched over the grid so that corners meet corners: patch row i reads the table at
    y = i (side - 1) / (gh - 1). side 48, gh 4: rows at 0, 15.67, 31.33, 47; row 1 mixes table rows 15 and 16 as
    0.33 and 0.67.
    """
    with torch.inference_mode(False):  # cached: serving and training read the same tensors
        i, j = torch.arange(gh), torch.arange(gw)
        (y, dy), (x, dx) = _taps(i, side), _taps(j, side)
        index = y[:, None, :, None] * side + x[None, :, None, :]
        weight = dy[:, None, :, None] * dx[None, :, None, :]
        rows, columns = i[:, None].expand(gh, gw), j[None, :].expand(gh, gw)
        cos, sin = vision_rotary(_blocks(rows), _blocks(columns), head_dim, theta)
        parts = _blocks(index.flatten(2)), _blocks(weight.flatten(2)), cos, sin
        index, weight, cos, sin = (part.to(device) for part in parts)
        return index, weight, cos, sin


def _taps(position: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The two table rows around each of n grid rows and their weights: int64 [n, 2], fp32 [n, 2]."""
    at = position.float() * (side - 1) / max(len(position) - 1, 1)
    low = at.floor()
    part = at - low
    index = torch.stack((low, (low + 1).clamp(max=side - 1)), dim=1).long()
    return index, torch.stack((1 - part, part), dim=1)


def _blocks(x: Tensor) -> Tensor:
    """[gh, gw, ...] -> [gh * gw, ...] in block order: block row, block column, row in block, column in block."""
    gh, gw = x.shape[:2]
    blocks = x.reshape(gh // MERGE, MERGE, gw // MERGE, MERGE, *x.shape[2:])
    return blocks.transpose(1, 2).reshape(gh * gw, *x.shape[2:])


class PatchEmbed(nn.Module):
    """A patch becomes a row: the checkpoint's 3-D convolution, whose stride is its size, is one matrix product."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.hidden_size, 3, 2, PATCH, PATCH))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, rows: Tensor) -> Tensor:
        """rows [N, 1536], or [N, 768] of a still: its two frames are equal, so their weights are added -> [N, D]."""
        weight = self.weight if rows.shape[1] == self.weight[0].numel() else self.weight[:, :, 0] + self.weight[:, :, 1]
        return F.linear(rows, weight.flatten(1), self.bias)


class VisionBlock(nn.Module):
    """Attention and MLP with a layer norm before each, cut in two at the attention itself.

    The MLP may be stored in fp32 while the rest is fp16: its first product exceeds 65504 in released weights.
    """

    def __init__(self, config: VisionConfig, ops: Ops) -> None:
        super().__init__()
        self.ops = ops
        self.num_heads = config.num_heads
        width = config.hidden_size
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.qkv_proj = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.linear_fc1 = nn.Linear(width, config.intermediate_size)
        self.linear_fc2 = nn.Linear(config.intermediate_size, width)

    def qkv(self, x: Tensor, pending: Tensor | None, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x [N, D] and what is still to be added to it (`pending` of the block before, if any), cos and sin fp32
        [N, d] -> (x with that added, q, k, v [N, h, d]); q and k rotated."""
        norm, proj = part(self, "norm1"), part(self, "qkv_proj")
        if pending is None:
            normed = self.ops.layer_norm(x, norm["weight"], norm["bias"], EPS)
        else:
            normed, x = self.ops.add_layer_norm(pending, x, norm["weight"], norm["bias"], EPS)
        return (x, *self.ops.rope_2d(self.ops.linear(normed, proj["weight"], proj["bias"]), cos, sin))

    def finish(self, x: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, D] (the first that qkv gave) and attended [N, h, d] -> (x, pending) [N, D] each, whose sum is the
        block's output: the norm of the next block adds them on its way."""
        proj, norm, fc1, fc2 = (part(self, name) for name in ("proj", "norm2", "linear_fc1", "linear_fc2"))
        more = self.ops.linear(attended.flatten(1), proj["weight"], proj["bias"])
        normed, x = self.ops.add_layer_norm(more, x, norm["weight"], norm["bias"], EPS)
        inner = self.ops.linear_gelu(normed.to(fc1["weight"].dtype), fc1["weight"], fc1["bias"])
        return x, self.ops.linear(inner, fc2["weight"], fc2["bias"]).to(x.dtype)


class Merger(nn.Module):
    """Four patches of a block become one token row. The norm runs over each patch, in DeepStack over all four.

    The four mergers of a tower are no grouped product: their inputs come up at different depths, and holding three of
    them until the end (3 N D) makes the last slice of a picture the longest one. One merger of a 1024 x 1024 picture
    fills a GPU by itself (first product 1024 x 4096 x 4096); a group would save about half a wave in the second.
    """

    def __init__(self, config: VisionConfig, ops: Ops, *, norm_after: bool) -> None:
        super().__init__()
        self.ops = ops
        self.norm_after = norm_after
        self.inner = config.hidden_size * MERGE**2
        self.norm = nn.LayerNorm(self.inner if norm_after else config.hidden_size, eps=EPS)
        self.linear_fc1 = nn.Linear(self.inner, self.inner)
        self.linear_fc2 = nn.Linear(self.inner, config.out_hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, D] -> [M, E]."""
        if self.norm_after:
            x = x.view(-1, self.inner)
        x = self.ops.layer_norm(x, self.norm.weight, self.norm.bias, EPS).view(-1, self.inner)
        inner = self.ops.gelu_erf(self.ops.linear(x, self.linear_fc1.weight, self.linear_fc1.bias))
        return self.ops.linear(inner, self.linear_fc2.weight, self.linear_fc2.bias)


class VisionTower(nn.Module):
    """Pictures to prompt rows; the pieces are public because training runs them one by one."""

    def __init__(self, config: VisionConfig, ops: Ops) -> None:
        super().__init__()
        self.config = config
        self.ops = ops
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Embedding(config.num_position_embeddings, config.hidden_size)
        self.blocks = nn.ModuleList(VisionBlock(config, ops) for _ in range(config.depth))
        self.merger = Merger(config, ops, norm_after=False)
        self.deepstack_mergers = nn.ModuleList(
            Merger(config, ops, norm_after=True) for _ in config.deepstack_visual_indexes
        )

    def embed(self, rows: Tensor) -> Tensor:
        """Patch rows [N, 768 or 1536] -> [N, D]."""
        out: Tensor = self.patch_embed(rows)
        return out

    def layout(self, grids: Sequence[Grid], device: torch.device | str) -> VisionLayout:
        """Positions of every patch of these pictures, in order. Made from ints on the host and remembered per grid."""
        config, device = self.config, torch.device(device)
        parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        bounds = [0]
        for t, gh, gw in grids:
            part = _grid_layout(gh, gw, config.grid_side, config.head_dim, config.rope_theta, device)
            parts += [part] * t
            bounds += [bounds[-1] + (k + 1) * gh * gw for k in range(t)]
        index, weight, cos, sin = parts[0] if len(parts) == 1 else (torch.cat(x) for x in zip(*parts, strict=True))
        cu_seqlens = torch.tensor(bounds, dtype=torch.int32).to(device, non_blocking=True)
        return VisionLayout(index, weight, cos, sin, cu_seqlens, max(gh * gw for _, gh, gw in grids))

    def place(self, x: Tensor, layout: VisionLayout) -> Tensor:
        """x [N, D] plus the position table read between its entries; summed in fp32, rounded once."""
        return self.ops.place_rows(x, self.pos_embed.weight, layout.table_index, layout.table_weight)

    def encode(self, x: Tensor, cos: Tensor, sin: Tensor, attend: AttendPatches) -> Tensor:
        """x [N, D] with positions -> [1+L, M, E]: the pooled rows, then one level for each DeepStack tap."""
        levels: list[Tensor] = []
        x = self._run(x, cos, sin, attend, levels, 0, self.config.depth)
        return torch.stack([self.merger(x), *levels])

    def begin(self, pixels: Sequence[Tensor], grids: Sequence[Grid]) -> Encoding:
        """Pictures in front of the first block: pixels uint8 [T, H, W, 3] each, on the tower's device, with grids
        (t, H/16, W/16). A still has T = 1; a video has T = 2t frames."""
        dtype = self.patch_embed.bias.dtype
        x = torch.cat([self.embed(self.ops.patch_rows(picture, dtype)) for picture in pixels])
        layout = self.layout(grids, x.device)
        assert x.shape[0] == layout.cos.shape[0], f"{x.shape[0]} patches for grids {list(grids)}"
        return Encoding(self.place(x, layout), layout)

    def encode_slice(self, encoding: Encoding, last: int) -> None:
        """Blocks up to `last`, itself not included, from where the encoding stands; attention stays inside a frame
        pair."""
        layout = encoding.layout

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return self.ops.segment_attention(q, k, v, layout.cu_seqlens, layout.max_seqlen)

        encoding.x = self._run(encoding.x, layout.cos, layout.sin, attend, encoding.levels, encoding.done, last)
        encoding.done = last

    def finish(self, encoding: Encoding) -> Tensor:
        """[1+L, M, E] of an encoding that all blocks have seen."""
        assert encoding.done == self.config.depth, f"{encoding.done} of {self.config.depth} blocks are done"
        return torch.stack([self.merger(encoding.x), *encoding.levels])

    def forward(self, pixels: Sequence[Tensor], grids: Sequence[Grid]) -> Tensor:
        """`begin`, all blocks and `finish` at once -> [1+L, M, E]."""
        encoding = self.begin(pixels, grids)
        self.encode_slice(encoding, self.config.depth)
        return self.finish(encoding)

    def _run(
        self, x: Tensor, cos: Tensor, sin: Tensor, attend: AttendPatches, levels: list[Tensor], first: int, last: int
    ) -> Tensor:
        """Blocks [first, last) over x [N, D]; what DeepStack taps on the way is appended to `levels`."""
        taps = self.config.deepstack_visual_indexes
        pending: Tensor | None = None
        for i in range(first, last):
            block = self.blocks[i]
            assert isinstance(block, VisionBlock)
            x, q, k, v = block.qkv(x, pending, cos, sin)
            x, pending = block.finish(x, attend(q, k, v))
            if i in taps:
                x, pending = x + pending, None
                levels.append(self.deepstack_mergers[len(levels)](x))
        return x if pending is None else x + pending
