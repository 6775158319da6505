"""Several ops in one, in plain torch: what the steps of serving ask for, as twins of fused kernels.

    N rows     E width     F inner width of the MLP     K inner width of a product     D head width
    Hq, Hk query and key heads     S sequences     V vocabulary

Each is the composition of ops of `reference` that its first line names; a fused kernel may round less often. Some write
into their inputs (said where they do), so none is for training. On an accelerator none waits for the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.kernels import paged, reference


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x, residual [N, E] -> (rms_norm(x + residual), x + residual)."""
    total = x + residual
    return reference.rms_norm(total, weight, eps), total


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
) -> Tensor:
    """qkv [N, (Hq + 2 Hk) D] -> q [N, Hq, D] by qk_norm_rope; keys and values go to their slots in the caches."""
    num_kv_heads, width = k_cache.shape[2:]
    rows = qkv.view(len(qkv), -1, width)
    q, k, v = torch.split(rows, [rows.shape[1] - 2 * num_kv_heads, num_kv_heads, num_kv_heads], dim=1)
    q, k = reference.qk_norm_rope(q, k, q_weight, k_weight, cos, sin, eps)
    paged.store_kv(k, v, k_cache, v_cache, slots)
    return q


def add_rows_(x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """x [N, E] itself, with values [R, E] added at rows int64 [R], each at most once; negative rows are left out."""
    return x.index_add_(0, rows.clamp(min=0), values * (rows >= 0)[:, None])


def linear_add(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """x [N, K], weight [E, K], residual [N, E] -> residual + x @ weight^T."""
    return residual + F.linear(x, weight)


def norm_linear(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """x [N, K], norm_weight [K], weight [E, K] -> rms_norm(x) @ weight^T."""
    return F.linear(reference.rms_norm(x, norm_weight, eps), weight)


def norm_gate_up(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """x [N, K], norm_weight [K], weight [2F, K] -> silu_mul(rms_norm(x) @ weight^T) [N, F]."""
    return reference.silu_mul(norm_linear(x, norm_weight, eps, weight))


def add_layer_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x, residual [N, E] -> (layer_norm(x + residual), x + residual)."""
    total = x + residual
    return reference.layer_norm(total, weight, bias, eps), total


def place_rows(x: Tensor, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """x [N, E] plus four entries of table [P, E] at index int64 [N, 4], times weight fp32 [N, 4]; summed in fp32."""
    return x + torch.einsum("nce,nc->ne", table[index].float(), weight).to(x.dtype)


def greedy(logits: Tensor) -> Tensor:
    """logits [S, V] -> ids int64 [S]: the highest of each row, the first of equals."""
    return logits.argmax(-1)


def draw(logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor, most: int) -> Tensor:
    """logits [S, V] -> ids int64 [S], drawn after temperature, then top-k, then top-p of what is left.

    temperature fp32 [S] (0 is greedy), top_k int64 [S] in 1 .. most, top_p fp32 [S] in (0, 1], uniform fp32 [S] in
    [0, 1): the id where the cumulated probabilities, highest first, pass uniform times their sum. A token stays while
    the mass before it is below top_p.
    """
    best, ids = logits.float().topk(most, dim=-1)
    scaled = (best - best[:, :1]) / temperature.clamp(min=1e-5)[:, None]
    place = torch.arange(most, device=logits.device)
    probs = scaled.masked_fill(place >= top_k[:, None], -torch.inf).softmax(-1)
    probs = torch.where(probs.cumsum(-1) - probs < top_p[:, None], probs, 0.0)
    passed = probs.cumsum(-1) > uniform[:, None] * probs.sum(-1, keepdim=True)
    chosen = torch.where(temperature < 1e-5, 0, passed.int().argmax(-1))
    return ids.gather(1, chosen[:, None])[:, 0]
