# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""What the vision tower asks for, in Triton: attention inside segments, rotation, patch rows, places in the grid.

N patches     E width     H heads of width d (64 or 72)     S segments (frame pairs)
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2E = 1.4426950408889634
NOTHING = tl.constexpr(-1e30)


@dataclass(frozen=True, slots=True)
class Tile:
    """How attention is cut: what a benchmark varies."""

    rows: int = 128
    keys: int = 64
    warps: int = 8
    stages: int = 3


TILE = Tile()


@triton.jit
def _segment(
    q, k, v, cu_seqlens, out, scale, q_stride, k_stride, v_stride,
    HEADS: tl.constexpr, D: tl.constexpr, WIDE: tl.constexpr, REST: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Heads of D = WIDE + a rest kept in REST columns (0: none), so that 72 is 64 + 16 and not 128."""
    s, head, tile = tl.program_id(2), tl.program_id(1), tl.program_id(0)
    begin = tl.load(cu_seqlens + s)
    end = tl.load(cu_seqlens + s + 1)
    first = begin + tile * ROWS
    if first < end:
        d = tl.arange(0, WIDE)
        row = (first + tl.arange(0, ROWS)).to(tl.int64)
        real = (row < end)[:, None]
        q1 = tl.load(q + row[:, None] * q_stride + head * D + d[None, :], mask=real, other=0.0)
        acc = tl.zeros([ROWS, WIDE], tl.float32)
        if REST > 0:
            r = WIDE + tl.arange(0, REST)
            in_head = (r < D)[None, :]
            q2 = tl.load(q + row[:, None] * q_stride + head * D + r[None, :], mask=real & in_head, other=0.0)
            acc2 = tl.zeros([ROWS, REST], tl.float32)
        high = tl.full([ROWS], NOTHING, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        for at in tl.range(begin, end, KEYS, num_stages=STAGES):
            key = (at + tl.arange(0, KEYS)).to(tl.int64)
            there = key < end
            k_at = k + key[:, None] * k_stride + head * D
            v_at = v + key[:, None] * v_stride + head * D
            score = tl.dot(q1, tl.trans(tl.load(k_at + d[None, :], mask=there[:, None], other=0.0)))
            if REST > 0:
                k2 = tl.load(k_at + r[None, :], mask=there[:, None] & in_head, other=0.0)
                score = tl.dot(q2, tl.trans(k2), score)
            score = tl.where(there[None, :], score, NOTHING)
            higher = tl.maximum(high, tl.max(score, 1))
            weight = tl.exp2(score * scale - (higher * scale)[:, None])
            fade = tl.exp2((high - higher) * scale)
            total = total * fade + tl.sum(weight, 1)
            weight = weight.to(q1.dtype)
            acc = tl.dot(weight, tl.load(v_at + d[None, :], mask=there[:, None], other=0.0), acc * fade[:, None])
            if REST > 0:
                v2 = tl.load(v_at + r[None, :], mask=there[:, None] & in_head, other=0.0)
                acc2 = tl.dot(weight, v2, acc2 * fade[:, None])
            high = higher
        place = out + (row * HEADS + head)[:, None] * D
        tl.store(place + d[None, :], (acc / total[:, None]).to(out.dtype.element_ty), mask=real)
        if REST > 0:
            tl.store(place + r[None, :], (acc2 / total[:, None]).to(out.dtype.element_ty), mask=real & in_head)


def segment_attention(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int, *, tile: Tile = TILE
) -> Tensor:
    """See `reference.segment_attention`; q, k, v may be slices of wider rows.

    Operations: 4 H d n^2 a segment of n patches; 4,096 patches, 16 heads of 64: 68.7 GFLOP, 86 us at 800 TFLOP/s
    (measured before: SDPA with cuDNN 166 us, flash 244 us); heads of 72: 77.3 GFLOP, 97 us.
    """
    num_rows, num_heads, width = q.shape
    wide = 1 << width.bit_length() - 1
    rest = 0 if wide == width else max(16, triton.next_power_of_2(width - wide))
    for tensor in (q, k, v):
        assert tensor.stride()[1:] == (width, 1), "heads must lie side by side"
    out = torch.empty(num_rows, num_heads, width, dtype=q.dtype, device=q.device)
    _segment[triton.cdiv(max_seqlen, tile.rows), num_heads, len(cu_seqlens) - 1](
        q, k, v, cu_seqlens, out, width**-0.5 * LOG2E, q.stride(0), k.stride(0), v.stride(0), num_heads, width, wide,
        rest, tile.rows, tile.keys, tile.stages, num_warps=tile.warps,
    )  # fmt: skip
    return out


@triton.jit
def _rotate(x, cos, sin, out, x_stride, H: tl.constexpr, D: tl.constexpr, HEADS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    head, half = tl.arange(0, HEADS)[:, None], tl.arange(0, BLOCK)
    inside = half < D // 2
    mask = (head < H) & inside[None, :]
    at = x + row * x_stride + head * D + half[None, :]
    x1 = tl.load(at, mask=mask, other=0.0)
    x2 = tl.load(at + D // 2, mask=mask, other=0.0).to(tl.float32)
    turn = row * D + half
    c1, s1 = tl.load(cos + turn, mask=inside)[None, :], tl.load(sin + turn, mask=inside)[None, :]
    c2, s2 = tl.load(cos + turn + D // 2, mask=inside)[None, :], tl.load(sin + turn + D // 2, mask=inside)[None, :]
    place = out + row * H * D + head * D + half[None, :]
    tl.store(place, (x1.to(tl.float32) * c1 - x2 * s1).to(x1.dtype), mask=mask)
    tl.store(place + D // 2, (x2 * c2 + x1.to(tl.float32) * s2).to(x1.dtype), mask=mask)


def rope_2d(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """See `reference.rope_2d`; q and k may be slices of wider rows.

    Bytes: 8 N H d + 8 N d; 4,096 patches, H d = 1024: 35.7 MB, 8.3 us; H d = 1152: 40.1 MB, 9.3 us.
    """
    assert cos.is_contiguous(), "tables must be in one piece"
    assert sin.is_contiguous(), "tables must be in one piece"
    turned = []
    for x in (q, k):
        n, heads, width = x.shape
        assert x.stride()[1:] == (width, 1), "heads must lie side by side"
        out = torch.empty(n, heads, width, dtype=x.dtype, device=x.device)
        many, block = triton.next_power_of_2(heads), triton.next_power_of_2(width // 2)
        _rotate[(n,)](x, cos, sin, out, x.stride(0), heads, width, many, block, num_warps=2)
        turned.append(out)
    return turned[0], turned[1]


@triton.jit
def _patches(
    pixels, out, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr, SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One row of patches: pair, block row, block column, row and column inside the block of 2 x 2 patches."""
    i = tl.program_id(0)
    inside, block = i % 4, i // 4
    across: tl.constexpr = WIDTH // 32
    down: tl.constexpr = HEIGHT // 32
    pair = block // (across * down)
    top = (block // across % down * 2 + inside // 2) * 16
    left = (block % across * 2 + inside % 2) * 16
    at = tl.arange(0, BLOCK)
    channel, frame, y, x = at // (DEPTH * 256), at // 256 % DEPTH, at // 16 % 16, at % 16
    frame = (pair * DEPTH + frame).to(tl.int64)
    source = pixels + ((frame * HEIGHT + top + y) * WIDTH + left + x) * 3 + channel
    value = tl.load(source, mask=at < SIZE, other=0).to(tl.float32)
    tl.store(out + i.to(tl.int64) * SIZE + at, ((value - 127.5) / 127.5).to(out.dtype.element_ty), mask=at < SIZE)


def patch_rows(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """See `reference.patch_rows`. Bytes of a still: 3 H W read, 6 H W written in bf16; 1024 x 1024: 9.4 MB, 2.2 us."""
    frames, height, width, _ = pixels.shape
    assert pixels.is_contiguous(), "pixels must be in one piece"
    depth = 1 if frames == 1 else 2
    size = 768 * depth
    rows = frames // depth * (height // 16) * (width // 16)
    out = torch.empty(rows, size, dtype=dtype, device=pixels.device)
    _patches[(rows,)](pixels, out, height, width, depth, size, triton.next_power_of_2(size), num_warps=4)
    return out


@triton.jit
def _place(x, table, index, weight, out, E: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    mask = at < E
    place = tl.zeros([BLOCK], tl.float32)
    for corner in tl.static_range(4):
        entry = tl.load(index + row * 4 + corner)
        share = tl.load(weight + row * 4 + corner)
        place += share * tl.load(table + entry * E + at, mask=mask, other=0.0).to(tl.float32)
    rows = tl.load(x + row * E + at, mask=mask, other=0.0)
    value = rows.to(tl.float32) + place.to(rows.dtype).to(tl.float32)
    tl.store(out + row * E + at, value.to(rows.dtype), mask=mask)


def place_rows(x: Tensor, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """See `fused.place_rows`. Bytes: 4 N E in bf16 (the table stays in L2); 4,096 rows of 1024: 16.8 MB, 3.9 us."""
    for tensor in (x, table, index, weight):
        assert tensor.is_contiguous(), "every tensor must be in one piece"
    out = torch.empty_like(x)
    _place[(len(x),)](x, table, index, weight, out, x.shape[1], triton.next_power_of_2(x.shape[1]), num_warps=4)
    return out
