# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-def,no-untyped-call"
"""Ops on rows in Triton: norms with a residual, norm + rotation + storing, gated activation, rows added in place.

    N rows     E width     F inner width of the MLP     D head width, a power of 2     Hq, Hk query and key heads

All of them only move bytes: the floor of each is its bytes over the copy rate (4.29 TB/s on an H200), and about 2 us
for a launch when N is small. Sums are fp32; a sum of two rows is rounded to their type before it is normed.
"""

import torch
import triton.language as tl
from torch import Tensor

from saccade.kernels.gpu.launch import kernel
from saccade.kernels.gpu.tickets import power_of_2

FEW_ROWS = 64
"""Up to so many rows, programs of one head each all run at once."""


@kernel()
def _norm_row(
    x, residual, weight, bias, out, total, x_stride, eps, E: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr,
    CENTRE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    mask = at < E
    rows = tl.load(x + row * x_stride + at, mask=mask, other=0.0)
    if ADD:
        rows = (rows.to(tl.float32) + tl.load(residual + row * E + at, mask=mask, other=0.0).to(tl.float32)).to(
            rows.dtype
        )
        tl.store(total + row * E + at, rows, mask=mask)
    value = rows.to(tl.float32)
    scale = tl.load(weight + at, mask=mask, other=0.0).to(tl.float32)
    if CENTRE:
        value = tl.where(mask, value - tl.sum(value, 0) / E, 0.0)
    value = value * tl.rsqrt(tl.sum(value * value, 0) / E + eps)
    if CENTRE:
        value = value * scale + tl.load(bias + at, mask=mask, other=0.0).to(tl.float32)
    else:
        value = value.to(rows.dtype).to(tl.float32) * scale
    tl.store(out + row * E + at, value.to(rows.dtype), mask=mask)


def _norm(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """Norm of each row of x [..., E], plus `residual` if there is one; of the mean too where there is a bias."""
    width = x.shape[-1]
    rows = x if x.dim() == 2 else x.reshape(-1, width)
    assert residual is None or residual.is_contiguous(), "the residual must be in one piece"
    out = torch.empty_like(rows)
    total = out if residual is None else torch.empty_like(out)
    block = power_of_2(width)
    _norm_row(
        (len(rows), 1, 1),
        (rows, x if residual is None else residual, weight, weight if bias is None else bias, out, total),
        (rows.stride(0), eps),
        (width, block, residual is not None, bias is not None),
        warps=min(max(block // 512, 1), 8),
    )
    return (out, total) if x.dim() == 2 else (out.view(x.shape), total.view(x.shape))


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """See `reference.rms_norm`. Bytes: 4 N E in bf16; 1,536 rows of 2048: 12.6 MB, 2.9 us."""
    return _norm(x, None, weight, None, eps)[0]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """See `reference.layer_norm`. Bytes: 4 N E in bf16; 4,096 patches of 1024: 16.8 MB, 3.9 us."""
    return _norm(x, None, weight, bias, eps)[0]


def add_layer_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """See `fused.add_layer_norm`. Bytes: 8 N E in bf16; 4,096 patches of 1024: 33.6 MB, 7.8 us."""
    return _norm(x, residual, weight, bias, eps)


@kernel()
def _norm_rope_store(
    qkv, q_weight, k_weight, cos, sin, out, k_cache, v_cache, slots, eps, stride, HQ: tl.constexpr, HK: tl.constexpr,
    D: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    half = tl.arange(0, D // 2)
    real = (head < HQ + 2 * HK)[:, None]
    is_q, is_v = (head < HQ)[:, None], (head >= HQ + HK)[:, None]
    at = qkv + row * stride + head[:, None] * D + half[None, :]
    raw1, raw2 = tl.load(at, mask=real, other=0.0), tl.load(at + D // 2, mask=real, other=0.0)
    x1, x2 = raw1.to(tl.float32), raw2.to(tl.float32)
    scale = tl.rsqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / D + eps)[:, None]
    w1 = tl.where(is_q, tl.load(q_weight + half)[None, :], tl.load(k_weight + half)[None, :]).to(tl.float32)
    w2 = tl.where(is_q, tl.load(q_weight + D // 2 + half)[None, :], tl.load(k_weight + D // 2 + half)[None, :])
    x1 = (x1 * scale).to(raw1.dtype).to(tl.float32) * w1
    x2 = (x2 * scale).to(raw2.dtype).to(tl.float32) * w2.to(tl.float32)
    turn = row * D + half
    c1, s1 = tl.load(cos + turn).to(tl.float32)[None, :], tl.load(sin + turn).to(tl.float32)[None, :]
    c2, s2 = tl.load(cos + turn + D // 2).to(tl.float32)[None, :], tl.load(sin + turn + D // 2).to(tl.float32)[None, :]
    y1 = (x1 * c1 - x2 * s1).to(raw1.dtype)
    y2 = (x2 * c2 + x1 * s2).to(raw2.dtype)
    q_at = out + (row * HQ + head)[:, None] * D + half[None, :]
    tl.store(q_at, y1, mask=is_q)
    tl.store(q_at + D // 2, y2, mask=is_q)
    slot = tl.load(slots + row)
    is_k = real & (head >= HQ)[:, None] & (head < HQ + HK)[:, None]
    k_at = k_cache + (slot * HK + head - HQ)[:, None] * D + half[None, :]
    tl.store(k_at, y1, mask=is_k)
    tl.store(k_at + D // 2, y2, mask=is_k)
    v_at = v_cache + (slot * HK + head - HQ - HK)[:, None] * D + half[None, :]
    tl.store(v_at, raw1, mask=real & is_v)
    tl.store(v_at + D // 2, raw2, mask=real & is_v)


def qk_norm_rope_store(
    qkv: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    k_cache: Tensor,
    v_cache: Tensor,
    slots: Tensor,
    *,
    heads: int | None = None,
) -> Tensor:
    """See `fused.qk_norm_rope_store`; head width a power of 2; `heads` heads of a row go to one program: one where the
    rows are few, which then are done sooner, 16 where launching programs is what counts.

    Bytes: 4 N (Hq + 2 Hk) D + 4 N D in bf16; 1,536 rows, Hq 16, Hk 8: 25.9 MB, 6.0 us; Hq 32: 38.5 MB, 9.0 us. One
    row: a launch.
    """
    num_kv_heads, width = k_cache.shape[2:]
    total = qkv.shape[1] // width
    num_heads = total - 2 * num_kv_heads
    assert cos.is_contiguous(), "the tables must be in one piece"
    out = qkv.new_empty(len(qkv), num_heads, width)
    heads = heads or (1 if len(qkv) <= FEW_ROWS else 16)
    _norm_rope_store(
        (len(qkv), -(-total // heads), 1),
        (qkv, q_weight, k_weight, cos, sin, out, k_cache, v_cache, slots),
        (eps, qkv.stride(0)),
        (num_heads, num_kv_heads, width, heads),
        warps=max(1, heads * width // 512),
    )
    return out


@kernel()
def _silu_mul(gate_up, out, stride, F: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = at < F
    gate = tl.load(gate_up + row * stride + at, mask=mask, other=0.0)
    up = tl.load(gate_up + row * stride + F + at, mask=mask, other=0.0).to(tl.float32)
    value = gate.to(tl.float32)
    value = (value / (1.0 + tl.exp(-value))).to(gate.dtype).to(tl.float32) * up
    tl.store(out + row * F + at, value.to(gate.dtype), mask=mask)


def silu_mul(gate_up: Tensor) -> Tensor:
    """See `reference.silu_mul`. Bytes: 6 N F in bf16; 1,536 rows, F = 6144: 56.6 MB, 13.2 us; F = 9728: 20.9 us."""
    width = gate_up.shape[-1] // 2
    rows = gate_up if gate_up.dim() == 2 else gate_up.reshape(-1, 2 * width)
    out = gate_up.new_empty(len(rows), width)
    block = min(power_of_2(width), 1024)
    _silu_mul((len(rows), -(-width // block), 1), (rows, out), (rows.stride(0),), (width, block))
    return out if gate_up.dim() == 2 else out.view(*gate_up.shape[:-1], width)


@kernel()
def _add_rows(x, rows, values, stride, E: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + i).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = (at < E) & (row >= 0)
    value = tl.load(values + i * E + at, mask=mask, other=0.0)
    before = tl.load(x + row * stride + at, mask=mask, other=0.0)
    tl.store(x + row * stride + at, (before.to(tl.float32) + value.to(tl.float32)).to(before.dtype), mask=mask)


def add_rows_(x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """See `fused.add_rows_`: writes into x. Bytes: 6 R E in bf16; 1,024 rows of 2048: 12.6 MB, 2.9 us."""
    assert values.is_contiguous(), "the values must be in one piece"
    if len(rows):
        block = min(power_of_2(x.shape[1]), 1024)
        grid = (len(rows), -(-x.shape[1] // block), 1)
        _add_rows(grid, (x, rows, values), (x.stride(0),), (x.shape[1], block))
    return x
