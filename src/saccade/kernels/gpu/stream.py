# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""Products of up to 16 rows with large weights, in Triton: the weights stream through once, everything else is small.

    N rows (1 to 16)     K inner width     O outputs: rows of the weight [O, K]     F = O / 2 for gate and up

What counts is bytes in flight: 4.29 TB/s times about a microsecond is 4.3 MB, 32 KiB on each of 132 multiprocessors.
Each program owns a few rows of the weight and walks along K; the loop is pipelined `stages` deep. One row goes through
fp32 multiply-adds, for no tensor core can be filled; more rows go through tensor cores, the weight as the tall operand.
Where O is small, K is split over `splits` programs and the last one to finish adds the parts up in their order, so
results do not depend on timing.

A norm in front costs nothing: rms_norm(x) W^T = rsqrt(mean(x^2) + eps) * ((x * norm_weight) W^T), so the sum of squares
is taken on the way and the factor applied at the end.

Floors at 4.29 TB/s (bytes = 2 O K), us, 2B / 4B: qkv 4096x2048 3.9 / 6144x2560 7.3; o 2048x2048 2.0 / 2560x4096 4.9;
gate_up 12288x2048 11.7 / 19456x2560 23.2; down 2048x6144 5.9 / 2560x9728 11.6; head 151936x2048 145 / 151936x2560 181.
A step is 28 (36) layers and the head: 0.80 / 1.87 ms.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from saccade.kernels.gpu.launch import kernel
from saccade.kernels.gpu.tickets import COUNT, power_of_2, tickets

MOST_ROWS = 16


@dataclass(frozen=True, slots=True)
class Tile:
    """How a product is cut: what a benchmark varies."""

    outputs: int
    """Rows of the weight a program owns."""
    inner: int
    """Step along K."""
    warps: int
    stages: int
    splits: int = 1
    """Programs that share a row of the weight."""


@triton.jit
def _sum_parts(part, spot, n, N: tl.constexpr, OUTPUTS: tl.constexpr, SPLITS: tl.constexpr, NORM: tl.constexpr,
               GATE: tl.constexpr):  # fmt: skip
    """What the programs of one tile left behind, added up in their order; read past the first cache."""
    acc = tl.zeros([OUTPUTS, N], tl.float32)
    acc2 = tl.zeros([OUTPUTS, N], tl.float32)
    square = tl.zeros([N], tl.float32)
    for s in tl.static_range(SPLITS):
        base = part + s * (3 * OUTPUTS * N)
        acc += tl.load(base + spot, cache_modifier=".cg")
        if GATE:
            acc2 += tl.load(base + OUTPUTS * N + spot, cache_modifier=".cg")
        if NORM:
            square += tl.load(base + 2 * OUTPUTS * N + n, cache_modifier=".cg")
    return acc, acc2, square


@triton.jit
def _finish(acc, acc2, variance, residual, mask, NORM: tl.constexpr, ADD: tl.constexpr, GATE: tl.constexpr):
    """The factor of the norm, then the gate or the residual."""
    if NORM:
        acc = acc * tl.rsqrt(variance)[None, :]
        acc2 = acc2 * tl.rsqrt(variance)[None, :]
    if GATE:
        acc = acc / (1.0 + tl.exp(-acc)) * acc2
    if ADD:
        acc += tl.load(residual, mask=mask, other=0.0).to(tl.float32)
    return acc


@kernel("rows")
def _stream(
    x, weight, norm_weight, residual, out, partial, tickets, eps, x_stride, rows,
    K: tl.constexpr, OUT: tl.constexpr, N: tl.constexpr, OUTPUTS: tl.constexpr, INNER: tl.constexpr,
    SPLITS: tl.constexpr, STAGES: tl.constexpr, NORM: tl.constexpr, ADD: tl.constexpr, GATE: tl.constexpr,
):  # fmt: skip
    """N = 1: multiply-adds; otherwise tensor cores over N rows, of which `rows` are real. GATE: the weight's rows from
    OUT on are the second factor."""
    tile, split = tl.program_id(0), tl.program_id(1)
    o = tile * OUTPUTS + tl.arange(0, OUTPUTS)
    o_mask, n = o < OUT, tl.arange(0, N)
    span: tl.constexpr = ((K + INNER - 1) // INNER + SPLITS - 1) // SPLITS * INNER
    even: tl.constexpr = (K % (INNER * SPLITS) == 0) & (OUT % OUTPUTS == 0)
    start = split * span
    k = start + tl.arange(0, INNER)
    w_at = weight + o.to(tl.int64)[:, None] * K + k[None, :]
    if N == 1:
        acc = tl.zeros([OUTPUTS, INNER], tl.float32)
        acc2 = tl.zeros([OUTPUTS, INNER], tl.float32)
        square = tl.zeros([INNER], tl.float32)
    else:
        acc = tl.zeros([OUTPUTS, N], tl.float32)
        acc2 = tl.zeros([OUTPUTS, N], tl.float32)
        square = tl.zeros([N], tl.float32)
    for step in tl.range(0, span, INNER, num_stages=STAGES):
        there = even | ((start + step + tl.arange(0, INNER)) < K)
        w = tl.load(w_at + step, mask=o_mask[:, None] & there[None, :], other=0.0)
        if GATE:
            w2 = tl.load(w_at + step + OUT * K, mask=o_mask[:, None] & there[None, :], other=0.0)
        if NORM:
            scale = tl.load(norm_weight + k + step, mask=there, other=0.0).to(tl.float32)
        if N == 1:
            row = tl.load(x + k + step, mask=there, other=0.0).to(tl.float32)
            if NORM:
                square += row * row
                row = row * scale
            acc += w.to(tl.float32) * row[None, :]
            if GATE:
                acc2 += w2.to(tl.float32) * row[None, :]
        else:
            block = tl.load(x + n[:, None] * x_stride + k[None, :] + step,
                            mask=(n < rows)[:, None] & there[None, :], other=0.0)  # fmt: skip
            if NORM:
                wide = block.to(tl.float32)
                square += tl.sum(wide * wide, 1)
                block = (wide * scale[None, :]).to(w.dtype)
            acc = tl.dot(w, tl.trans(block), acc, input_precision="ieee")
            if GATE:
                acc2 = tl.dot(w2, tl.trans(block), acc2, input_precision="ieee")
    if N == 1:
        acc, acc2 = tl.sum(acc, 1)[:, None], tl.sum(acc2, 1)[:, None]
        square = tl.zeros([1], tl.float32) + tl.sum(square, 0)
    mine = True
    if SPLITS > 1:
        part = partial + tile * (SPLITS * 3 * OUTPUTS * N)
        spot = tl.arange(0, OUTPUTS)[:, None] * N + n[None, :]
        base = part + split * (3 * OUTPUTS * N)
        tl.store(base + spot, acc)
        if GATE:
            tl.store(base + OUTPUTS * N + spot, acc2)
        if NORM:
            tl.store(base + 2 * OUTPUTS * N + n, square)
        tl.debug_barrier()
        mine = tl.atomic_add(tickets + tile, 1, sem="acq_rel") == SPLITS - 1
        if mine:
            acc, acc2, square = _sum_parts(part, spot, n, N, OUTPUTS, SPLITS, NORM, GATE)
            tl.store(tickets + tile, 0)
    if mine:
        place, mask = n[None, :] * OUT + o[:, None], o_mask[:, None] & (n < rows)[None, :]
        value = _finish(acc, acc2, square / K + eps, residual + place, mask, NORM, ADD, GATE)
        tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)


def default_tile(rows: int, outputs: int, inner: int, *, norm: bool) -> Tile:
    """The fastest of those measured at the shapes of the 2B and 4B models, or within 4 % of it.

    One row: programs own 16 weight rows and walk in steps of 256, five of them in flight; behind an MLP or attention
    (no norm), where K is long or O short, 4 weight rows in steps of 1024. More rows: 64 weight rows, which is what
    tensor cores take at once; K is halved where the outputs alone do not occupy the device.
    """
    if rows > 1:
        return Tile(64, 128, warps=4, stages=5, splits=1 if outputs >= 64 * 264 else 2)
    return Tile(16, min(256, power_of_2(inner)), 4, 5) if norm else Tile(4, min(1024, power_of_2(inner)), 4, 3)


def _product(
    x: Tensor,
    weight: Tensor,
    *,
    norm_weight: Tensor | None = None,
    eps: float = 0.0,
    residual: Tensor | None = None,
    gate: bool = False,
    tile: Tile | None = None,
) -> Tensor:
    rows, inner = x.shape
    outputs = weight.shape[0] // 2 if gate else weight.shape[0]
    assert 1 <= rows <= MOST_ROWS, f"1 to {MOST_ROWS} rows, not {rows}"
    assert weight.is_contiguous(), "weight must be in one piece"
    tile = tile or default_tile(rows, outputs, inner, norm=norm_weight is not None)
    wide = 1 if rows == 1 else MOST_ROWS
    out = x.new_empty(rows, outputs)
    tiles = -(-outputs // tile.outputs)
    assert tile.splits == 1 or tiles <= COUNT, "more tiles than tickets"
    partial = out
    if tile.splits > 1:
        size = tiles * tile.splits * 3 * tile.outputs * wide
        partial = torch.empty(size, dtype=torch.float32, device=x.device)
    _stream(
        (tiles, tile.splits, 1),
        (x, weight, weight if norm_weight is None else norm_weight, out if residual is None else residual, out, partial,
         tickets(x.device)),
        (eps, x.stride(0)),
        (inner, outputs, wide, tile.outputs, tile.inner, tile.splits, tile.stages, norm_weight is not None,
         residual is not None, gate),
        varying=(rows,),
        warps=tile.warps,
    )  # fmt: skip
    return out


def linear(x: Tensor, weight: Tensor, *, tile: Tile | None = None) -> Tensor:
    """x [N, K] @ weight [O, K]^T. Bytes: 2 O K + 2 N (K + O); operations: 2 N O K."""
    return _product(x, weight, tile=tile)


def linear_add(x: Tensor, weight: Tensor, residual: Tensor, *, tile: Tile | None = None) -> Tensor:
    """See `fused.linear_add`; the sum is rounded once. Bytes: 2 O K + 2 N (K + 2 O); operations: 2 N O K."""
    return _product(x, weight, residual=residual, tile=tile)


def norm_linear(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor, *, tile: Tile | None = None) -> Tensor:
    """See `fused.norm_linear`; x is rounded once, after norm_weight. Bytes: as `linear`; operations: 2 N O K."""
    return _product(x, weight, norm_weight=norm_weight, eps=eps, tile=tile)


def norm_gate_up(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor, *, tile: Tile | None = None) -> Tensor:
    """See `fused.norm_gate_up`; gate and up stay in fp32. Bytes: 4 F K + 2 N (K + F); operations: 4 N F K."""
    return _product(x, weight, norm_weight=norm_weight, eps=eps, gate=True, tile=tile)
