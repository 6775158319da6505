# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""Logits become ids on the device, in Triton: edited, and then the highest, or one drawn from the highest few.

    S sequences     V vocabulary     P parts of a row, one program each     n ids that may be chosen

Each part sorts out its own candidates; the last part of a row to finish chooses among all of them. A NaN counts as
+inf, so that it is the highest of its row and no comparison is undecided.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from saccade.kernels.gpu.launch import kernel
from saccade.kernels.gpu.tickets import COUNT, power_of_2, tickets

PART = 2048
"""Logits of one program."""


@triton.jit
def _part(logits, stride, NUM: tl.constexpr, BLOCK: tl.constexpr):
    """The logits of this program in fp32 and their ids; -inf behind the last."""
    ids = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row = logits + tl.program_id(0).to(tl.int64) * stride
    value = tl.load(row + ids, mask=ids < NUM, other=float("-inf")).to(tl.float32)
    return tl.where(value == value, value, float("inf")), ids


@kernel()
def _greedy(
    logits, out, peaks, high, at, counter, stride, NUM: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    row, part = tl.program_id(0), tl.program_id(1)
    value, _ = _part(logits, stride, NUM, BLOCK)
    best, place = tl.max(value, 0, return_indices=True)
    tl.store(high + row * PARTS + part, best)
    tl.store(at + row * PARTS + part, part * BLOCK + place)
    tl.debug_barrier()
    if tl.atomic_add(counter + row, 1, sem="acq_rel") == PARTS - 1:
        p = tl.arange(0, WIDE)
        every = tl.load(high + row * PARTS + p, mask=p < PARTS, other=float("-inf"), cache_modifier=".cg")
        best, winner = tl.max(every, 0, return_indices=True)
        tl.store(out + row, tl.load(at + row * PARTS + winner, cache_modifier=".cg").to(tl.int64))
        tl.store(peaks + row, best)
        tl.store(counter + row, 0)


def greedy(logits: Tensor, num_valid: int) -> tuple[Tensor, Tensor]:
    """See `fused.greedy`. Bytes: 2 V S in bf16; V = 151,936: 0.3 MB a row, 0.07 us, so one launch."""
    rows = _checked(logits)
    parts = triton.cdiv(num_valid, PART)
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    peaks = torch.empty(rows, dtype=torch.float32, device=logits.device)
    high = torch.empty(rows, parts, dtype=torch.float32, device=logits.device)
    at = torch.empty(rows, parts, dtype=torch.int32, device=logits.device)
    _greedy(
        (rows, parts, 1),
        (logits, out, peaks, high, at, tickets(logits.device)),
        (logits.stride(0),),
        (num_valid, PART, parts, power_of_2(parts)),
    )
    return out, peaks


LOWEST = tl.constexpr(-(2**63))
"""Below every key."""


@triton.jit
def _key(value, ids):
    """int64 whose order is that of fp32 `value`; of equal ones the lower id is the higher, so that all differ."""
    bits = value.to(tl.int32, bitcast=True)
    bits = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (bits.to(tl.int64) << 32) | (0x7FFFFFFF - ids).to(tl.int64)


@triton.jit
def _value(key):
    """The fp32 value of a key."""
    bits = (key >> 32).to(tl.int32)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.float32, bitcast=True)


@kernel()
def _draw(
    logits, temperature, top_k, top_p, min_p, uniform, out, keys, counter, stride, NUM: tl.constexpr,
    BLOCK: tl.constexpr, PARTS: tl.constexpr, WIDE: tl.constexpr, MOST: tl.constexpr,
):  # fmt: skip
    row, part = tl.program_id(0), tl.program_id(1)
    value, ids = _part(logits, stride, NUM, BLOCK)
    rest = _key(value, ids)
    few = tl.minimum(tl.load(top_k + row).to(tl.int32), MOST)
    for rank in range(few):
        best = tl.max(rest, 0)
        tl.store(keys + (row * PARTS + part) * MOST + rank, best)
        rest = tl.where(rest == best, LOWEST, rest)
    tl.debug_barrier()
    if tl.atomic_add(counter + row, 1, sem="acq_rel") == PARTS - 1:
        # The candidates of each part lie highest first: the next of all is the highest of the first of each.
        p = tl.arange(0, WIDE)
        mine = keys + (row * PARTS + p) * MOST
        first = tl.load(mine, mask=p < PARTS, other=LOWEST, cache_modifier=".cg")
        place = tl.zeros([WIDE], tl.int32)
        ranks = tl.arange(0, MOST)
        found = tl.full([MOST], LOWEST, tl.int64)
        for rank in range(few):
            best = tl.max(first, 0)
            found = tl.where(ranks == rank, best, found)
            won = first == best
            place += won.to(tl.int32)
            more = tl.load(mine + place, mask=won & (place < few), other=LOWEST, cache_modifier=".cg")
            first = tl.where(won, more, first)
        weight = tl.exp((_value(found) - _value(tl.max(found, 0))) / tl.load(temperature + row))
        weight = tl.where((ranks < few) & (weight >= tl.load(min_p + row)), weight, 0.0)
        before = tl.cumsum(weight, 0) - weight
        weight = tl.where(before < tl.load(top_p + row) * tl.sum(weight, 0), weight, 0.0)
        mass = tl.cumsum(weight, 0)
        passed_over = tl.sum((mass <= tl.load(uniform + row) * tl.max(mass, 0)).to(tl.int32), 0)
        chosen = tl.maximum(tl.minimum(passed_over, tl.sum((weight > 0).to(tl.int32), 0) - 1), 0)
        winner = tl.max(tl.where(ranks == chosen, found, LOWEST), 0)
        tl.store(out + row, 0x7FFFFFFF - (winner & 0x7FFFFFFF))
        tl.store(counter + row, 0)


def draw(
    logits: Tensor,
    num_valid: int,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    min_p: Tensor,
    uniform: Tensor,
    most: int,
) -> Tensor:
    """See `fused.draw`; `most` is a power of 2. Of equal logits the lower id ranks first.

    Bytes: 2 V S in bf16, a launch's worth. Time is that of 2 top_k reductions one after the other, whatever S up to
    about 8.
    """
    rows = _checked(logits)
    assert most & (most - 1) == 0, "most must be a power of 2"
    assert most <= PART, "more candidates than a part has"
    parts = triton.cdiv(num_valid, PART)
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    keys = torch.empty(rows, parts, most, dtype=torch.int64, device=logits.device)
    _draw(
        (rows, parts, 1),
        (logits, temperature, top_k, top_p, min_p, uniform, out, keys, tickets(logits.device)),
        (logits.stride(0),),
        (num_valid, PART, parts, power_of_2(parts), most),
    )
    return out


@kernel()
def _penalize(logits, bias, uses, repetition, frequency, presence, out, stride, NUM: tl.constexpr, BLOCK: tl.constexpr):
    row, ids = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = ids < NUM
    value = tl.load(logits + row * stride + ids, mask=mask).to(tl.float32) + tl.load(bias + row * NUM + ids, mask=mask)
    used = tl.load(uses + row * NUM + ids, mask=mask, other=0)
    factor = tl.load(repetition + row)
    value = tl.where(used > 0, value * tl.where(value > 0, 1 / factor, factor), value)
    count = used >> 1
    value -= tl.load(frequency + row) * count.to(tl.float32)
    value -= tl.where(count > 0, tl.load(presence + row), 0.0)
    tl.store(out + row * NUM + ids, value, mask=mask)


def penalize(
    logits: Tensor, bias: Tensor, uses: Tensor, repetition: Tensor, frequency: Tensor, presence: Tensor
) -> Tensor:
    """See `fused.penalize`. Bytes: 14 V S in bf16; V = 151,936: 2.1 MB a row, 0.5 us."""
    rows = _checked(logits)
    assert bias.is_contiguous() and uses.is_contiguous(), "bias and uses must be in one piece"  # noqa: PT018
    out = torch.empty_like(bias)
    _penalize(
        (rows, triton.cdiv(bias.shape[1], PART), 1),
        (logits, bias, uses, repetition, frequency, presence, out),
        (logits.stride(0),),
        (bias.shape[1], PART),
    )
    return out


def _checked(logits: Tensor) -> int:
    """How many rows there are."""
    assert logits.stride(1) == 1, "rows must be in one piece"
    assert len(logits) <= COUNT, "more rows than tickets"
    return len(logits)
