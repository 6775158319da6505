"""What a CPU does faster than plain torch with many rows: oneDNN's products, rotation where the rows lie.

    N rows     K inner width     O outputs     H heads of width d

In fp32, where plain torch takes another library's product, oneDNN's is 8 to 40 % faster from some hundred rows on, and
applies the activation or adds the residual where it writes. It prepares each new size for about a millisecond, so it is
not for few rows. Nothing here has gradients: where they are wanted, the plain op runs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.kernels import fused, reference

MANY = 256
"""Rows from which on preparing a size pays at its first use."""
STEP = 64
"""Rows are filled up to a multiple of it: what is prepared for a size stays in memory, and after 1,500 sizes of two
products that was 1 GB."""


def available() -> bool:
    """Whether this torch was built with oneDNN's products."""
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(built) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def norm_linear(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """See `fused.norm_linear`."""
    return linear(reference.rms_norm(x, norm_weight, eps), weight)


def norm_gate_up(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """See `fused.norm_gate_up`."""
    return reference.silu_mul(linear(reference.rms_norm(x, norm_weight, eps), weight))


def linear_add(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """See `fused.linear_add`; the residual stays as it is."""
    if _worth_it(x):
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(_filled(x), _filled(residual), weight, None, "add")
        return out[: len(x)]
    return residual + F.linear(x, weight)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See `fused.linear`."""
    if _worth_it(x):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(_filled(x), weight, bias, "none", [], "")
        return out[: len(x)]
    return F.linear(x, weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See `fused.linear_gelu`."""
    if _worth_it(x):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(_filled(x), weight, bias, "gelu", [], "tanh")
        return out[: len(x)]
    return fused.linear_gelu(x, weight, bias)


def rope_2d(qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `reference.rope_2d`; q, k and v are views of qkv, whose queries and keys are overwritten."""
    if torch.is_grad_enabled() or qkv.dtype != torch.float32:
        return reference.rope_2d(qkv, cos, sin)
    rows, width = len(qkv), cos.shape[1]
    q, k, v = qkv.view(rows, 3, -1, width).unbind(1)
    first, second = qkv.view(rows, -1, 2, width // 2).narrow(1, 0, 2 * q.shape[1]).unbind(2)
    (cos1, cos2), (sin1, sin2) = (table.view(rows, 1, 2, -1).unbind(2) for table in (cos, sin))
    turned = torch.addcmul(first * cos1, second, sin1, value=-1)
    second.mul_(cos2).addcmul_(first, sin2)
    first.copy_(turned)
    return q, k, v


def _filled(x: Tensor) -> Tensor:
    """x [N, K] with rows of zeros behind, up to a multiple of STEP."""
    over = -len(x) % STEP
    return F.pad(x, (0, 0, 0, over)) if over else x


def _worth_it(x: Tensor) -> bool:
    return x.shape[0] >= MANY and x.dtype == torch.float32 and not torch.is_grad_enabled()
