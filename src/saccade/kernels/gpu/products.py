# mypy: disable-error-code="no-untyped-call"
"""Products with weights on a GPU: which kernel performs each, by the number of rows.

    N rows     K inner width     O outputs

One row: the weight streams through once, and norm, gate and residual ride along (`stream`). More rows: cuBLAS, with a
kernel for the rows before or behind it; up to 16 rows, products that add a residual and the head still stream. On
Hopper another kernel (`few`) takes those and the gate's, the latter up to 32 rows where the outputs alone occupy the
device. Measured on an H200, us, 8 rows, streamed / cuBLAS: qkv 2B 12.0 / 9.0, gate_up 2B 23.0 / 19.4; down 10.9 / 12.0,
4B 17.2 / 18.3; o 6.1 / 6.2, 4B 9.2 / 10.5; head 154 / 161, 4B 189 / 198.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.kernels.gpu import few, pointwise, stream
from saccade.kernels.gpu.launch import has_descriptors

HEAD = 65536
"""Outputs from which a product is taken for the head's."""


WIDE = 2 * 64 * few.MULTIPROCESSORS
"""Outputs of gate and up from which `few` beats cuBLAS at more than 16 rows."""


def _is_few(x: Tensor, *, most: int) -> bool:
    return 1 < len(x) <= most and x.dtype != torch.float32 and has_descriptors(x.device)


def norm_linear(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """See `fused.norm_linear`. Without streaming: bytes 4 N K of the norm, operations 2 N O K."""
    if len(x) == 1 or (len(x) <= stream.MOST_ROWS and len(weight) >= HEAD):
        return stream.norm_linear(x, norm_weight, eps, weight)
    return F.linear(pointwise.rms_norm(x, norm_weight, eps), weight)


def norm_gate_up(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """See `fused.norm_gate_up`. Without streaming: bytes 4 N K of the norm, 6 N F of the gate; operations 4 N F K."""
    if len(x) == 1:
        return stream.norm_gate_up(x, norm_weight, eps, weight)
    x = pointwise.rms_norm(x, norm_weight, eps)
    if _is_few(x, most=few.MOST_ROWS if len(weight) >= WIDE else stream.MOST_ROWS):
        return few.gate_up(x, weight)
    return pointwise.silu_mul(F.linear(x, weight))


def linear_add(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """See `fused.linear_add`. Behind few rows cuBLAS adds where it writes, so the result lies where the residual was:
    anywhere else, the residual would be copied there first (4 N O bytes)."""
    if len(x) <= stream.MOST_ROWS:
        add = few.linear_add if _is_few(x, most=stream.MOST_ROWS) else stream.linear_add
        return add(x, weight, residual)
    return residual.addmm_(x, weight.t())


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See `fused.linear_gelu`: cuBLAS applies the activation where it writes. Operations: 2 N O K."""
    out: Tensor = torch._addmm_activation(bias, x, weight.t(), use_gelu=True)
    return out
