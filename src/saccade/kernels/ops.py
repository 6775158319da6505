"""The one place of choice: which implementation of each op the model uses on a device, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from saccade.kernels import fused, paged, reference
from saccade.kernels.batch import AttentionBatch


@dataclass(frozen=True, slots=True)
class Ops:
    """What the model asks of the machine; `reference`, `fused` and `paged` state shapes and meaning of every field."""

    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    norm_linear: Callable[[Tensor, Tensor, float, Tensor], Tensor]
    norm_gate_up: Callable[[Tensor, Tensor, float, Tensor], Tensor]
    linear_add: Callable[[Tensor, Tensor, Tensor], Tensor]
    qk_norm_rope_store: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float, Tensor, Tensor, Tensor], Tensor]
    paged_attention: Callable[[Tensor, Tensor, Tensor, AttentionBatch], Tensor]
    add_rows_: Callable[[Tensor, Tensor, Tensor], Tensor]
    experts: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
    layer_norm: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    rope_2d: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    segment_attention: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
    gelu_tanh: Callable[[Tensor], Tensor]
    gelu_erf: Callable[[Tensor], Tensor]
    patch_rows: Callable[[Tensor, torch.dtype], Tensor]
    greedy: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    draw: Callable[[Tensor, int, Tensor, Tensor, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]
    penalize: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    reason: str
    """Why these were chosen, for people."""


TRITON: tuple[str, ...] = ()
"""Fields of Ops that Triton performs on a CUDA device: those that were measured there and won. None has been yet."""


def select(device: torch.device | str) -> Ops:
    """The ops for a device: plain torch, and on CUDA what TRITON lists (not for training: without gradients)."""
    kind = torch.device(device).type
    plain = Ops(
        rms_norm=reference.rms_norm,
        norm_linear=fused.norm_linear,
        norm_gate_up=fused.norm_gate_up,
        linear_add=fused.linear_add,
        qk_norm_rope_store=fused.qk_norm_rope_store,
        paged_attention=paged.paged_attention,
        add_rows_=fused.add_rows_,
        experts=reference.experts,
        layer_norm=reference.layer_norm,
        rope_2d=reference.rope_2d,
        segment_attention=reference.segment_attention,
        gelu_tanh=reference.gelu_tanh,
        gelu_erf=reference.gelu_erf,
        patch_rows=reference.patch_rows,
        greedy=fused.greedy,
        draw=fused.draw,
        penalize=fused.penalize,
        reason=f"plain torch on {kind}; Triton: none",
    )
    if kind != "cuda" or not TRITON:
        return plain
    return replace(plain, **_triton(TRITON), reason=f"plain torch on {kind}; Triton: {', '.join(TRITON)}")


def _triton(names: tuple[str, ...]) -> dict[str, Any]:
    """The Triton kernels of these fields; triton is imported here and nowhere earlier."""
    from saccade.kernels.gpu import attention, pointwise, sampling, vision

    built: dict[str, Any] = {
        "rms_norm": pointwise.rms_norm,
        "layer_norm": pointwise.layer_norm,
        "rope_2d": vision.rope_2d,
        "segment_attention": vision.segment_attention,
        "qk_norm_rope_store": pointwise.qk_norm_rope_store,
        "add_rows_": pointwise.add_rows_,
        "patch_rows": vision.patch_rows,
        "paged_attention": attention.paged_attention,
        "greedy": sampling.greedy,
        "draw": sampling.draw,
        "penalize": sampling.penalize,
    }
    return {name: built[name] for name in names}


def explain(ops: Ops) -> str:
    """One line: which kernels are in use and why."""
    return ops.reason
