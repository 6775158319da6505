# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""Products of 2 to 32 rows with large weights, for chips that copy described tiles by themselves (Hopper).

    N rows (2 to 32)     K inner width     O outputs: rows of the weight [O, K]     F = O / 2 for gate and up

As in `stream` the weights come through once, as the tall operand of tensor cores, and K is split where O is small. That
no thread computes addresses is what keeps enough bytes on their way. Measured on an H200, us, 8 / 32 rows, this (cuBLAS
with what goes around it): gate_up 4B 26.2 (31.5) / 27.4 (33.1), 2B 16.4 (17.1) / 17.8 (17.6); down 4B 15.8 (17.0) /
17.3 (17.4), 2B 9.7 (10.8) / 12.5 (11.2); o 4B 8.7 (9.6) / 10.1 (10.1). Floors are in `stream`. Queries, keys and
values: even.
"""

import torch
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from saccade.kernels.gpu.launch import kernel
from saccade.kernels.gpu.stream import Tile, _finish
from saccade.kernels.gpu.tickets import COUNT, tickets

MOST_ROWS = 32
MULTIPROCESSORS = 132
"""Of the device that the choices were made for."""


@kernel("rows")
def _few(
    out, x, weight, residual, partial, tickets, rows, K: tl.constexpr, OUT: tl.constexpr, N: tl.constexpr,
    OUTPUTS: tl.constexpr, INNER: tl.constexpr, SPLITS: tl.constexpr, STAGES: tl.constexpr, ADD: tl.constexpr,
    GATE: tl.constexpr,
):  # fmt: skip
    """x and weight are descriptors of tiles [N, INNER] and [OUTPUTS, INNER], zero beyond their ends. Of N rows `rows`
    are real. GATE: the weight's rows from OUT on are the second factor."""
    tile, split = tl.program_id(0), tl.program_id(1)
    first = tile * OUTPUTS
    span: tl.constexpr = ((K + INNER - 1) // INNER + SPLITS - 1) // SPLITS * INNER
    start = split * span
    acc = tl.zeros([OUTPUTS, N], tl.float32)
    acc2 = tl.zeros([OUTPUTS, N], tl.float32)
    for at in tl.range(start, tl.minimum(start + span, K), INNER, num_stages=STAGES):
        block = x.load([0, at])
        acc = tl.dot(weight.load([first, at]), tl.trans(block), acc, input_precision="ieee")
        if GATE:
            acc2 = tl.dot(weight.load([OUT + first, at]), tl.trans(block), acc2, input_precision="ieee")
    n, o = tl.arange(0, N), tl.arange(0, OUTPUTS)
    mine = True
    if SPLITS > 1:
        size: tl.constexpr = (1 + GATE) * OUTPUTS * N
        part = partial + tile * (SPLITS * size) + o[:, None] * N + n[None, :]
        tl.store(part + split * size, acc)
        if GATE:
            tl.store(part + split * size + OUTPUTS * N, acc2)
        tl.debug_barrier()
        mine = tl.atomic_add(tickets + tile, 1, sem="acq_rel") == SPLITS - 1
        if mine:  # the last one adds the parts up in their order, read past the first cache
            acc = tl.zeros([OUTPUTS, N], tl.float32)
            acc2 = tl.zeros([OUTPUTS, N], tl.float32)
            for s in tl.static_range(SPLITS):
                acc += tl.load(part + s * size, cache_modifier=".cg")
                if GATE:
                    acc2 += tl.load(part + s * size + OUTPUTS * N, cache_modifier=".cg")
            tl.store(tickets + tile, 0)
    if mine:
        place = n[None, :] * OUT + (first + o)[:, None]
        mask = (first + o < OUT)[:, None] & (n < rows)[None, :]
        value = _finish(acc, acc2, 0.0, residual + place, mask, False, ADD, GATE)
        tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)


def default_tile(rows: int, outputs: int, *, gate: bool = False) -> Tile:
    """64 weight rows, which is what tensor cores take at once, and so many parts of K that each multiprocessor has a
    program."""
    splits = 1
    while -(-outputs // 64) * splits < MULTIPROCESSORS:
        splits *= 2
    inner, stages = (128, 3 if gate else 4) if rows <= 16 else (64, 4)
    return Tile(64, inner, 4, stages, splits)


def _product(x: Tensor, weight: Tensor, residual: Tensor | None, gate: bool, tile: Tile | None) -> Tensor:
    rows, inner = x.shape
    outputs = len(weight) // 2 if gate else len(weight)
    assert 1 <= rows <= MOST_ROWS, f"1 to {MOST_ROWS} rows, not {rows}"
    tile = tile or default_tile(rows, outputs, gate=gate)
    wide = 16 if rows <= 16 else 32
    out = x.new_empty(rows, outputs)
    tiles = -(-outputs // tile.outputs)
    assert tile.splits == 1 or tiles <= COUNT, "more tiles than tickets"
    partial = out
    if tile.splits > 1:
        size = tiles * tile.splits * (1 + gate) * tile.outputs * wide
        partial = torch.empty(size, dtype=torch.float32, device=x.device)
    rows_of_x = TensorDescriptor.from_tensor(x, [wide, tile.inner])
    rows_of_weight = TensorDescriptor.from_tensor(weight, [tile.outputs, tile.inner])
    _few(
        (tiles, tile.splits, 1),
        (out, rows_of_x, rows_of_weight, out if residual is None else residual, partial, tickets(x.device)),
        (),
        (inner, outputs, wide, tile.outputs, tile.inner, tile.splits, tile.stages, residual is not None, gate),
        varying=(rows,),
        warps=tile.warps,
    )
    return out


def linear_add(x: Tensor, weight: Tensor, residual: Tensor, *, tile: Tile | None = None) -> Tensor:
    """See `fused.linear_add`; the sum is rounded once. Bytes: 2 O K + 2 N (K + 2 O); operations: 2 N O K."""
    return _product(x, weight, residual, False, tile)


def gate_up(x: Tensor, weight: Tensor, *, tile: Tile | None = None) -> Tensor:
    """x [N, K], weight [2F, K] -> silu_mul(x @ weight^T) [N, F]; gate and up stay in fp32. Bytes: 4 F K + 2 N (K + F);
    operations: 4 N F K."""
    return _product(x, weight, None, True, tile)
