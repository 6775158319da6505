"""Keys and values come back as they went in, however the memory had to grow."""

from __future__ import annotations

import pytest
import torch

from saccade.engine.kv import KV
from saccade.kernels import select

LAYERS, HQ, HK, D = 3, 4, 2, 8


def make(capacity: int, limit: int) -> KV:
    return KV(
        num_layers=LAYERS,
        num_kv_heads=HK,
        head_dim=D,
        capacity=capacity,
        limit=limit,
        dtype=torch.float32,
        device=torch.device("cpu"),
        attention=select("cpu").causal_attention,
    )


@pytest.mark.parametrize("pieces", [[40], [1] * 40, [7, 1, 1, 20, 11], [39, 1]])
@pytest.mark.parametrize("capacity", [1, 7, 40])
def test_any_cut_attends_as_the_whole(pieces: list[int], capacity: int) -> None:
    q, k, v = torch.randn(LAYERS, 40, HQ, D), torch.randn(LAYERS, 40, HK, D), torch.randn(LAYERS, 40, HK, D)
    whole = [select("cpu").causal_attention(q[i], k[i], v[i]) for i in range(LAYERS)]
    kv, at = make(capacity, 40), 0
    for n in pieces:
        kv.reserve(n)
        for layer in range(LAYERS):
            rows = slice(at, at + n)
            out = kv.attend(layer, q[layer, rows], k[layer, rows], v[layer, rows])
            torch.testing.assert_close(out, whole[layer][rows], atol=1e-5, rtol=1e-5)
        kv.advance(n)
        at += n
    assert kv.length == 40


def test_memory_doubles_up_to_the_limit() -> None:
    kv = make(4, 100)
    capacities = []
    for _ in range(100):
        kv.reserve(1)
        kv.advance(1)
        capacities.append(kv.capacity)
    assert sorted(set(capacities)) == [4, 8, 16, 32, 64, 100]
    with pytest.raises(AssertionError, match="limit"):
        kv.reserve(1)
