"""The twins of fused kernels are the composition they name, write only where they say, and draw what they should."""

from __future__ import annotations

import subprocess
import sys

import torch

from saccade.kernels import fused, paged, reference


def test_norm_and_rotation_reach_queries_and_caches() -> None:
    qkv, cos, sin = torch.randn(3, 8 * 16), torch.randn(3, 16), torch.randn(3, 16)
    qw, kw = torch.randn(2, 16).unbind()
    caches, expected = torch.randn(2, 4, 4, 2, 16).unbind(), torch.randn(2, 4, 4, 2, 16).unbind()
    for cache, twin in zip(caches, expected, strict=True):
        twin.copy_(cache)
    slots = torch.tensor([5, 15, 4])
    out = fused.qk_norm_rope_store(qkv, qw, kw, cos, sin, 1e-6, *caches, slots)
    q, k, v = reference.qk_norm_rope(qkv, qw, kw, cos, sin, 1e-6, 2)
    paged.store_kv(k, v, *expected, slots)
    torch.testing.assert_close(out, q)
    for cache, twin in zip(caches, expected, strict=True):
        torch.testing.assert_close(cache, twin)


def test_rows_are_added_in_place_and_negative_ones_left_out() -> None:
    x, values = torch.zeros(5, 3), torch.ones(4, 3)
    assert fused.add_rows_(x, torch.tensor([3, -1, 1, -1]), values) is x
    assert x.sum(1).tolist() == [0, 3, 0, 3, 0]


def test_a_norm_adds_first() -> None:
    x, residual = torch.randn(2, 5, 8)
    weight, bias = torch.randn(2, 8)
    out, total = fused.add_layer_norm(x, residual, weight, bias, 1e-6)
    assert torch.equal(total, x + residual)
    assert torch.equal(out, reference.layer_norm(total, weight, bias, 1e-6))


def test_products_are_their_parts() -> None:
    x, norm, weight, residual = torch.randn(3, 8), torch.randn(8), torch.randn(12, 8), torch.randn(3, 12)
    rows = reference.rms_norm(x, norm, 1e-6) @ weight.t()
    torch.testing.assert_close(fused.norm_linear(x, norm, 1e-6, weight), rows)
    torch.testing.assert_close(fused.norm_gate_up(x, norm, 1e-6, weight), reference.silu_mul(rows))
    torch.testing.assert_close(fused.linear_add(x, weight, residual), residual + x @ weight.t())


def test_places_are_weighted_sums_of_the_table() -> None:
    x, table, index, weight = torch.zeros(2, 3), torch.eye(3), torch.tensor([[0, 1, 1, 2]] * 2), torch.rand(2, 4)
    expected = torch.stack((weight[:, 0], weight[:, 1] + weight[:, 2], weight[:, 3]), dim=1)
    torch.testing.assert_close(fused.place_rows(x, table, index, weight), expected)


def test_a_cpu_never_imports_triton() -> None:
    code = "import sys, saccade.kernels; saccade.kernels.select('cpu'); assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
