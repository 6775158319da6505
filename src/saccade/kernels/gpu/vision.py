# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""What the vision tower asks for, in Triton: attention inside segments, rotation, patch rows, places in the grid.

N patches     E width     H heads of width d (64 or 72)     S segments (frame pairs)
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from saccade.kernels.gpu.launch import has_descriptors, kernel
from saccade.kernels.gpu.tickets import power_of_2

LOG2E = 1.4426950408889634
NOTHING = tl.constexpr(-1e30)


@dataclass(frozen=True, slots=True)
class Tile:
    """How attention is cut: what a benchmark varies."""

    rows: int = 128
    keys: int = 64
    warps: int = 8
    stages: int = 3
    described: bool = False
    """Keys and values through tensor descriptors: a chip that has them (Hopper) copies tiles without its threads."""


TILE = Tile()
HOPPER = Tile(rows=64, keys=128, warps=4, described=True)
"""4,096 patches of 16 heads of 64: 158 us instead of 170, 8,160: 667 instead of 681, 1,024: 14 instead of 17."""
RAGGED = Tile(warps=4)
"""For heads with a rest (72), which need more registers: 223 us instead of 318 at 4,096 patches."""
EXACT = Tile(rows=32, keys=32, warps=4, stages=1)
"""In fp32, where products go without tensor cores."""


@triton.jit
def _tile(x, at, last, head, stride, D: tl.constexpr, WIDE: tl.constexpr, KEYS: tl.constexpr, MASKED: tl.constexpr,
          DESCRIBED: tl.constexpr):  # fmt: skip
    """Columns 0 .. WIDE of one head in KEYS rows from `at` on [KEYS, WIDE]; with MASKED 0 from row `last` on."""
    there = ((at + tl.arange(0, KEYS)) < last)[:, None]
    if DESCRIBED:
        tile = x.load([at, head * D])
        if MASKED:
            tile = tl.where(there, tile, 0.0)  # rows of another picture, whatever they hold
    else:
        row = (at + tl.arange(0, KEYS)).to(tl.int64)
        place = x + row[:, None] * stride + head * D + tl.arange(0, WIDE)[None, :]
        tile = tl.load(place, mask=there, other=0.0) if MASKED else tl.load(place)
    return tile


@triton.jit
def _keys(
    q1, q2, k, v, acc, acc2, high, total, start, end, last, scale, head, k_stride, v_stride,
    D: tl.constexpr, WIDE: tl.constexpr, REST: tl.constexpr, KEYS: tl.constexpr, STAGES: tl.constexpr,
    MASKED: tl.constexpr, DESCRIBED: tl.constexpr,
):  # fmt: skip
    """Online softmax over keys start .. end, added to what came before; without MASKED they are whole tiles. Keys from
    `last` on are not there."""
    for at in tl.range(start, end, KEYS, num_stages=STAGES):
        key = (at + tl.arange(0, KEYS)).to(tl.int64)
        there = (key < last)[:, None]
        k1 = _tile(k, at, last, head, k_stride, D, WIDE, KEYS, MASKED, DESCRIBED)
        score = tl.dot(q1, tl.trans(k1), input_precision="ieee")
        if REST > 0:
            r = WIDE + tl.arange(0, REST)
            in_head = (r < D)[None, :] & there
            k2 = tl.load(k + key[:, None] * k_stride + head * D + r[None, :], mask=in_head, other=0.0)
            score = tl.dot(q2, tl.trans(k2), score, input_precision="ieee")
        if MASKED:
            score = tl.where((key < last)[None, :], score, NOTHING)
        higher = tl.maximum(high, tl.max(score, 1))
        weight = tl.exp2(score * scale - (higher * scale)[:, None])
        fade = tl.exp2((high - higher) * scale)
        total = total * fade + tl.sum(weight, 1)
        weight = weight.to(q1.dtype)
        v1 = _tile(v, at, last, head, v_stride, D, WIDE, KEYS, MASKED, DESCRIBED)
        acc = tl.dot(weight, v1, acc * fade[:, None], input_precision="ieee")
        if REST > 0:
            v2 = tl.load(v + key[:, None] * v_stride + head * D + r[None, :], mask=in_head, other=0.0)
            acc2 = tl.dot(weight, v2, acc2 * fade[:, None], input_precision="ieee")
        high = higher
    return acc, acc2, high, total


@kernel()
def _segment(
    q, k, v, cu_seqlens, out, scale, q_stride, k_stride, v_stride,
    HEADS: tl.constexpr, D: tl.constexpr, WIDE: tl.constexpr, REST: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, STAGES: tl.constexpr, DESCRIBED: tl.constexpr,
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
        acc2, q2 = acc, q1
        if REST > 0:
            r = WIDE + tl.arange(0, REST)
            in_head = (r < D)[None, :]
            q2 = tl.load(q + row[:, None] * q_stride + head * D + r[None, :], mask=real & in_head, other=0.0)
            acc2 = tl.zeros([ROWS, REST], tl.float32)
        high = tl.full([ROWS], NOTHING, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        whole = begin + (end - begin) // KEYS * KEYS
        acc, acc2, high, total = _keys(
            q1, q2, k, v, acc, acc2, high, total, begin, whole, end, scale, head, k_stride, v_stride,
            D, WIDE, REST, KEYS, STAGES, False, DESCRIBED,
        )  # fmt: skip
        acc, acc2, high, total = _keys(
            q1, q2, k, v, acc, acc2, high, total, whole, end, end, scale, head, k_stride, v_stride,
            D, WIDE, REST, KEYS, STAGES, True, DESCRIBED,
        )  # fmt: skip
        place = out + (row * HEADS + head)[:, None] * D
        tl.store(place + d[None, :], (acc / total[:, None]).to(out.dtype.element_ty), mask=real)
        if REST > 0:
            tl.store(place + r[None, :], (acc2 / total[:, None]).to(out.dtype.element_ty), mask=real & in_head)


def segment_attention(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int, *, tile: Tile | None = None
) -> Tensor:
    """See `reference.segment_attention`; q, k, v may be slices of wider rows, their heads side by side.

    torch's cuDNN kernel is a little faster (bf16, 4,096 patches of 16 heads: 150 us instead of 158 at 64, 217 instead
    of 223 at 72), but plans for 70 ms at each picture size that it has not seen, while everything waits. Operations:
    4 H d n^2 a segment of n patches; 4,096 patches, 16 heads of 64: 68.7 GFLOP, 86 us at 800 TFLOP/s; heads of 72:
    77.3 GFLOP, 97 us.
    """
    num_rows, num_heads, width = q.shape
    num_segments = len(cu_seqlens) - 1
    wide = 1 << width.bit_length() - 1
    rest = 0 if wide == width else max(16, power_of_2(width - wide))
    whole = HOPPER if has_descriptors(q.device) else TILE
    tile = tile or (EXACT if q.dtype == torch.float32 else RAGGED if rest else whole)
    out = q.new_empty(num_rows, num_heads, width)
    seen: list[Tensor | TensorDescriptor] = [k, v]
    if tile.described:
        shape, block = [num_rows, num_heads * width], [tile.keys, width]
        seen = [TensorDescriptor(x, shape, [x.stride(0), 1], block) for x in (k, v)]
    _segment(
        (-(-max_seqlen // tile.rows), num_heads, num_segments),
        (q, *seen, cu_seqlens, out),
        (width**-0.5 * LOG2E, q.stride(0), k.stride(0), v.stride(0)),
        (num_heads, width, wide, rest, tile.rows, tile.keys, tile.stages, tile.described),
        warps=tile.warps,
    )
    return out


@kernel()
def _rotate(qkv, cos, sin, stride, H: tl.constexpr, D: tl.constexpr, HEADS: tl.constexpr, BLOCK: tl.constexpr):
    """Heads 0 .. H-1 of a row, where they are: queries and keys."""
    row = tl.program_id(0).to(tl.int64)
    head, half = tl.arange(0, HEADS)[:, None], tl.arange(0, BLOCK)
    inside = half < D // 2
    mask = (head < H) & inside[None, :]
    at = qkv + row * stride + head * D + half[None, :]
    x1 = tl.load(at, mask=mask, other=0.0)
    x2 = tl.load(at + D // 2, mask=mask, other=0.0).to(tl.float32)
    turn = row * D + half
    c1, s1 = tl.load(cos + turn, mask=inside)[None, :], tl.load(sin + turn, mask=inside)[None, :]
    c2, s2 = tl.load(cos + turn + D // 2, mask=inside)[None, :], tl.load(sin + turn + D // 2, mask=inside)[None, :]
    tl.store(at, (x1.to(tl.float32) * c1 - x2 * s1).to(x1.dtype), mask=mask)
    tl.store(at + D // 2, (x2 * c2 + x1.to(tl.float32) * s2).to(x1.dtype), mask=mask)


def rope_2d(qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `reference.rope_2d`; q, k and v are views of qkv, whose queries and keys are overwritten.

    Bytes: 8 N H d + 8 N d; 4,096 patches, H d = 1024: 35.7 MB, 8.3 us; H d = 1152: 40.1 MB, 9.3 us.
    """
    assert qkv.is_contiguous(), "the rows must be in one piece"
    n, width = len(qkv), cos.shape[1]
    heads = qkv.shape[1] // 3 // width
    constants = (2 * heads, width, power_of_2(2 * heads), power_of_2(width // 2))
    _rotate((n, 1, 1), (qkv, cos, sin), (qkv.shape[1],), constants)
    q, k, v = qkv.view(n, 3, heads, width).unbind(1)
    return q, k, v


@kernel("height", "width")
def _patches(pixels, out, height, width, DEPTH: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """One row of patches: pair, block row, block column, row and column inside the block of 2 x 2 patches."""
    i = tl.program_id(0)
    inside, block = i % 4, i // 4
    across, down = width // 32, height // 32
    pair = block // (across * down)
    top = (block // across % down * 2 + inside // 2) * 16
    left = (block % across * 2 + inside % 2) * 16
    at = tl.arange(0, BLOCK)
    channel, frame, y, x = at // (DEPTH * 256), at // 256 % DEPTH, at // 16 % 16, at % 16
    frame = (pair * DEPTH + frame).to(tl.int64)
    source = pixels + ((frame * height + top + y) * width + left + x) * 3 + channel
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
    _patches((rows, 1, 1), (pixels, out), (), (depth, size, power_of_2(size)), varying=(height, width))
    return out


@kernel()
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
    assert x.is_contiguous(), "the rows must be in one piece"
    out = torch.empty_like(x)
    _place((len(x), 1, 1), (x, table, index, weight, out), (), (x.shape[1], power_of_2(x.shape[1])))
    return out
