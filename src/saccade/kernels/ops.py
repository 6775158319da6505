"""The one place of choice: which implementation of each op the model uses on a device, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from saccade.kernels import cpu, fused, paged, reference
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
    decode_attention: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float, Tensor, Tensor, AttentionBatch], Tensor]
    add_rows_: Callable[[Tensor, Tensor, Tensor], Tensor]
    experts: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
    layer_norm: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    add_layer_norm: Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    linear: Callable[[Tensor, Tensor, Tensor], Tensor]
    linear_gelu: Callable[[Tensor, Tensor, Tensor], Tensor]
    gelu_erf: Callable[[Tensor], Tensor]
    rope_2d: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    segment_attention: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
    patch_rows: Callable[[Tensor, torch.dtype], Tensor]
    place_rows: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    greedy: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    draw: Callable[[Tensor, int, Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]
    penalize: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    reason: str
    """Why these were chosen, for people."""


SLOWER: tuple[str, ...] = ()
"""Fields of Ops that stay with plain torch on a CUDA device, because it was measured to be faster there."""


def select(device: torch.device | str, *, fused: bool = True) -> Ops:
    """The ops for a device: the fast ones there are, which may write into their inputs where their twins say so, and
    have no gradients on CUDA; without `fused` plain torch, with which a model can be trained anywhere."""
    kind = torch.device(device).type
    plain = _plain()
    if not fused:
        return replace(plain, reason=f"plain torch on {kind}, as asked")
    if kind == "cuda":
        kept = f"; plain torch: {', '.join(SLOWER)}" if SLOWER else ""
        chosen = {name: op for name, op in _fast().items() if name not in SLOWER}
        return replace(plain, **chosen, reason=f"Triton and cuBLAS on cuda{kept}")
    if kind == "cpu" and cpu.available():
        return replace(
            plain,
            norm_linear=cpu.norm_linear,
            norm_gate_up=cpu.norm_gate_up,
            linear_add=cpu.linear_add,
            linear=cpu.linear,
            linear_gelu=cpu.linear_gelu,
            rope_2d=cpu.rope_2d,
            reason="plain torch on cpu; oneDNN for many rows",
        )
    return replace(plain, reason=f"plain torch on {kind}")


def prepare(device: torch.device | str) -> None:
    """Take what the fast ops of a device share; has to come before a graph is captured."""
    if torch.device(device).type == "cuda":
        from saccade.kernels.gpu.tickets import tickets

        tickets(torch.empty(0, device=device).device)


def _plain() -> Ops:
    return Ops(
        rms_norm=reference.rms_norm,
        norm_linear=fused.norm_linear,
        norm_gate_up=fused.norm_gate_up,
        linear_add=fused.linear_add,
        qk_norm_rope_store=fused.qk_norm_rope_store,
        paged_attention=paged.paged_attention,
        decode_attention=fused.decode_attention,
        add_rows_=fused.add_rows_,
        experts=reference.experts,
        layer_norm=reference.layer_norm,
        add_layer_norm=fused.add_layer_norm,
        linear=fused.linear,
        linear_gelu=fused.linear_gelu,
        gelu_erf=reference.gelu_erf,
        rope_2d=reference.rope_2d,
        segment_attention=reference.segment_attention,
        patch_rows=reference.patch_rows,
        place_rows=fused.place_rows,
        greedy=fused.greedy,
        draw=fused.draw,
        penalize=fused.penalize,
        reason="plain torch",
    )


def _fast() -> dict[str, Any]:
    """The fields that have a fast op on CUDA; triton is imported here and nowhere earlier."""
    from saccade.kernels.gpu import attention, decode, pointwise, products, sampling, vision

    return {
        "rms_norm": pointwise.rms_norm,
        "norm_linear": products.norm_linear,
        "norm_gate_up": products.norm_gate_up,
        "linear_add": products.linear_add,
        "qk_norm_rope_store": pointwise.qk_norm_rope_store,
        "paged_attention": attention.paged_attention,
        "decode_attention": decode.decode_attention,
        "add_rows_": pointwise.add_rows_,
        "layer_norm": pointwise.layer_norm,
        "add_layer_norm": pointwise.add_layer_norm,
        "linear_gelu": products.linear_gelu,
        "rope_2d": vision.rope_2d,
        "segment_attention": vision.segment_attention,
        "patch_rows": vision.patch_rows,
        "place_rows": vision.place_rows,
        "greedy": sampling.greedy,
        "draw": sampling.draw,
        "penalize": sampling.penalize,
    }


def explain(ops: Ops) -> str:
    """One line: which kernels are in use and why."""
    return ops.reason
