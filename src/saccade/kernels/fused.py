"""Several ops in one, in plain torch: what the steps of serving ask for, as twins of fused kernels.

    N rows     E width     F inner width of the MLP     K inner width of a product     D head width
    Hq, Hk query and key heads     S sequences     V vocabulary

Each is the composition of ops of `reference` that its first line names; a fused kernel may round less often. Some write
into their inputs (said where they do), so none is for training. On an accelerator none waits for the device.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.kernels import paged, reference
from saccade.kernels.batch import AttentionBatch


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
    rows = qkv.view(qkv.shape[0], -1, width)
    heads = rows.shape[1] - 2 * num_kv_heads, num_kv_heads
    # Queries and keys go as one tensor: with few rows each call costs more than what it computes.
    x, values = rows.split_with_sizes((sum(heads), num_kv_heads), 1)
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    x = (x * torch.addcmul(_constant(eps, x.device), size, size, value=1 / width).rsqrt_()).to(x.dtype)
    queries, keys = x.split_with_sizes(heads, 1)
    queries.mul_(q_weight)
    keys.mul_(k_weight)
    first, second = x.chunk(2, dim=-1)
    x = torch.addcmul(x * cos.unsqueeze(1), torch.cat((second.neg(), first), dim=-1), sin.unsqueeze(1))
    queries, keys = x.split_with_sizes(heads, 1)
    paged.store_kv(keys, values, k_cache, v_cache, slots)
    return queries


def decode_attention(
    qkv: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
) -> Tensor:
    """`paged.paged_attention` behind `qk_norm_rope_store`, for a step in which each sequence has one row: qkv
    [S, (Hq + 2 Hk) D] -> [S, Hq, D]."""
    q = qk_norm_rope_store(qkv, q_weight, k_weight, cos, sin, eps, k_cache, v_cache, batch.slots)
    return paged.paged_attention(q, k_cache, v_cache, batch)


@lru_cache(maxsize=16)
def _constant(value: float, device: torch.device) -> Tensor:
    """A number on the device: given as such, each call that takes it would make a tensor of it first."""
    with torch.inference_mode(False):
        return torch.tensor(value, device=device)


def add_rows_(x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """x [N, E] itself, with values [R, E] added at rows int64 [R], each at most once; negative rows are left out."""
    return x.index_add_(0, rows.clamp(min=0), values * (rows >= 0)[:, None])


def linear_add(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """x [N, K], weight [E, K], residual [N, E] -> residual + x @ weight^T. A fast twin may write into the residual, so
    that it is of no use any more."""
    return residual + F.linear(x, weight)


def norm_linear(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """x [N, K], norm_weight [K], weight [E, K] -> rms_norm(x) @ weight^T."""
    return F.linear(reference.rms_norm(x, norm_weight, eps), weight)


def norm_gate_up(x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> Tensor:
    """x [N, K], norm_weight [K], weight [2F, K] -> silu_mul(rms_norm(x) @ weight^T) [N, F]."""
    return reference.silu_mul(norm_linear(x, norm_weight, eps, weight))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [N, K], weight [O, K], bias [O] -> x @ weight^T + bias."""
    return F.linear(x, weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [N, K], weight [O, K], bias [O] -> gelu_tanh(x @ weight^T + bias)."""
    return reference.gelu_tanh(F.linear(x, weight, bias))


def add_layer_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x, residual [N, E] -> (layer_norm(x + residual), x + residual)."""
    total = x + residual
    return reference.layer_norm(total, weight, bias, eps), total


def place_rows(x: Tensor, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """x [N, E] plus four entries of table [P, E] at index int64 [N, 4], times weight fp32 [N, 4]; summed in fp32."""
    place = weight[:, :1] * table[index[:, 0]]
    for corner in range(1, 4):
        place = place + weight[:, corner, None] * table[index[:, corner]]
    return x + place.to(x.dtype)


def greedy(logits: Tensor, num_valid: int) -> tuple[Tensor, Tensor]:
    """logits [S, V] -> ids int64 [S] and their logits fp32 [S]: the highest of the first `num_valid` of each row, the
    first of equals. That logit is not finite where one of them is NaN or +inf, or none is finite."""
    peaks, ids = logits[:, :num_valid].max(-1)
    return ids, peaks.float()


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
    """logits [S, V] -> ids int64 [S], each drawn from the few highest of the first `num_valid` of its row.

    All fp32 [S]: temperature >= 1e-5, top_k whole in 1 .. most, top_p in (0, 1], min_p in [0, 1], uniform in [0, 1).
    After temperature, those less likely than min_p times the likeliest leave, then those behind the top_k likeliest;
    of what is left one stays while the mass before it is below top_p of the whole. The id where the cumulated mass,
    highest first, passes uniform times the whole is drawn. A row without finite logits gets some valid id.
    """
    best, ids = logits[:, :num_valid].topk(min(most, num_valid), dim=-1)
    best = best.float()
    weights = ((best - best[:, :1]) / temperature[:, None]).exp()  # 1 for the likeliest
    place = torch.arange(best.shape[1], device=best.device)
    stays = (place < top_k[:, None]) & (weights >= min_p[:, None])
    weights = torch.where(stays, weights, 0.0)
    mass = weights.cumsum(-1)
    weights = torch.where(mass - weights < top_p[:, None] * mass[:, -1:], weights, 0.0)
    mass = weights.cumsum(-1)
    # What stays is a prefix; rounding must not step behind it.
    passed_over = (mass <= uniform[:, None] * mass[:, -1:]).sum(-1)
    chosen = torch.minimum(passed_over, (weights > 0).sum(-1) - 1).clamp(min=0)
    return ids.gather(1, chosen[:, None])[:, 0]


def penalize(
    logits: Tensor, bias: Tensor, uses: Tensor, repetition: Tensor, frequency: Tensor, presence: Tensor
) -> Tensor:
    """logits [S, V], bias fp32 [S, n], uses int32 [S, n] -> fp32 [S, n]: the first n of each row plus their bias; where
    an id was used, divided (if above 0, else multiplied) by repetition; then less frequency times its count in the
    answer, less presence if that is above 0. The order is vLLM's.

    uses: twice the count in the answer, and 1 more if the prompt has the id. The rest fp32 [S]; neutral are 1, 0 and 0.
    """
    edited = logits[:, : bias.shape[1]] + bias
    factor = torch.where(edited > 0, 1 / repetition[:, None], repetition[:, None])
    edited = torch.where(uses > 0, edited * factor, edited)
    count = uses >> 1
    return edited - frequency[:, None] * count - presence[:, None] * (count > 0)
