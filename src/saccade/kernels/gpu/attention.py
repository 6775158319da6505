# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""Attention over keys and values in blocks, in Triton: the twin of `paged.paged_attention`.

    S sequences     Hq, Hk query and key heads     group = Hq / Hk     D head width, a power of 2
    m keys of a sequence     P parts the keys of a sequence are split into

Sequences that decode split their keys over programs; the others go in tiles of rows, one sequence behind the other.
How many programs there are depends on shapes and on `max_context` alone, so a graph may be replayed with other lengths.

Scores are kept in base 2 (scaled by log2(e)), so that a softmax needs exp2 alone; a maximum over nothing is -1e30, for
the difference of two infinities is NaN. Nothing here needs more than tensor cores and 16-byte loads, but for `HOPPER`.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from saccade.kernels.batch import AttentionBatch
from saccade.kernels.gpu.launch import has_descriptors, kernel
from saccade.kernels.gpu.side import Side
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
    described: bool = False
    """Keys and values of prompts through tensor descriptors: a chip that has them (Hopper) copies a tile, which must
    lie in one block, without its threads."""


DECODE = Tile(keys=32, warps=2, stages=4)
"""112 sequences of 1,600 keys, 32 heads: 173 us; 184 with 64 keys, 4 warps and 3 stages."""
SINGLE = Tile(keys=64, warps=4, stages=3)
"""Where there is about one program for a multiprocessor and not two: 24 sequences of 1,580 keys 45 instead of 49 us."""
MIXED = Tile(keys=64, warps=4, stages=3, parts=2)
"""Beside prompts, where captured steps have room for up to 32 sequences and most are not full: 17 of 1,580 keys 37
instead of 44 us, all 32 of them 55 instead of 51."""
PREFILL = Tile(rows=64, keys=64, warps=4, stages=3)
HOPPER = Tile(rows=64, keys=64, warps=4, stages=3, described=True)
"""32 heads, blocks of 64: 1,536 rows 60 us instead of 69, 512 of 1,546 32 instead of 35; 128 rows 72 and more."""
EXACT = Tile(rows=32, keys=32, warps=4, stages=1)
"""In fp32, where products go without tensor cores."""
PROGRAMS = 264
"""Two for each multiprocessor of the device that the choices were made for."""
MOST_PARTS = 16
"""One sequence of 1,580 keys and 8 key heads: 11.0 us with 16 parts, 11.7 with 32."""
WIDE = 256
"""Sequences that may prefill in one step without another compilation."""


@triton.jit
def see(
    q, acc, high, total, k_cache, v_cache, table, base, last, start, end, scale, STRIDE: tl.constexpr, D: tl.constexpr,
    KEYS: tl.constexpr, BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr, MASKED: tl.constexpr,
    DESCRIBED: tl.constexpr,
):  # fmt: skip
    """Online softmax of q [ROWS, D] over keys start .. end, added to what came before: the sum of weighted values
    [ROWS, D], the highest score [ROWS], the sum of weights [ROWS]. MASKED: row r sees keys up to last[r]; otherwise
    every row sees all of them, and they are whole tiles.

    Which blocks a tile lies in is loaded one tile ahead: K and V then depend on no load of their own turn, so that the
    compiler can have STAGES - 1 tiles of them on their way."""
    d, i = tl.arange(0, D), tl.arange(0, KEYS)
    first = start if DESCRIBED else start + i
    block = tl.load(table + first // BLOCK_SIZE, mask=first < end, other=0)
    for at in tl.range(start, end, KEYS, num_stages=STAGES):
        key = at + i
        place = at if DESCRIBED else key
        row = block.to(tl.int64) * BLOCK_SIZE + place % BLOCK_SIZE
        block = tl.load(table + (place + KEYS) // BLOCK_SIZE, mask=place + KEYS < end, other=0)
        if DESCRIBED:
            k = k_cache.load([row.to(tl.int32), base])
        elif MASKED:
            k = tl.load(k_cache + row[:, None] * STRIDE + base + d[None, :], mask=(key < end)[:, None], other=0.0)
            v = tl.load(v_cache + row[:, None] * STRIDE + base + d[None, :], mask=(key < end)[:, None], other=0.0)
        else:
            k = tl.load(k_cache + row[:, None] * STRIDE + base + d[None, :])
            v = tl.load(v_cache + row[:, None] * STRIDE + base + d[None, :])
        score = tl.dot(q, tl.trans(k), input_precision="ieee")
        if MASKED:
            score = tl.where((key < end)[None, :] & (key[None, :] <= last[:, None]), score, NOTHING)
        higher = tl.maximum(high, tl.max(score, 1))
        weight = tl.exp2(score * scale - (higher * scale)[:, None])
        fade = tl.exp2((high - higher) * scale)
        total = total * fade + tl.sum(weight, 1)
        if DESCRIBED:
            v = v_cache.load([row.to(tl.int32), base])
            if MASKED:
                v = tl.where((key < end)[:, None], v, 0.0)  # behind the last key, whatever was there before
        acc = tl.dot(weight.to(v.dtype), v, acc * fade[:, None], input_precision="ieee")
        high = higher
    return acc, high, total


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
def tell(
    acc, high, total, out, partial, marks, tickets, scale, s, kv_head, part, D: tl.constexpr, GROUP: tl.constexpr,
    HEADS: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """What one part of a sequence's keys came to; the last of PARTS adds all of them up."""
    d, i = tl.arange(0, D), tl.arange(0, ROWS)
    real, row = i < GROUP, s.to(tl.int64) * HEADS + kv_head * GROUP + i
    if PARTS == 1:
        value = acc / tl.where(total > 0, total, 1.0)[:, None]
        tl.store(out + row[:, None] * D + d[None, :], value.to(out.dtype.element_ty), mask=real[:, None])
    else:
        tl.store(partial + (row * PARTS + part)[:, None] * D + d[None, :], acc, mask=real[:, None])
        tl.store(marks + row * 2 * PARTS + part, high * scale, mask=real)
        tl.store(marks + row * 2 * PARTS + PARTS + part, total, mask=real)
        tl.debug_barrier()
        ticket = tickets + s * (HEADS // GROUP) + kv_head
        if tl.atomic_add(ticket, 1, sem="acq_rel") == PARTS - 1:
            _join(out, partial, marks, s, kv_head, D, GROUP, HEADS, PARTS)
            tl.store(ticket, 0)


@kernel("table_stride")
def _decode(
    q, k_cache, v_cache, tables, lengths, out, partial, marks, tickets, scale, q_stride, table_stride,
    D: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    s, kv_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + s)
    span = tl.cdiv(tl.cdiv(length, PARTS), KEYS) * KEYS
    start = part * span
    end = tl.minimum(start + span, length)
    d, i = tl.arange(0, D), tl.arange(0, ROWS)
    real = i < GROUP
    head = kv_head * GROUP + i
    rows = tl.load(q + s.to(tl.int64) * q_stride + head[:, None] * D + d[None, :], mask=real[:, None], other=0.0)
    last = tl.zeros([ROWS], tl.int32) + length
    acc = tl.zeros([ROWS, D], tl.float32)
    high = tl.full([ROWS], NOTHING, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    # One loop, masked: a part is a few tiles, and a second loop would start its loads anew.
    acc, high, total = see(
        rows, acc, high, total, k_cache, v_cache, tables + s.to(tl.int64) * table_stride, kv_head * D, last, start,
        end, scale, HEADS // GROUP * D, D, KEYS, BLOCK_SIZE, STAGES, True, False,
    )  # fmt: skip
    tell(acc, high, total, out, partial, marks, tickets, scale, s, kv_head, part, D, GROUP, HEADS, PARTS, ROWS)


@triton.jit
def _sequence(cu_q, tile, sequences, PLACES: tl.constexpr, WIDE: tl.constexpr):
    """Which of the sequences a tile of PLACES rows belongs to, each beginning a tile of its own, and which of that
    sequence's tiles it is; `sequences` or more if it belongs to none. 70 and 10 rows, 64 places: 0, 0, 1."""
    i = tl.arange(0, WIDE)
    begin = tl.load(cu_q + i, mask=i < sequences, other=0)
    tiles = (tl.load(cu_q + i + 1, mask=i < sequences, other=0) - begin + PLACES - 1) // PLACES
    s = tl.sum((tl.cumsum(tiles, 0) <= tile).to(tl.int32), 0)
    return s, tile - tl.sum(tl.where(i < s, tiles, 0), 0)


@kernel("table_stride", "decodes", "sequences")
def _prefill(
    q, k_cache, v_cache, tables, cu_q, lengths, out, scale, q_stride, table_stride, decodes, sequences,
    D: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr, WIDE: tl.constexpr, DESCRIBED: tl.constexpr,
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
        acc = tl.zeros([ROWS, D], tl.float32)
        high = tl.full([ROWS], NOTHING, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        table = tables + s.to(tl.int64) * table_stride
        acc, high, total = see(
            rows, acc, high, total, k_cache, v_cache, table, kv_head * D, last, 0, whole, scale, HEADS // GROUP * D, D,
            KEYS, BLOCK_SIZE, STAGES, False, DESCRIBED,
        )  # fmt: skip
        acc, high, total = see(
            rows, acc, high, total, k_cache, v_cache, table, kv_head * D, last, whole, end, scale, HEADS // GROUP * D,
            D, KEYS, BLOCK_SIZE, STAGES, True, DESCRIBED,
        )  # fmt: skip
        value = acc / tl.where(total > 0, total, 1.0)[:, None]
        at = out + (row * HEADS + head)[:, None] * D + d[None, :]
        tl.store(at, value.to(out.dtype.element_ty), mask=real[:, None])


def num_parts(groups: int, max_context: int, *, keys: int = 64) -> int:
    """Into how many parts, a power of 2, the keys of each of `groups` pairs of a sequence and a key head are split.

    Up to about two programs for each of 132 multiprocessors, each with a tile of keys.
    """
    wanted = min(PROGRAMS // groups, power_of_2(-(-max_context // keys)), MOST_PARTS)
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
    num_heads, width = q.shape[1:]
    assert q.stride(1) == width, "heads must lie side by side"
    out = torch.empty_like(q)
    decodes, sequences = batch.num_decodes, len(batch.context_lens)
    is_mixed = 0 < decodes < sequences
    side = Side.of(q.device) if is_mixed else None
    if decodes:
        chosen = decode_tile(decodes * k_cache.shape[2], is_mixed=is_mixed)
        _launch_decode(
            q, k_cache, v_cache, batch, out, tile or (EXACT if q.dtype == torch.float32 else chosen), side
        )  # fmt: skip
    if sequences > decodes:
        group = num_heads // k_cache.shape[2]
        if decodes or not tile:
            tile = prefill_tile(q, k_cache)
        _launch_prefill(q, k_cache, v_cache, batch, out, tile, group)
    if side:
        side.join()
    return out


def decode_tile(groups: int, *, is_mixed: bool = False) -> Tile:
    """For `groups` pairs of a sequence and a key head, of which some may be empty where there are prompts too."""
    if PROGRAMS // 2 < groups <= PROGRAMS:
        return MIXED if is_mixed else SINGLE
    return SINGLE if is_mixed and groups > PROGRAMS else DECODE


def prefill_tile(q: Tensor, k_cache: Tensor) -> Tile:
    """For q of any number of rows."""
    if q.dtype == torch.float32:
        return EXACT
    return HOPPER if has_descriptors(q.device) and k_cache.shape[1] % HOPPER.keys == 0 else PREFILL


def _launch_decode(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
    out: Tensor,
    tile: Tile,
    side: Side | None,
) -> None:
    """On `side` if there is one, which the caller joins before it allocates anything."""
    _, num_heads, width = q.shape
    block_size, num_kv_heads = k_cache.shape[1:3]
    decodes, group = batch.num_decodes, num_heads // num_kv_heads
    parts = tile.parts or num_parts(decodes * num_kv_heads, batch.max_context, keys=tile.keys)
    assert decodes * num_kv_heads <= COUNT, "more groups of heads than tickets"
    partial = marks = out
    if parts > 1:
        partial = torch.empty(decodes, num_heads, parts, width, dtype=torch.float32, device=q.device)
        marks = torch.empty(decodes, num_heads, 2, parts, dtype=torch.float32, device=q.device)
    if side:
        side.fork()
    _decode(
        (decodes, num_kv_heads, parts),
        (q, k_cache, v_cache, batch.block_tables, batch.context_lens, out, partial, marks, tickets(q.device)),
        (width**-0.5 * LOG2E, q.stride(0)),
        (width, group, num_heads, parts, max(16, group), tile.keys, block_size, tile.stages),
        varying=(batch.block_tables.stride(0),),
        warps=tile.warps,
        stream=side.stream if side else None,
    )


def _launch_prefill(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, batch: AttentionBatch, out: Tensor, tile: Tile, group: int
) -> None:
    num_rows, num_heads, width = q.shape
    decodes, rows = batch.num_decodes, max(tile.rows, group)
    sequences = len(batch.context_lens) - decodes
    # A sequence's last tile may be partly empty: at most one tile for each sequence beyond what the rows fill.
    tiles = -(-(num_rows - decodes) // (rows // group)) + sequences - 1
    block_size = k_cache.shape[1]
    caches: list[Tensor | TensorDescriptor] = [k_cache, v_cache]
    if tile.described:
        assert block_size % tile.keys == 0, "a tile of keys must lie in one block"
        caches = [
            TensorDescriptor.from_tensor(x.flatten(0, 1).flatten(1), [tile.keys, width]) for x in (k_cache, v_cache)
        ]
    constants = width, group, num_heads, rows, tile.keys, block_size, tile.stages, max(WIDE, power_of_2(sequences))
    _prefill(
        (tiles, num_heads // group, 1),
        (q, *caches, batch.block_tables, batch.cu_q, batch.context_lens, out),
        (width**-0.5 * LOG2E, q.stride(0)),
        (*constants, tile.described),
        varying=(batch.block_tables.stride(0), decodes, sequences),
        warps=tile.warps,
    )
