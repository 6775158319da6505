"""The keys and values of one sequence, in one piece of memory: rows of each layer come in, attended rows go out;
knows no tokens and no other sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class KV:
    """Memory [layers, 2, capacity, Hk, D] that starts at `capacity` rows and doubles when full, up to `limit` rows.

    One forward pass over n tokens is: `reserve(n)`, `attend` once for each layer, `advance(n)`.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        capacity: int,
        limit: int,
        dtype: torch.dtype,
        device: torch.device,
        attention: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> None:
        self._limit = limit
        self._attention = attention
        self.length = 0
        """Rows filled: the tokens every layer has seen."""
        self._end = 0
        self._hold(torch.empty(num_layers, 2, capacity, num_kv_heads, head_dim, dtype=dtype, device=device))

    @property
    def capacity(self) -> int:
        """Rows there is memory for."""
        return self._rows.shape[2]

    def reserve(self, n: int) -> None:
        """Make room for n more rows; the caller keeps to the limit."""
        self._end = self.length + n
        if self._end <= self.capacity:
            return
        assert self._end <= self._limit, f"{self._end} rows exceed the limit of {self._limit}"
        old = self._rows
        new = old.new_empty(*old.shape[:2], min(self._limit, max(2 * self.capacity, self._end)), *old.shape[3:])
        new[:, :, : self.length] = old[:, :, : self.length]
        self._hold(new)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, /) -> Tensor:
        """Store the n new rows k, v [n, Hk, D] of `layer`; q [n, Hq, D] attends causally to all rows -> [n, Hq, D]."""
        keys, values = self._layers[layer]
        keys[self.length : self._end] = k
        values[self.length : self._end] = v
        return self._attention(q, keys[: self._end], values[: self._end])

    def advance(self, n: int) -> None:
        """All layers have stored their n rows."""
        self.length += n

    def _hold(self, rows: Tensor) -> None:
        self._rows = rows
        # Views made once: indexing the whole block would cost each layer of each step two more calls.
        self._layers = [(layer[0], layer[1]) for layer in rows]
