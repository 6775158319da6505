# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""Attention over keys and values in blocks, in Triton: twins of `paged.store_kv` and `paged.paged_attention`.

    S sequences     Hq, Hk query and key heads     group = Hq / Hk     D head width, a power of 2
    m keys of a sequence     P parts the keys of a sequence are split into

Sequences that decode split their keys over programs; the others go in tiles of rows, one sequence behind the other.
How many programs there are depends on shapes and on `max_context` alone, so a graph may be replayed with other lengths.

Scores are kept in base 2 (scaled by log2(e)), so that a softmax needs exp2 alone; a maximum over nothing is -1e30, for
the difference of two infinities is NaN. Nothing here needs more than tensor cores and 16-byte loads.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from saccade.kernels.batch import AttentionBatch
from saccade.kernels.gpu.tickets import COUNT, power_of_2, tickets

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
SHORT = Tile(rows=64, keys=64, warps=4, stages=3)
"""Of few rows, so that more programs share them."""
EXACT = Tile(rows=32, keys=32, warps=4, stages=1)
"""In fp32, where products go without tensor cores."""
WIDE = 256
"""Sequences that may prefill in one step without another compilation."""
PROGRAMS = 132
"""Multiprocessors of the device that the choices were made for."""


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
    block = power_of_2(heads * width)
    _store[(n,)](k, v, k_cache, v_cache, slots, k.stride(0), v.stride(0), heads * width, block, num_warps=4)


@triton.jit
def _tile(
    q, acc, high, total, k_cache, v_cache, table, base, last, start, end, scale, STRIDE: tl.constexpr, D: tl.constexpr,
    KEYS: tl.constexpr, BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Online softmax of q [ROWS, D] over keys start .. end, added to what came before: the sum of weighted values
    [ROWS, D], the highest score [ROWS], the sum of weights [ROWS]. MASKED: row r sees keys up to last[r]; otherwise
    every row sees all of them, and they are whole tiles."""
    d = tl.arange(0, D)
    for at in tl.range(start, end, KEYS, num_stages=STAGES):
        key = at + tl.arange(0, KEYS)
        if MASKED:
            block = tl.load(table + key // BLOCK_SIZE, mask=key < end, other=0).to(tl.int64)
        else:
            block = tl.load(table + key // BLOCK_SIZE).to(tl.int64)
        row = (block * BLOCK_SIZE + key % BLOCK_SIZE) * STRIDE + base
        if MASKED:
            k = tl.load(k_cache + row[:, None] + d[None, :], mask=(key < end)[:, None], other=0.0)
            v = tl.load(v_cache + row[:, None] + d[None, :], mask=(key < end)[:, None], other=0.0)
        else:
            k = tl.load(k_cache + row[:, None] + d[None, :])
            v = tl.load(v_cache + row[:, None] + d[None, :])
        score = tl.dot(q, tl.trans(k), input_precision="ieee")
        if MASKED:
            score = tl.where((key < end)[None, :] & (key[None, :] <= last[:, None]), score, NOTHING)
        higher = tl.maximum(high, tl.max(score, 1))
        weight = tl.exp2(score * scale - (higher * scale)[:, None])
        fade = tl.exp2((high - higher) * scale)
        total = total * fade + tl.sum(weight, 1)
        acc = tl.dot(weight.to(v.dtype), v, acc * fade[:, None], input_precision="ieee")
        high = higher
    return acc, high, total


@triton.jit
def _seen(
    q, k_cache, v_cache, table, base, last, start, whole, end, scale, STRIDE: tl.constexpr, D: tl.constexpr,
    KEYS: tl.constexpr, ROWS: tl.constexpr, BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """What q [ROWS, D] sees in keys start .. end, of which those before `whole` are whole tiles that all rows see: the
    sum of weighted values, the highest score times `scale`, the sum of weights."""
    acc = tl.zeros([ROWS, D], tl.float32)
    high = tl.full([ROWS], NOTHING, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc, high, total = _tile(
        q, acc, high, total, k_cache, v_cache, table, base, last, start, whole, scale, STRIDE, D, KEYS, BLOCK_SIZE,
        STAGES, False,
    )  # fmt: skip
    acc, high, total = _tile(
        q, acc, high, total, k_cache, v_cache, table, base, last, whole, end, scale, STRIDE, D, KEYS, BLOCK_SIZE,
        STAGES, True,
    )  # fmt: skip
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


@triton.jit(do_not_specialize=["table_stride"])
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
    whole = start + tl.maximum(end - start, 0) // KEYS * KEYS
    acc, high, total = _seen(
        rows, k_cache, v_cache, tables + s.to(tl.int64) * table_stride, kv_head * D, last, start, whole, end, scale,
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
def _sequence(cu_q, tile, sequences, PLACES: tl.constexpr, WIDE: tl.constexpr):
    """Which of the sequences a tile of PLACES rows belongs to, each beginning a tile of its own, and which of that
    sequence's tiles it is; `sequences` or more if it belongs to none. 70 and 10 rows, 64 places: 0, 0, 1."""
    i = tl.arange(0, WIDE)
    begin = tl.load(cu_q + i, mask=i < sequences, other=0)
    tiles = (tl.load(cu_q + i + 1, mask=i < sequences, other=0) - begin + PLACES - 1) // PLACES
    s = tl.sum((tl.cumsum(tiles, 0) <= tile).to(tl.int32), 0)
    return s, tile - tl.sum(tl.where(i < s, tiles, 0), 0)


@triton.jit(do_not_specialize=["table_stride", "decodes", "sequences"])
def _prefill(
    q, k_cache, v_cache, tables, cu_q, lengths, out, scale, q_stride, table_stride, decodes, sequences,
    D: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """`sequences` sequences behind the first `decodes`."""
    kv_head, tile = tl.program_id(1), tl.num_programs(0) - 1 - tl.program_id(0)  # tiles with many keys first
    s, tile = _sequence(cu_q + decodes, tile, sequences, ROWS // GROUP, WIDE)
    if s < sequences:
        s += decodes
        begin = tl.load(cu_q + s)
        count = tl.load(cu_q + s + 1) - begin
        first = tile * (ROWS // GROUP)
        length = tl.load(lengths + s)
        d, i = tl.arange(0, D), tl.arange(0, ROWS)
        place = first + i // GROUP
        real = place < count
        row = (begin + place).to(tl.int64)
        head = kv_head * GROUP + i % GROUP
        rows = tl.load(q + row[:, None] * q_stride + head[:, None] * D + d[None, :], mask=real[:, None], other=0.0)
        last = length - count + place
        end = tl.minimum(length, length - count + first + ROWS // GROUP)
        whole = tl.maximum(length - count + first + 1, 0) // KEYS * KEYS  # the first row sees so many
        acc, _, total = _seen(
            rows, k_cache, v_cache, tables + s.to(tl.int64) * table_stride, kv_head * D, last, 0, whole, end, scale,
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
    """See `paged.paged_attention`; heads of q side by side, head width and group powers of 2. `tile` is for the
    decoding sequences if there are any, else for the others.

    Decoding, bytes: 4 Hk D m a sequence and layer (Hk D = 1024: 4 KiB a key), and 4 (D + 2) Hq P written and read for
    the parts; operations: 4 Hq D m. At m = 1620 and 4.29 TB/s: 1.55 us a layer, so latency rules below m = 4000.
    Prefill of n rows on m keys, operations: 4 Hq D n (m - n / 2); n = m = 1536, Hq = 16, D = 128: 9.7 GFLOP, 12 us at
    800 TFLOP/s; Hq = 32: 24 us.
    """
    num_rows, num_heads, width = q.shape
    assert q.stride(1) == width, "heads must lie side by side"
    out = torch.empty(num_rows, num_heads, width, dtype=q.dtype, device=q.device)
    decodes, sequences = batch.num_decodes, len(batch.context_lens)
    if decodes:
        _launch_decode(q, k_cache, v_cache, batch, out, tile or (EXACT if q.dtype == torch.float32 else DECODE))
    if sequences > decodes:
        group = num_heads // k_cache.shape[2]
        if decodes or not tile:
            few = (num_rows - decodes) * num_heads < PROGRAMS * PREFILL.rows
            tile = EXACT if q.dtype == torch.float32 else SHORT if few else PREFILL
        _launch_prefill(q, k_cache, v_cache, batch, out, tile, group)
    return out


def _launch_decode(q: Tensor, k_cache: Tensor, v_cache: Tensor, batch: AttentionBatch, out: Tensor, tile: Tile) -> None:
    _, num_heads, width = q.shape
    block_size, num_kv_heads = k_cache.shape[1:3]
    decodes, group = batch.num_decodes, num_heads // num_kv_heads
    parts = tile.parts or num_parts(decodes, num_kv_heads, batch.max_context, keys=tile.keys)
    assert decodes * num_kv_heads <= COUNT, "more groups of heads than tickets"
    partial = marks = out
    if parts > 1:
        partial = torch.empty(decodes, num_heads, parts, width, dtype=torch.float32, device=q.device)
        marks = torch.empty(decodes, num_heads, 2, parts, dtype=torch.float32, device=q.device)
    _decode[decodes, num_kv_heads, parts](
        q, k_cache, v_cache, batch.block_tables, batch.context_lens, out, partial, marks, tickets(q.device),
        width**-0.5 * LOG2E, q.stride(0), batch.block_tables.stride(0), width, group, num_heads, parts,
        max(16, group), tile.keys, block_size, tile.stages, tile.joined, tile.early, num_warps=tile.warps,
        **({"launch_pdl": True} if tile.early else {}),
    )  # fmt: skip
    if parts > 1 and not tile.joined:
        _join_parts[decodes, num_kv_heads](out, partial, marks, width, group, num_heads, parts, num_warps=4)


def _launch_prefill(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, batch: AttentionBatch, out: Tensor, tile: Tile, group: int
) -> None:
    num_rows, num_heads, width = q.shape
    decodes, rows = batch.num_decodes, max(tile.rows, group)
    sequences = len(batch.context_lens) - decodes
    # A sequence's last tile may be partly empty: at most one tile for each sequence beyond what the rows fill.
    tiles = -(-(num_rows - decodes) // (rows // group)) + sequences - 1
    _prefill[tiles, num_heads // group](
        q, k_cache, v_cache, batch.block_tables, batch.cu_q, batch.context_lens, out, width**-0.5 * LOG2E, q.stride(0),
        batch.block_tables.stride(0), decodes, sequences, width, group, num_heads, rows, tile.keys, k_cache.shape[1],
        tile.stages, max(WIDE, power_of_2(sequences)), num_warps=tile.warps,
    )  # fmt: skip
