"""The one place of choice: which implementation of each op the model uses on a device, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from saccade.kernels import paged, reference
from saccade.kernels.batch import AttentionBatch


@dataclass(frozen=True, slots=True)
class Ops:
    """What the model asks of the machine; `reference.py` and `paged.py` state shapes and meaning of every field."""

    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    layer_norm: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    qk_norm_rope: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    rope_2d: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    segment_attention: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
    causal_attention: Callable[[Tensor, Tensor, Tensor], Tensor]
    silu_mul: Callable[[Tensor], Tensor]
    gelu_tanh: Callable[[Tensor], Tensor]
    gelu_erf: Callable[[Tensor], Tensor]
    add_rows: Callable[[Tensor, Tensor, Tensor], Tensor]
    patch_rows: Callable[[Tensor, torch.dtype], Tensor]
    experts: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
    store_kv: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]
    paged_attention: Callable[[Tensor, Tensor, Tensor, AttentionBatch], Tensor]
    reason: str
    """Why these were chosen, for people."""


TRITON: tuple[str, ...] = ()
"""Fields of Ops that Triton performs on a CUDA device: those that were measured there and won. None has been yet."""


def select(device: torch.device | str) -> Ops:
    """The ops for a device: plain torch, and on CUDA what TRITON lists (not for training: without gradients)."""
    kind = torch.device(device).type
    plain = Ops(
        rms_norm=reference.rms_norm,
        layer_norm=reference.layer_norm,
        qk_norm_rope=reference.qk_norm_rope,
        rope_2d=reference.rope_2d,
        segment_attention=reference.segment_attention,
        causal_attention=reference.causal_attention,
        silu_mul=reference.silu_mul,
        gelu_tanh=reference.gelu_tanh,
        gelu_erf=reference.gelu_erf,
        add_rows=reference.add_rows,
        patch_rows=reference.patch_rows,
        experts=reference.experts,
        store_kv=paged.store_kv,
        paged_attention=paged.paged_attention,
        reason=f"plain torch on {kind}; Triton: none",
    )
    if kind != "cuda" or not TRITON:
        return plain
    return replace(plain, **_triton(TRITON), reason=f"plain torch on {kind}; Triton: {', '.join(TRITON)}")


def _triton(names: tuple[str, ...]) -> dict[str, Any]:
    """The Triton kernels of these fields; triton is imported here and nowhere earlier."""
    from saccade.kernels.gpu import attention, pointwise, vision

    built: dict[str, Any] = {
        "rms_norm": pointwise.rms_norm,
        "layer_norm": pointwise.layer_norm,
        "rope_2d": vision.rope_2d,
        "segment_attention": vision.segment_attention,
        "silu_mul": pointwise.silu_mul,
        "patch_rows": vision.patch_rows,
        "store_kv": attention.store_kv,
        "paged_attention": attention.paged_attention,
    }
    return {name: built[name] for name in names}


def explain(ops: Ops) -> str:
    """One line: which kernels are in use and why."""
    return ops.reason
