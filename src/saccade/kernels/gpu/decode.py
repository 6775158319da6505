# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""A step of nothing but decoding rows, from raw queries, keys and values to attended rows, in one Triton kernel.

    S sequences of one row each     Hq, Hk query and key heads     group = Hq / Hk     D head width, a power of 2

Each program norms and rotates the queries of one key head, and sees its part of the keys that are stored. The one whose
part the new key falls into norms, rotates and stores that key and its value, and sees them where they are: nothing of
this step is read from the cache, so no other kernel has to come before.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from saccade.kernels.batch import AttentionBatch
from saccade.kernels.gpu.attention import EXACT, LOG2E, NOTHING, Tile, decode_tile, num_parts, see, tell
from saccade.kernels.gpu.launch import kernel
from saccade.kernels.gpu.tickets import COUNT, tickets


@triton.jit
def _turned(x, weight, cos, sin, mask, eps, D: tl.constexpr):
    """Heads that begin at the pointers x [R, 1], normed and rotated [R, D]; rounded where `_norm_rope_store` does."""
    d = tl.arange(0, D)[None, :]
    other = (d + D // 2) % D
    mine, theirs = tl.load(x + d, mask=mask, other=0.0), tl.load(x + other, mask=mask, other=0.0)
    wide = mine.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, 1) / D + eps)[:, None]
    wide = (wide * scale).to(mine.dtype).to(tl.float32) * tl.load(weight + d).to(tl.float32)
    partner = (theirs.to(tl.float32) * scale).to(mine.dtype).to(tl.float32) * tl.load(weight + other).to(tl.float32)
    turn = tl.where(d < D // 2, -partner, partner) * tl.load(sin + d).to(tl.float32)
    return (wide * tl.load(cos + d).to(tl.float32) + turn).to(mine.dtype)


@kernel("table_stride")
def _decode_rows(
    qkv, q_weight, k_weight, cos, sin, k_cache, v_cache, slots, tables, lengths, out, partial, marks, tickets, scale,
    eps, stride, table_stride, D: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr, PARTS: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """100 keys, the new one included, in 4 parts of 32: the last part sees keys 96 .. 98, and 99 as it is."""
    s, kv_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + s)
    span = tl.cdiv(tl.cdiv(length, PARTS), KEYS) * KEYS
    start = part * span
    end = tl.minimum(start + span, length - 1)
    at, angle = qkv + s.to(tl.int64) * stride, s.to(tl.int64) * D
    i = tl.arange(0, ROWS)[:, None]
    rows = _turned(at + (kv_head * GROUP + i) * D, q_weight, cos + angle, sin + angle, i < GROUP, eps, D)
    last = tl.zeros([ROWS], tl.int32) + length
    acc = tl.zeros([ROWS, D], tl.float32)
    high = tl.full([ROWS], NOTHING, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc, high, total = see(
        rows, acc, high, total, k_cache, v_cache, tables + s.to(tl.int64) * table_stride, kv_head * D, last, start,
        end, scale, HEADS // GROUP * D, D, KEYS, BLOCK_SIZE, STAGES, True, False,
    )  # fmt: skip
    if (start < length) & (length <= start + span):
        d = tl.arange(0, D)[None, :]
        one = tl.zeros([1, 1], tl.int32)
        k = _turned(at + (HEADS + kv_head + one) * D, k_weight, cos + angle, sin + angle, one == 0, eps, D)
        v = tl.load(at + (HEADS + HEADS // GROUP + kv_head) * D + d)
        place = (tl.load(slots + s) * (HEADS // GROUP) + kv_head) * D
        tl.store(k_cache + place + d, k)
        tl.store(v_cache + place + d, v)
        score = tl.sum(rows.to(tl.float32) * k.to(tl.float32), 1)
        higher = tl.maximum(high, score)
        weight, fade = tl.exp2((score - higher) * scale), tl.exp2((high - higher) * scale)
        total = total * fade + weight
        acc = acc * fade[:, None] + weight.to(v.dtype).to(tl.float32)[:, None] * v.to(tl.float32)
        high = higher
    tell(acc, high, total, out, partial, marks, tickets, scale, s, kv_head, part, D, GROUP, HEADS, PARTS, ROWS)


def decode_attention(
    qkv: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
    *,
    tile: Tile | None = None,
) -> Tensor:
    """See `fused.decode_attention`; head width and group powers of 2. Bytes: those of `paged_attention`, the raw rows
    once for each part, and one launch less."""
    num_rows, width = len(qkv), k_cache.shape[3]
    block_size, num_kv_heads = k_cache.shape[1:3]
    num_heads = qkv.shape[1] // width - 2 * num_kv_heads
    group = num_heads // num_kv_heads
    assert cos.is_contiguous(), "the tables must be in one piece"
    assert num_rows * num_kv_heads <= COUNT, "more groups of heads than tickets"
    tile = tile or (EXACT if qkv.dtype == torch.float32 else decode_tile(num_rows * num_kv_heads))
    parts = tile.parts or num_parts(num_rows * num_kv_heads, batch.max_context, keys=tile.keys)
    out = partial = marks = qkv.new_empty(num_rows, num_heads, width)
    if parts > 1:
        partial = torch.empty(num_rows, num_heads, parts, width, dtype=torch.float32, device=qkv.device)
        marks = torch.empty(num_rows, num_heads, 2, parts, dtype=torch.float32, device=qkv.device)
    tensors = qkv, q_weight, k_weight, cos, sin, k_cache, v_cache, batch.slots, batch.block_tables, batch.context_lens
    _decode_rows(
        (num_rows, num_kv_heads, parts),
        (*tensors, out, partial, marks, tickets(qkv.device)),
        (width**-0.5 * LOG2E, eps, qkv.stride(0)),
        (width, group, num_heads, parts, max(16, group), tile.keys, block_size, tile.stages),
        varying=(batch.block_tables.stride(0),),
        warps=tile.warps,
    )
    return out
