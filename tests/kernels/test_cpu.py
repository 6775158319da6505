"""What a CPU does its own way equals the plain twin, with as many rows as it takes to get there."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from saccade.kernels import cpu, fused, reference, select

if not cpu.available():
    pytest.skip("this torch has no oneDNN", allow_module_level=True)


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, cpu.MANY - 1, cpu.MANY, 777])
def test_products(rows: int) -> None:
    x, weight, bias, residual = torch.randn(rows, 48), torch.randn(80, 48), torch.randn(80), torch.randn(rows, 80)
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(cpu.linear(x, weight, bias), fused.linear(x, weight, bias))
    before = residual.clone()
    for stored in (weight, weight.t().contiguous().t()):
        norm = torch.rand(48), 1e-6
        close(cpu.norm_linear(x, *norm, stored), fused.norm_linear(x, *norm, weight))
        close(cpu.norm_gate_up(x, *norm, stored), fused.norm_gate_up(x, *norm, weight))
        close(cpu.linear_add(x, stored, residual), fused.linear_add(x, weight, residual))
        assert torch.equal(residual, before)
    out = cpu.linear_gelu(x, weight, bias)
    close(out, fused.linear_gelu(x, weight, bias))
    assert (out - torch.nn.functional.gelu(x @ weight.t() + bias)).abs().max() > 1e-5, "the other form of GELU"


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation(dtype: torch.dtype) -> None:
    qkv, angle = torch.randn(7, 3 * 2 * 24).to(dtype), torch.randn(7, 12).repeat(1, 2)
    twins = reference.rope_2d(qkv.clone(), angle.cos(), angle.sin())
    for out, twin in zip(cpu.rope_2d(qkv, angle.cos(), angle.sin()), twins, strict=True):
        torch.testing.assert_close(out, twin)


def test_gradients_go_through_plain_torch() -> None:
    ops = select("cpu")
    x, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((cpu.MANY, 48), (96, 48), (96,)))
    angle = torch.randn(cpu.MANY, 8).repeat(1, 2)
    q, k, v = ops.rope_2d(
        ops.linear_gelu(ops.linear(x, weight[:48], bias[:48]), weight, bias), angle.cos(), angle.sin()
    )
    (q + k + v).square().sum().backward()
    for tensor in (x, weight, bias):
        assert tensor.grad is not None
        assert tensor.grad.any()
