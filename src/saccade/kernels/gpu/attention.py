# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""Attention over keys and values in blocks, in Triton: twins of `paged.store_kv` and `paged.paged_attention`.

    S sequences     Hq, Hk query and key heads     group = Hq / Hk     D head width, a power of 2
    m keys of a sequence     P parts the keys of a sequence are split into

Scores are kept in base 2 (scaled by log2(e)), so that a softmax needs exp2 alone; a maximum over nothing is -1e30, for
the difference of two infinities is NaN. Nothing here needs more than tensor cores and 16-byte loads.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from saccade.kernels.batch import AttentionBatch
from saccade.kernels.gpu.tickets import COUNT, tickets

LOG2E = 1.4426950408889634
NOTHING = tl.constexpr(-1e30)


@dataclass(frozen=True, slots=True)
class Tile:
    """How a kernel is cut: what a benchmark varies."""

    rows: int = 16
    """Query rows of a tile, heads of a group counted as rows."""
    keys: int = 64
    warps: int = 4
    stages: int = 3
    parts: int = 0
    """Parts of the context in decoding; 0: as many as fill the device."""
    joined: bool = True
    """Whether the last part to finish adds the parts up, instead of a second kernel."""
    early: bool = False
    """Programmatic dependent launch (Hopper) of decoding: neighbours of the same kind may overlap start and end."""


DECODE = Tile()
PREFILL = Tile(rows=128, keys=64, warps=8, stages=3)


@triton.jit
def _store(k, v, k_cache, v_cache, slots, k_stride, v_stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + row)
    at = tl.arange(0, BLOCK)
    mask = at < WIDTH
    tl.store(k_cache + slot * WIDTH + at, tl.load(k + row * k_stride + at, mask=mask), mask=mask)
    tl.store(v_cache + slot * WIDTH + at, tl.load(v + row * v_stride + at, mask=mask), mask=mask)


def store_kv(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    """See `paged.store_kv`. k and v may be slices of wider rows, their heads side by side.

    Bytes: 8 Hk D N, as each row is read and written once in each of two caches; 8 KiB a row at Hk D = 1024.
    """
    n, heads, width = k.shape
    assert k.stride()[1:] == v.stride()[1:] == (width, 1), "heads must lie side by side"
    assert k_cache.is_contiguous(), "the cache must be in one piece"
    assert v_cache.is_contiguous(), "the cache must be in one piece"
    block = triton.next_power_of_2(heads * width)
    _store[(n,)](k, v, k_cache, v_cache, slots, k.stride(0), v.stride(0), heads * width, block, num_warps=4)


@triton.jit
def _tile(
    q, k_cache, v_cache, table, base, last, start, end, scale, STRIDE: tl.constexpr, D: tl.constexpr,
    KEYS: tl.constexpr, ROWS: tl.constexpr, BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Online softmax of q [ROWS, D] over keys start .. end, where row r sees keys up to last[r]: the sum of weighted
    values [ROWS, D], the highest score [ROWS] times `scale`, the sum of weights [ROWS]."""
    d = tl.arange(0, D)
    acc = tl.zeros([ROWS, D], tl.float32)
    high = tl.full([ROWS], NOTHING, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for at in tl.range(start, end, KEYS, num_stages=STAGES):
        key = at + tl.arange(0, KEYS)
        there = key < end
        block = tl.load(table + key // BLOCK_SIZE, mask=there, other=0).to(tl.int64)
        row = (block * BLOCK_SIZE + key % BLOCK_SIZE) * STRIDE + base
        k = tl.load(k_cache + row[:, None] + d[None, :], mask=there[:, None], other=0.0)
        score = tl.dot(q, tl.trans(k))
        score = tl.where(there[None, :] & (key[None, :] <= last[:, None]), score, NOTHING)
        higher = tl.maximum(high, tl.max(score, 1))
        weight = tl.exp2(score * scale - (higher * scale)[:, None])
        fade = tl.exp2((high - higher) * scale)
        total = total * fade + tl.sum(weight, 1)
        v = tl.load(v_cache + row[:, None] + d[None, :], mask=there[:, None], other=0.0)
        acc = tl.dot(weight.to(v.dtype), v, acc * fade[:, None])
        high = higher
    return acc, high * scale, total


@triton.jit
def _join(out, partial, marks, s, kv_head, D: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr,
          PARTS: tl.constexpr):  # fmt: skip
    """Adds up the parts of one group of heads; read past the first cache, as other programs wrote them."""
    d, part = tl.arange(0, D), tl.arange(0, PARTS)
    for i in tl.static_range(GROUP):
        row = (s * HEADS + kv_head * GROUP + i).to(tl.int64)
        high = tl.load(marks + row * 2 * PARTS + part, cache_modifier=".cg")
        total = tl.load(marks + row * 2 * PARTS + PARTS + part, cache_modifier=".cg")
        scale = tl.exp2(high - tl.max(high, 0))
        acc = tl.load(partial + (row * PARTS + part[:, None]) * D + d[None, :], cache_modifier=".cg")
        total = tl.sum(total * scale, 0)
        value = tl.sum(acc * scale[:, None], 0) / tl.where(total > 0, total, 1.0)
        tl.store(out + row * D + d, value.to(out.dtype.element_ty))


@triton.jit
def _decode(
    q, k_cache, v_cache, tables, lengths, out, partial, marks, tickets, scale, q_stride, table_stride,
    D: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr, JOINED: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    s, kv_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    length = tl.load(lengths + s)
    span = tl.cdiv(tl.cdiv(length, PARTS), KEYS) * KEYS
    start = part * span
    end = tl.minimum(start + span, length)
    d, i = tl.arange(0, D), tl.arange(0, ROWS)
    real = i < GROUP
    head = kv_head * GROUP + i
    rows = tl.load(q + s.to(tl.int64) * q_stride + head[:, None] * D + d[None, :], mask=real[:, None], other=0.0)
    last = tl.zeros([ROWS], tl.int32) + length
    acc, high, total = _tile(
        rows, k_cache, v_cache, tables + s.to(tl.int64) * table_stride, kv_head * D, last, start, end, scale,
        HEADS // GROUP * D, D, KEYS, ROWS, BLOCK_SIZE, STAGES,
    )  # fmt: skip
    row = s.to(tl.int64) * HEADS + head
    if PARTS == 1:
        value = acc / tl.where(total > 0, total, 1.0)[:, None]
        tl.store(out + row[:, None] * D + d[None, :], value.to(out.dtype.element_ty), mask=real[:, None])
    else:
        tl.store(partial + (row * PARTS + part)[:, None] * D + d[None, :], acc, mask=real[:, None])
        tl.store(marks + row * 2 * PARTS + part, high, mask=real)
        tl.store(marks + row * 2 * PARTS + PARTS + part, total, mask=real)
        if JOINED:
            tl.debug_barrier()
            ticket = tickets + s * (HEADS // GROUP) + kv_head
            if tl.atomic_add(ticket, 1, sem="acq_rel") == PARTS - 1:
                _join(out, partial, marks, s, kv_head, D, GROUP, HEADS, PARTS)
                tl.store(ticket, 0)


@triton.jit
def _join_parts(out, partial, marks, D: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr, PARTS: tl.constexpr):
    _join(out, partial, marks, tl.program_id(0), tl.program_id(1), D, GROUP, HEADS, PARTS)


@triton.jit
def _prefill(
    q, k_cache, v_cache, tables, cu_q, lengths, out, scale, q_stride, table_stride,
    D: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    s, kv_head = tl.program_id(2), tl.program_id(1)
    tile = tl.num_programs(0) - 1 - tl.program_id(0)  # tiles with the most keys first
    begin = tl.load(cu_q + s)
    count = tl.load(cu_q + s + 1) - begin
    first = tile * (ROWS // GROUP)
    if first < count:
        length = tl.load(lengths + s)
        d, i = tl.arange(0, D), tl.arange(0, ROWS)
        place = first + i // GROUP
        real = place < count
        row = (begin + place).to(tl.int64)
        head = kv_head * GROUP + i % GROUP
        rows = tl.load(q + row[:, None] * q_stride + head[:, None] * D + d[None, :], mask=real[:, None], other=0.0)
        last = length - count + place
        end = tl.minimum(length, length - count + first + ROWS // GROUP)
        acc, _, total = _tile(
            rows, k_cache, v_cache, tables + s.to(tl.int64) * table_stride, kv_head * D, last, 0, end, scale,
            HEADS // GROUP * D, D, KEYS, ROWS, BLOCK_SIZE, STAGES,
        )  # fmt: skip
        value = acc / tl.where(total > 0, total, 1.0)[:, None]
        at = out + (row * HEADS + head)[:, None] * D + d[None, :]
        tl.store(at, value.to(out.dtype.element_ty), mask=real[:, None])


def num_parts(num_sequences: int, num_kv_heads: int, max_context: int, *, programs: int = 264, keys: int = 64) -> int:
    """Into how many parts the keys of each sequence are split: a power of 2 that gives the device about two programs
    for each of 132 multiprocessors, each with a tile of keys at least."""
    wanted = min(programs // (num_sequences * num_kv_heads), -(-max_context // keys), 64)
    return 1 << max(wanted, 1).bit_length() - 1


def paged_attention(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, batch: AttentionBatch, *, tile: Tile | None = None
) -> Tensor:
    """See `paged.paged_attention`. A step of one row each splits the keys of a sequence over programs.

    Decoding, bytes: 4 Hk D m a sequence and layer (Hk D = 1024: 4 KiB a key), and 4 (D + 2) Hq P written and read for
    the parts; operations: 4 Hq D m. At m = 1620 and 4.29 TB/s: 1.55 us a layer, so latency rules below m = 4000.
    Prefill of n rows on m keys, operations: 4 Hq D n (m - n / 2); n = m = 1536, Hq = 16, D = 128: 9.7 GFLOP, 12 us at
    800 TFLOP/s; Hq = 32: 24 us.
    """
    num_rows, num_heads, width = q.shape
    block_size, num_kv_heads = k_cache.shape[1:3]
    group = num_heads // num_kv_heads
    assert width & (width - 1) == 0, "head width must be a power of 2"
    assert group & (group - 1) == 0, "query heads of a key head must be a power of 2"
    assert q.stride()[1:] == (width, 1), "heads must lie side by side"
    assert k_cache.is_contiguous(), "the cache must be in one piece"
    assert v_cache.is_contiguous(), "the cache must be in one piece"
    assert batch.block_tables.stride(1) == 1, "block tables must have contiguous rows"
    out = torch.empty(num_rows, num_heads, width, dtype=q.dtype, device=q.device)
    scale = width**-0.5 * LOG2E
    num_sequences, table_stride = len(batch.context_lens), batch.block_tables.stride(0)
    if batch.max_q > 1:
        tile = tile or PREFILL
        rows = max(tile.rows, group)
        grid = (triton.cdiv(batch.max_q, rows // group), num_kv_heads, num_sequences)
        _prefill[grid](
            q, k_cache, v_cache, batch.block_tables, batch.cu_q, batch.context_lens, out, scale, q.stride(0),
            table_stride, width, group, num_heads, rows, tile.keys, block_size, tile.stages, num_warps=tile.warps,
        )  # fmt: skip
        return out
    tile = tile or DECODE
    parts = tile.parts or num_parts(num_sequences, num_kv_heads, batch.max_context, keys=tile.keys)
    assert num_sequences * num_kv_heads <= COUNT, "more groups of heads than tickets"
    partial = marks = out
    if parts > 1:
        partial = torch.empty(num_rows, num_heads, parts, width, dtype=torch.float32, device=q.device)
        marks = torch.empty(num_rows, num_heads, 2, parts, dtype=torch.float32, device=q.device)
    _decode[num_sequences, num_kv_heads, parts](
        q, k_cache, v_cache, batch.block_tables, batch.context_lens, out, partial, marks, tickets(q.device), scale,
        q.stride(0), table_stride, width, group, num_heads, parts, max(tile.rows, group), tile.keys, block_size,
        tile.stages, tile.joined, tile.early, num_warps=tile.warps, **({"launch_pdl": True} if tile.early else {}),
    )  # fmt: skip
    if parts > 1 and not tile.joined:
        _join_parts[num_sequences, num_kv_heads](out, partial, marks, width, group, num_heads, parts, num_warps=4)
    return out
