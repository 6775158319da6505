"""The text decoder: embedded tokens and their rotary tables go in, hidden rows and logits come out.

    N   tokens of all sequences of this step, packed         E   width              D   head width
    Hq  query heads      Hk  key/value heads                 F   inner MLP width    V   vocabulary
    L   DeepStack levels      R   rows of this step that hold picture tokens

Angles, keys and values belong to the caller: each layer hands its rows to `attend` and gets the attended rows back, so
this file knows neither sequences nor caches nor pages. Every op is the caller's too, the fused ones of `Ops`; where
those are plain torch, gradients pass through all pieces.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.kernels import Ops
from saccade.model.config import TextConfig
from saccade.model.moe import Experts
from saccade.model.parts import part
from saccade.model.rope import decoder_rotary


class Attend(Protocol):
    """Attention of one step: norms and rotates the queries and keys of these rows, stores keys and values for layer
    `index`, and returns what each query sees in its own sequence. It knows the angles of the rows."""

    def __call__(self, index: int, qkv: Tensor, q_weight: Tensor, k_weight: Tensor, /) -> Tensor:
        """qkv [N, (Hq + 2 Hk) D], weights of the norms [D] -> [N, Hq, D]."""
        ...


class RMSNorm(nn.Module):
    """The weight [width] of a root-mean-square norm; the ops apply it on their way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class MLP(nn.Module):
    """down(silu(gate x) * up x); gate and up are one matrix [2F, E], gate rows first."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)


class DecoderLayer(nn.Module):
    """Attention and MLP with a norm before each, cut in two at the attention itself.

    q, k and v are one matrix [(Hq + 2 Hk) D, E]: query heads, key heads, value heads.
    """

    def __init__(self, config: TextConfig, index: int, ops: Ops) -> None:
        super().__init__()
        self.ops = ops
        self.eps = config.rms_norm_eps
        self.num_kv_heads, head_dim = config.num_key_value_heads, config.head_dim
        heads = config.num_attention_heads + 2 * self.num_kv_heads
        self.input_layernorm = RMSNorm(config.hidden_size)
        self.qkv_proj = nn.Linear(config.hidden_size, heads * head_dim, bias=False)
        self.q_norm = RMSNorm(head_dim)
        self.k_norm = RMSNorm(head_dim)
        self.o_proj = nn.Linear(config.num_attention_heads * head_dim, config.hidden_size, bias=False)
        self.post_attention_layernorm = RMSNorm(config.hidden_size)
        self.mlp = Experts(config, ops) if config.is_sparse(index) else MLP(config)

    def qkv(self, x: Tensor) -> Tensor:
        """x [N, E] -> [N, (Hq + 2 Hk) D]: queries, keys and values, none of them normed or rotated yet."""
        norm, weight = part(self, "input_layernorm")["weight"], part(self, "qkv_proj")["weight"]
        return self.ops.norm_linear(x, norm, self.eps, weight)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """x [N, E] (what went into qkv) and attended [N, Hq, D] -> the layer's output [N, E]."""
        ops, norm = self.ops, part(self, "post_attention_layernorm")["weight"]
        x = ops.linear_add(attended.flatten(1), part(self, "o_proj")["weight"], x)
        mlp = self._modules["mlp"]
        if isinstance(mlp, MLP):
            inner = ops.norm_gate_up(x, norm, self.eps, part(mlp, "gate_up_proj")["weight"])
            return ops.linear_add(inner, part(mlp, "down_proj")["weight"], x)
        out: Tensor = x + self.mlp(ops.rms_norm(x, norm, self.eps))
        return out


class Decoder(nn.Module):
    """Embedding, layers, final norm and head; a tied head has no weight of its own."""

    def __init__(self, config: TextConfig, ops: Ops) -> None:
        super().__init__()
        self.config = config
        self.ops = ops
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, i, ops) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size)
        self.lm_head = (
            None if config.tie_word_embeddings else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )

    def embed(self, ids: Tensor) -> Tensor:
        """ids int64 [N] -> [N, E]."""
        return F.embedding(ids, self.embed_tokens.weight)

    def rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions int64 [3, N] (time, height, width) -> (cos, sin) [N, D] in the model's type."""
        config = self.config
        return decoder_rotary(positions, config.mrope_section, config.rope_theta, self.embed_tokens.weight.dtype)

    def forward(
        self,
        x: Tensor,
        attend: Attend,
        deepstack: Tensor | None = None,
        rows: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """x [N, E] -> [N, E] before the final norm, or with `wanted` int64 [P] those rows of it [P, E]; x itself may be
        overwritten.

        deepstack [L, R, E] is added to rows int64 [R] after layers 0 .. L-1. Only the picture tokens of *these* N rows
        count: a prompt cut into chunks brings the slice of features that belongs to its chunk. Negative rows are left
        out. Behind the attention of the last layer nothing is computed for rows that are not wanted.
        """
        last, levels = len(self.layers) - 1, 0 if deepstack is None else len(deepstack)
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            weights = part(layer, "q_norm")["weight"], part(layer, "k_norm")["weight"]
            attended = attend(i, layer.qkv(x), *weights)
            if i == last and wanted is not None and levels <= last:
                if not len(wanted):
                    return x[:0]
                x, attended, wanted = x.index_select(0, wanted), attended.index_select(0, wanted), None
            x = layer.finish(x, attended)
            if deepstack is not None and rows is not None and i < levels:
                x = self.ops.add_rows_(x, rows, deepstack[i])
        return x if wanted is None else x.index_select(0, wanted)

    def head(self, x: Tensor) -> Tensor:
        """x [N, E] of `forward` -> logits [N, V] in the model's type: the final norm and the head."""
        weight = self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return self.ops.norm_linear(x, self.norm.weight, self.config.rms_norm_eps, weight)
