"""Every op of the model in plain torch, tensors in and tensors out: specification of faster twins, and the CPU path.

    N tokens or patches, packed without a batch dimension     E width      F inner width of an MLP
    Hq, Hk query and key heads      D head width (d in the vision tower)     S segments

Nothing here writes into its inputs, so gradients pass through every op; nothing here knows layers, weights files or
requests. On an accelerator no op waits for the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., D] * rsqrt(mean(x^2) + eps) * weight [D]; statistics in fp32, rounded to x's type before the weight."""
    if x.dtype == torch.float32:
        return F.rms_norm(x, weight.shape, weight, eps)
    return F.rms_norm(x.float(), weight.shape, None, eps).to(x.dtype) * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """The usual layer norm over the last axis: x [..., D], weight and bias [D]."""
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x [N, H, D] by the angles of cos, sin [N, D]: element j pairs with element j + D/2.

    D = 4: [x0, x1, x2, x3] * cos + [-x2, -x3, x0, x1] * sin.
    """
    first, second = x.chunk(2, dim=-1)
    return x * cos.unsqueeze(1) + torch.cat((-second, first), dim=-1) * sin.unsqueeze(1)


def qk_norm_rope(
    qkv: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor, eps: float, num_kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """qkv [N, (Hq + 2 Hk) D] -> q [N, Hq, D], k and v [N, Hk, D], where each head of q and k is normed (weights [D]),
    then rotated by cos, sin [N, D] of qkv's type."""
    rows = qkv.view(len(qkv), -1, q_weight.shape[0])
    q, k, v = torch.split(rows, [rows.shape[1] - 2 * num_kv_heads, num_kv_heads, num_kv_heads], dim=1)
    return rotate(rms_norm(q, q_weight, eps), cos, sin), rotate(rms_norm(k, k_weight, eps), cos, sin), v


def rope_2d(qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """qkv [N, 3 H d] -> q, k, v [N, H, d], where q and k are rotated in fp32 by cos, sin [N, d] fp32 and rounded back.
    A fast twin may write into qkv."""
    q, k, v = qkv.view(len(qkv), 3, -1, cos.shape[1]).unbind(1)
    return rotate(q.float(), cos, sin).to(q.dtype), rotate(k.float(), cos, sin).to(k.dtype), v


def segment_attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
    """Full attention inside each segment: q, k, v [N, H, d], cu_seqlens int32 [S+1] -> [N, H, d].

    Segment s holds rows cu_seqlens[s] to cu_seqlens[s+1]; max_seqlen is the length of the longest. Runs of segments of
    one length go through as one batch. 3 segments of 64 rows: N = 192 = 3 * max_seqlen, so all are equal and
    cu_seqlens need not be read; that is the usual case (one picture, or one video), and the only one on a device
    that never waits for it.
    """
    num_segments = cu_seqlens.shape[0] - 1
    if num_segments * max_seqlen == q.shape[0]:
        return _equal_segments(q, k, v, max_seqlen)
    if q.device.type != "cpu":
        return _padded_segments(q, k, v, cu_seqlens, max_seqlen)
    bounds: list[int] = cu_seqlens.tolist()
    parts, first = [], 0
    for s in range(1, num_segments + 1):
        length = bounds[s] - bounds[s - 1]
        if length and (s == num_segments or bounds[s + 1] - bounds[s] != length):  # an empty segment has no rows
            rows = slice(first, bounds[s])
            parts.append(_equal_segments(q[rows], k[rows], v[rows], length))
            first = bounds[s]
    return torch.cat(parts)


def _equal_segments(q: Tensor, k: Tensor, v: Tensor, length: int) -> Tensor:
    """Segments of one length as a batch: [S * length, H, d] seen as [S, H, length, d]."""
    q, k, v = (x.reshape(-1, length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)


def _padded_segments(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
    """Segments of different lengths, padded to the longest; every index is computed on the device.

    Lengths 2 and 3: gather rows [[0, 1, 1'], [2, 3, 4]] with 1' masked; row 3 is found again at (segment 1, place 1).
    """
    num_rows = q.shape[0]
    row = torch.arange(num_rows, device=q.device)
    place = torch.arange(max_seqlen, device=q.device)
    start, end = cu_seqlens[:-1, None].long(), cu_seqlens[1:, None].long()
    gather = torch.minimum(start + place, end - 1)
    mask = (start + place < end)[:, None, None, :]
    q, k, v = (x[gather].transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
    segment = torch.searchsorted(cu_seqlens[1:].long(), row, right=True)
    return out[segment, row - cu_seqlens.long()[segment]]


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q [n, Hq, D] are the last n of the m rows of k, v [m, Hk, D]; query i sees keys 0 .. m - n + i -> [n, Hq, D].

    Query head h reads key head h // (Hq / Hk). One query (decoding) needs no mask, and its group of heads can be seen
    as rows of one attention per key head, which reads k and v in place; otherwise the key heads are repeated.
    """
    n, num_heads, _ = q.shape
    m, num_kv_heads, _ = k.shape
    group = num_heads // num_kv_heads
    q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
    if n == 1:
        return F.scaled_dot_product_attention(q.reshape(1, num_kv_heads, group, -1), k[None], v[None]).view(
            1, num_heads, -1
        )
    if group > 1:
        k, v = k.repeat_interleave(group, dim=0), v.repeat_interleave(group, dim=0)
    mask = None if n == m else torch.ones(n, m, dtype=torch.bool, device=q.device).tril(m - n)
    out = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask, is_causal=n == m)
    return out[0].transpose(0, 1)


def silu_mul(gate_up: Tensor) -> Tensor:
    """[..., 2F] -> [..., F]: silu of the first half times the second."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh form of GELU (vision blocks)."""
    return F.gelu(x, approximate="tanh")


def gelu_erf(x: Tensor) -> Tensor:
    """The exact form of GELU (mergers)."""
    return F.gelu(x)


def add_rows(x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """x [N, E] with values [R, E] added at rows int64 [R] (each row at most once)."""
    return x.index_add(0, rows, values)


def patch_rows(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """pixels uint8 [T, H, W, 3] -> patch rows [t * H/16 * W/16, 768 or 1536], values (x - 127.5) / 127.5.

    A still (T = 1) gives rows of 768 = [channel 3][y 16][x 16]; T = 2t frames give rows of 1536 = [channel 3][frame 2]
    [y 16][x 16]. Rows go by frame pair, then by block of 2x2 patches, then inside the block: H = W = 64 has
    rows (0,0) (0,1) (1,0) (1,1) (0,2) (0,3) (1,2) (1,3) (2,0) ... as (patch row, patch column), so that each 4
    consecutive rows become one token.
    """
    frames, height, width, channels = pixels.shape
    depth = 1 if frames == 1 else 2
    blocks = pixels.view(frames // depth, depth, height // 32, 2, 16, width // 32, 2, 16, channels)
    #         0 pair, 1 frame, 2 block row, 3 row in block, 4 y, 5 block column, 6 column in block, 7 x, 8 channel
    rows = blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(-1, channels * depth * 256)
    return ((rows.float() - 127.5) / 127.5).to(dtype)


def experts(x: Tensor, router: Tensor, gate_up: Tensor, down: Tensor, top_k: int) -> Tensor:
    """Mixture of experts: x [N, E], router [X, E], gate_up [X, 2F, E], down [X, E, F] for X experts -> [N, E].

    Probabilities are a softmax in fp32 over all experts; the top_k largest are scaled to sum 1, then rounded to x's
    type. Rows are sorted by expert so that each expert is one slice of a grouped product: choices [[2, 0], [0, 1]]
    sort to rows 0, 1, 1, 0 with the slices of experts 0, 1, 2 ending at 2, 3, 4.
    """
    num_experts = router.shape[0]
    probs = F.linear(x, router).softmax(dim=-1, dtype=torch.float32)
    weight, choice = probs.topk(top_k, dim=-1)
    weight = (weight / weight.sum(dim=-1, keepdim=True)).to(x.dtype)
    expert, order = choice.flatten().sort(stable=True)
    ends = torch.searchsorted(expert, torch.arange(num_experts, device=x.device), right=True).to(torch.int32)
    rows = order // top_k
    inner = silu_mul(F.grouped_mm(x[rows], gate_up.transpose(1, 2), offs=ends))
    out = F.grouped_mm(inner, down.transpose(1, 2), offs=ends) * weight.flatten()[order, None]
    return torch.zeros_like(x).index_add(0, rows, out)
