"""Each op equals its formula written out slowly, keeps its inputs, and lets gradients through."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.kernels import cpu, explain, fused, paged, reference, select


def test_select_serves_every_op_and_explains_itself() -> None:
    ops = select("cpu")
    assert "cpu" in explain(ops)
    for name in ops.__slots__:
        if name != "reason":
            home = next(module for module in (cpu, paged, fused, reference) if hasattr(module, name))
            assert getattr(ops, name) is getattr(home, name)


def test_rms_norm_rounds_before_the_weight() -> None:
    x, weight = torch.randn(5, 32), torch.rand(32) + 0.5
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight
    torch.testing.assert_close(reference.rms_norm(x, weight, 1e-6), expected)
    half, half_weight = x.bfloat16(), weight.bfloat16()
    normed = half.float() / (half.float().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert torch.equal(reference.rms_norm(half, half_weight, 1e-6), normed.bfloat16() * half_weight)


def test_rotation_turns_pairs_by_their_angle() -> None:
    q, k, v = torch.randn(3, 4, 2, 8).unbind()
    angle = torch.randn(4, 4)
    cos, sin = torch.cat((angle, angle), 1).cos(), torch.cat((angle, angle), 1).sin()
    *turned, kept = reference.rope_2d(torch.stack((q, k, v), dim=1).flatten(1), cos, sin)
    assert torch.equal(kept, v)
    for before, after in zip((q, k), turned, strict=True):
        plane = torch.complex(before[..., :4], before[..., 4:]) * torch.polar(torch.ones(4, 4), angle)[:, None]
        torch.testing.assert_close(after, torch.cat((plane.real, plane.imag), -1))


def test_qk_norm_rope_norms_each_head_then_rotates() -> None:
    qkv, q_weight, k_weight = torch.randn(4, 7 * 8), torch.rand(8), torch.rand(8)
    angle = torch.randn(4, 4).repeat(1, 2)
    q, k, v = reference.qk_norm_rope(qkv, q_weight, k_weight, angle.cos(), angle.sin(), 1e-6, num_kv_heads=2)
    rows = qkv.view(4, 7, 8)
    norms = reference.rms_norm(rows[:, :3], q_weight, 1e-6), reference.rms_norm(rows[:, 3:5], k_weight, 1e-6)
    for ours, normed in zip((q, k), norms, strict=True):
        torch.testing.assert_close(ours, reference.rotate(normed, angle.cos(), angle.sin()))
    assert torch.equal(v, rows[:, 5:])


def _masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Softmax written out; q, k, v [N, H, d], mask [n, m] true where seen."""
    scores = torch.einsum("nhd,mhd->hnm", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("hnm,mhd->nhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)


@pytest.mark.parametrize("lengths", [[7], [5, 5, 5], [4, 4, 9, 2, 2], [1, 8]])
@pytest.mark.parametrize("head_dim", [64, 72])
def test_segments_never_see_each_other(lengths: list[int], head_dim: int) -> None:
    q, k, v = torch.randn(3, sum(lengths), 2, head_dim).unbind()
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    expected = _masked_attention(q, k, v, owner[:, None] == owner[None])
    cu_seqlens = F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).to(torch.int32)
    for op in (reference.segment_attention, reference._padded_segments):
        torch.testing.assert_close(op(q, k, v, cu_seqlens, max(lengths)), expected)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 9), (9, 9), (4, 9)])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (4, 1)])
def test_the_last_queries_see_what_came_before_them(queries: int, keys: int, heads: int, kv_heads: int) -> None:
    q, k, v = torch.randn(queries, heads, 16), torch.randn(keys, kv_heads, 16), torch.randn(keys, kv_heads, 16)
    mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    group = heads // kv_heads
    expected = _masked_attention(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), mask)
    torch.testing.assert_close(reference.causal_attention(q, k, v), expected)


def test_add_rows_adds_only_there() -> None:
    x, values = torch.zeros(5, 3), torch.ones(2, 3)
    assert reference.add_rows(x, torch.tensor([3, 1]), values).sum(1).tolist() == [0, 3, 0, 3, 0]
    assert not x.any()


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_patch_rows_follow_the_drawn_order(frames: int) -> None:
    pixels = torch.randint(0, 256, (frames, 64, 96, 3), dtype=torch.uint8)
    depth = min(frames, 2)
    expected = []
    for pair in range(frames // depth):
        for block_row in range(2):
            for block_column in range(3):
                for row in range(2):
                    for column in range(2):
                        y, x = 32 * block_row + 16 * row, 32 * block_column + 16 * column
                        patch = pixels[depth * pair : depth * pair + depth, y : y + 16, x : x + 16]
                        expected.append(patch.permute(3, 0, 1, 2).flatten())
    rows = reference.patch_rows(pixels, torch.float32)
    assert torch.equal(rows, (torch.stack(expected).float() - 127.5) / 127.5)
    assert torch.equal(reference.patch_rows(pixels, torch.bfloat16), rows.bfloat16())


@pytest.mark.parametrize(("rows", "top_k"), [(1, 2), (9, 3), (40, 1)])
def test_experts_equal_the_sum_over_chosen_experts(rows: int, top_k: int) -> None:
    x, router = torch.randn(rows, 16), torch.randn(5, 16)
    gate_up, down = torch.randn(5, 24, 16), torch.randn(5, 16, 12)
    expected = torch.zeros(rows, 16)
    for i, probs in enumerate((x @ router.t()).softmax(-1)):
        weight, choice = probs.topk(top_k)
        for w, e in zip(weight / weight.sum(), choice, strict=True):
            gate, up = (gate_up[e] @ x[i]).chunk(2)
            expected[i] += w * (down[e] @ (F.silu(gate) * up))
    torch.testing.assert_close(reference.experts(x, router, gate_up, down, top_k), expected, rtol=1e-4, atol=1e-4)


def _double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


_ANGLE = torch.linspace(0, 3, 12, dtype=torch.float64).view(3, 4).repeat(1, 2)
_SEGMENTS = torch.tensor([0, 2, 3], dtype=torch.int32)
GRADIENTS: dict[str, tuple[Callable[..., object], tuple[object, ...]]] = {
    "layer_norm": (reference.layer_norm, (_double(3, 8), _double(8), _double(8), 1e-6)),
    "segments": (
        lambda q, k, v: reference.segment_attention(q, k, v, _SEGMENTS, 2),
        (_double(3, 2, 4), _double(3, 2, 4), _double(3, 2, 4)),
    ),
    "causal": (reference.causal_attention, (_double(2, 4, 8), _double(3, 2, 8), _double(3, 2, 8))),
    "one query": (reference.causal_attention, (_double(1, 4, 8), _double(3, 2, 8), _double(3, 2, 8))),
    "rotate": (lambda x: reference.rotate(x, _ANGLE.cos(), _ANGLE.sin()), (_double(3, 2, 8),)),
    "silu_mul": (reference.silu_mul, (_double(3, 8),)),
    "gelu_tanh": (reference.gelu_tanh, (_double(3, 8),)),
    "gelu_erf": (reference.gelu_erf, (_double(3, 8),)),
    "add_rows": (lambda x, v: reference.add_rows(x, torch.tensor([2, 0]), v), (_double(3, 8), _double(2, 8))),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_right(name: str) -> None:
    op, inputs = GRADIENTS[name]
    assert torch.autograd.gradcheck(op, inputs)


def test_gradients_reach_every_weight_of_the_experts() -> None:
    weights = [torch.randn(*shape, requires_grad=True) for shape in ((3, 8), (3, 16, 8), (3, 8, 8))]
    x = torch.randn(20, 8, requires_grad=True)
    reference.experts(x, *weights, 2).square().sum().backward()
    for tensor in (x, *weights):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
