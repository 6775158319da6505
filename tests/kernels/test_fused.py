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
    assert torch.equal(out, q)
    for cache, twin in zip(caches, expected, strict=True):
        assert torch.equal(cache, twin)


def test_rows_are_added_in_place_and_negative_ones_left_out() -> None:
    x, values = torch.zeros(5, 3), torch.ones(4, 3)
    assert fused.add_rows_(x, torch.tensor([3, -1, 1, -1]), values) is x
    assert x.sum(1).tolist() == [0, 3, 0, 3, 0]


def test_norms_add_first() -> None:
    x, residual, weight, bias = torch.randn(4, 2, 5, 8).unbind()
    for out, total in (
        fused.add_rms_norm(x, residual, weight[0, 0], 1e-6),
        fused.add_layer_norm(x, residual, weight[0, 0], bias[0, 0], 1e-6),
    ):
        assert torch.equal(total, x + residual)
        assert out.shape == x.shape


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


def test_drawn_ids_follow_their_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0, -torch.inf]]).repeat(4000, 1)
    ones = torch.ones(4000)
    ids = fused.draw(logits, ones, torch.full((4000,), 4), ones, torch.linspace(0, 0.99999, 4000), 4)
    share = ids.bincount(minlength=5) / 4000
    torch.testing.assert_close(share, logits[0].softmax(0), atol=1e-3, rtol=0)


def test_greedy_cold_and_cut_draws_agree() -> None:
    logits = torch.randn(3, 50)
    best = fused.greedy(logits)
    ones, late = torch.ones(3), torch.full((3,), 0.999)
    cold = fused.draw(logits, 0 * ones, torch.full((3,), 8), ones, late, 8)
    first = fused.draw(logits, ones, torch.ones(3).long(), ones, late, 8)
    narrow = fused.draw(logits, ones, torch.full((3,), 8), 1e-6 * ones, late, 8)
    for ids in (cold, first, narrow):
        assert torch.equal(ids, best)


def test_a_cpu_never_imports_triton() -> None:
    code = "import sys, saccade.kernels; saccade.kernels.select('cpu'); assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
