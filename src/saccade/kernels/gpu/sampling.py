# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""Logits become ids on the device, in Triton: the highest, or one drawn from the highest few.

    S sequences     V vocabulary     P parts of V, one program each

Each part sorts out its own candidates; the last part of a row to finish chooses among all of them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from saccade.kernels.gpu.tickets import COUNT, tickets

PART = 2048
"""Logits of one program."""


@triton.jit
def _greedy(logits, out, high, at, counter, V: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr,
            WIDE: tl.constexpr):  # fmt: skip
    row, part = tl.program_id(0), tl.program_id(1)
    i = part * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(logits + row.to(tl.int64) * V + i, mask=i < V, other=float("-inf")).to(tl.float32)
    best, place = tl.max(value, 0, return_indices=True)
    tl.store(high + row * PARTS + part, best)
    tl.store(at + row * PARTS + part, part * BLOCK + place)
    tl.debug_barrier()
    if tl.atomic_add(counter + row, 1, sem="acq_rel") == PARTS - 1:
        p = tl.arange(0, WIDE)
        every = tl.load(high + row * PARTS + p, mask=p < PARTS, other=float("-inf"), cache_modifier=".cg")
        _, winner = tl.max(every, 0, return_indices=True)
        tl.store(out + row, tl.load(at + row * PARTS + winner, cache_modifier=".cg").to(tl.int64))
        tl.store(counter + row, 0)


def greedy(logits: Tensor) -> Tensor:
    """See `fused.greedy`. Bytes: 2 V S in bf16; V = 151,936: 0.3 MB a row, 0.07 us, so one launch."""
    rows, vocabulary = logits.shape
    assert logits.is_contiguous(), "logits must be in one piece"
    assert rows <= COUNT, "more rows than tickets"
    parts = triton.cdiv(vocabulary, PART)
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    high = torch.empty(rows, parts, dtype=torch.float32, device=logits.device)
    at = torch.empty(rows, parts, dtype=torch.int32, device=logits.device)
    _greedy[rows, parts](
        logits, out, high, at, tickets(logits.device), vocabulary, PART, parts, triton.next_power_of_2(parts),
        num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _draw(
    logits, temperature, top_k, top_p, uniform, out, high, at, counter, V: tl.constexpr, BLOCK: tl.constexpr,
    PARTS: tl.constexpr, WIDE: tl.constexpr, MOST: tl.constexpr,
):  # fmt: skip
    row, part = tl.program_id(0), tl.program_id(1)
    i = part * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(logits + row.to(tl.int64) * V + i, mask=i < V, other=float("-inf")).to(tl.float32)
    mine = (row * PARTS + part) * MOST
    for rank in range(MOST):
        best, place = tl.max(value, 0, return_indices=True)
        tl.store(high + mine + rank, best)
        tl.store(at + mine + rank, part * BLOCK + place)
        value = tl.where(i == part * BLOCK + place, float("-inf"), value)
    tl.debug_barrier()
    if tl.atomic_add(counter + row, 1, sem="acq_rel") == PARTS - 1:
        c = tl.arange(0, WIDE)
        rest = tl.load(high + row * PARTS * MOST + c, mask=c < PARTS * MOST, other=float("-inf"), cache_modifier=".cg")
        ranks = tl.arange(0, MOST)
        score = tl.full([MOST], float("-inf"), tl.float32)
        source = tl.zeros([MOST], tl.int32)
        for r in range(MOST):
            best, place = tl.max(rest, 0, return_indices=True)
            score = tl.where(ranks == r, best, score)
            source = tl.where(ranks == r, place, source)
            rest = tl.where(c == place, float("-inf"), rest)
        heat = tl.load(temperature + row)
        weight = tl.exp((score - tl.max(score, 0)) / tl.maximum(heat, 1e-5))
        weight = tl.where(ranks < tl.load(top_k + row), weight, 0.0)
        weight = weight / tl.sum(weight, 0)
        before = tl.cumsum(weight, 0) - weight
        weight = tl.where(before < tl.load(top_p + row), weight, 0.0)
        passed = tl.cumsum(weight, 0) > tl.load(uniform + row) * tl.sum(weight, 0)
        chosen = tl.min(tl.where(passed, ranks, MOST - 1), 0)
        chosen = tl.where(heat < 1e-5, 0, chosen)
        winner = tl.sum(tl.where(ranks == chosen, source, 0), 0)
        tl.store(out + row, tl.load(at + row * PARTS * MOST + winner, cache_modifier=".cg").to(tl.int64))
        tl.store(counter + row, 0)


def draw(logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor, most: int) -> Tensor:
    """See `fused.draw`; `most` is a power of 2. Of equal logits the lower id ranks first.

    Bytes: 2 V S in bf16, a launch's worth. Time is 2 `most` reductions one after the other, about 0.3 us each: 20 us at
    `most` 32, whatever S up to about 8.
    """
    rows, vocabulary = logits.shape
    assert logits.is_contiguous(), "logits must be in one piece"
    assert rows <= COUNT, "more rows than tickets"
    assert most & (most - 1) == 0, "most must be a power of 2"
    assert most <= min(vocabulary, PART), "more candidates than a part has"
    parts = triton.cdiv(vocabulary, PART)
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    high = torch.empty(rows, parts, most, dtype=torch.float32, device=logits.device)
    at = torch.empty(rows, parts, most, dtype=torch.int32, device=logits.device)
    _draw[rows, parts](
        logits, temperature, top_k, top_p, uniform, out, high, at, tickets(logits.device), vocabulary, PART, parts,
        triton.next_power_of_2(parts * most), most, num_warps=4,
    )  # fmt: skip
    return out
