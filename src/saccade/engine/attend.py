"""Attention of one step over keys and values in blocks, as the decoder asks for it; knows layers by number only."""

from __future__ import annotations

from torch import Tensor

from saccade.kernels import AttentionBatch
from saccade.model.qwen3vl import Qwen3VL


class PagedAttention:
    """Attention of one step over all layers' blocks; see `Attend`."""

    def __init__(
        self,
        model: Qwen3VL,
        keys: list[Tensor],
        values: list[Tensor],
        cos: Tensor,
        sin: Tensor,
        batch: AttentionBatch,
    ) -> None:
        self._ops, self._eps = model.ops, model.config.text.rms_norm_eps
        self._keys, self._values, self._batch = keys, values, batch
        self._cos, self._sin = cos, sin

    def __call__(self, index: int, qkv: Tensor, q_weight: Tensor, k_weight: Tensor, /) -> Tensor:
        keys, values, batch = self._keys[index], self._values[index], self._batch
        rows = qkv, q_weight, k_weight, self._cos, self._sin, self._eps, keys, values
        if batch.num_decodes == len(qkv):
            return self._ops.decode_attention(*rows, batch)
        return self._ops.paged_attention(self._ops.qk_norm_rope_store(*rows, batch.slots), keys, values, batch)
