# mypy: disable-error-code="no-untyped-call"
"""Products with weights on a GPU: which kernel performs each, by the number of rows.

    N rows     K inner width     O outputs

Few rows: the weight streams through once, and norm, gate and residual ride along (`stream`). More rows: cuBLAS, with a
kernel for the rows before or behind it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.kernels.gpu import pointwise, stream

STREAMED = stream.MOST_ROWS
"""Up to so many rows stream."""


def norm_linear(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """See `fused.norm_linear`. Behind few rows: bytes 4 N K of the norm, operations 2 N O K."""
    if len(x) <= STREAMED:
        return stream.norm_linear(x, norm_weight, eps, weight)
    return F.linear(pointwise.rms_norm(x, norm_weight, eps), weight)


def norm_gate_up(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """See `fused.norm_gate_up`. Behind few rows: bytes 4 N K of the norm and 6 N F of the gate, operations 4 N F K."""
    if len(x) <= STREAMED:
        return stream.norm_gate_up(x, norm_weight, eps, weight)
    return pointwise.silu_mul(F.linear(pointwise.rms_norm(x, norm_weight, eps), weight))


def linear_add(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """See `fused.linear_add`. Behind few rows cuBLAS adds where it writes, so the result lies where the residual was:
    anywhere else, the residual would be copied there first (4 N O bytes)."""
    if len(x) <= STREAMED:
        return stream.linear_add(x, weight, residual)
    return residual.addmm_(x, weight.t())


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See `fused.linear_gelu`: cuBLAS applies the activation where it writes. Operations: 2 N O K."""
    out: Tensor = torch._addmm_activation(bias, x, weight.t(), use_gelu=True)
    return out
