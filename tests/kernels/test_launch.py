"""Launches that skip Triton's look at every argument: the key covers what it compiles for, and the call is its own."""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest
import torch
from interpreted import DEVICE, HAS_DEVICE, pointwise, stream
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from saccade.kernels import fused, reference
from saccade.kernels.gpu.launch import Kernel

gpu = pytest.mark.gpu
HAS_NONE = "a device is needed"


def shape_of_a_kernel(x, y, scale, stride, rows, WIDE, FLAG):  # type: ignore[no-untyped-def]
    """Parameters only."""


class Built:
    """A compiled kernel as Triton returns it; remembers how it was run."""

    function, packed_metadata = "function", "metadata"

    def __init__(self) -> None:
        self.runs: list[tuple[object, ...]] = []

    def run(self, *args: object) -> None:
        self.runs.append(args)


class Jitted:
    """Triton's way of launching; counts."""

    def __init__(self) -> None:
        self.built = Built()
        self.launches = 0

    def __getitem__(self, grid: tuple[int, int, int]) -> Any:
        def launch(*args: object, num_warps: int) -> Built:
            self.launches += 1
            return self.built

        return launch


BASE = torch.zeros(64)
CALLS: list[tuple[tuple[Tensor, Tensor], tuple[float, int], int, tuple[int, bool]]] = [
    ((BASE, BASE), (0.5, 32), 3, (16, True)),
    ((BASE[1:], BASE), (0.5, 32), 3, (16, True)),
    ((BASE, BASE[4:]), (0.5, 32), 3, (16, True)),
    ((BASE.half(), BASE), (0.5, 32), 3, (16, True)),
    ((BASE, BASE), (0.5, 1), 3, (16, True)),
    ((BASE, BASE), (0.5, 40), 3, (16, True)),
    ((BASE, BASE), (0.5, 1 << 40), 3, (16, True)),
    ((BASE, BASE), (0.5, 32), 1, (16, True)),
    ((BASE, BASE), (0.5, 32), 16, (16, True)),
    ((BASE, BASE), (0.5, 32), 3, (8, True)),
    ((BASE, BASE), (0.5, 32), 3, (16, False)),
]
"""Tensors, numbers, the varying one, constants."""


def test_calls_that_triton_compiles_apart_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: 7, raising=False)
    jitted = JITFunction(shape_of_a_kernel, do_not_specialize=["rows"])
    for param in jitted.params[5:]:
        monkeypatch.setattr(type(param), "is_constexpr", property(lambda p: p.name.isupper()), raising=False)
    bind = create_function_from_signature(jitted.signature, jitted.params, make_backend(GPUTarget("cuda", 90, 32)))
    compiled, keys = set(), set()
    for tensors, numbers, rows, constants in CALLS:
        _, specialization, _ = bind(*tensors, *numbers, rows, *constants)
        kernel = Kernel(Jitted())
        kernel((1, 1, 1), tensors, numbers, constants, varying=(rows,))
        (key,) = kernel._known
        compiled.add((str(specialization), key))
        keys.add(key)
    assert len({text for text, _ in compiled}) == len(CALLS) - 3  # two of other rows, one of another aligned address
    assert len(keys) == len(compiled), "one key for kernels that differ"


def test_later_calls_run_the_compiled_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: 7, raising=False)
    jitted = Jitted()
    kernel = Kernel(jitted)
    other = torch.zeros(64)
    for x, rows in ((BASE, 3), (other, 4)):
        kernel((5, 6, 1), (x, BASE), (0.5, 32), (16, True), varying=(rows,))
    assert jitted.launches == 1
    addresses = (other.data_ptr(), BASE.data_ptr())
    assert jitted.built.runs == [
        (5, 6, 1, 7, "function", "metadata", None, None, None, *addresses, 0.5, 32, 4, 16, True)
    ]
    kernel((5, 6, 1), (BASE, BASE), (0.5, 32), (16, True), varying=(3,), warps=8)
    assert jitted.launches == 2


def test_triton_runs_a_compiled_kernel_with_these_arguments() -> None:
    source = " ".join(inspect.getsource(JITFunction.run).split())
    assert "return kernel" in source
    assert (
        "kernel.run(grid_0, grid_1, grid_2, stream, kernel.function, kernel.packed_metadata, launch_metadata, "
        "knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook, *bound_args.values())" in source
    )


@gpu
@pytest.mark.skipif(not HAS_DEVICE, reason=HAS_NONE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_other_addresses_strides_and_types(dtype: torch.dtype) -> None:
    """Each call a second time with other data, so that what runs is what was remembered."""
    weight = torch.randn(64, device=DEVICE, dtype=dtype)
    matrix = torch.randn(32, 64, device=DEVICE, dtype=dtype) / 8
    for offset, stride in ((0, 64), (1, 64), (8, 80), (3, 67), (0, 64)):
        for _ in range(2):
            for rows in (1, 3, 16):
                room = torch.randn(rows * stride + offset, device=DEVICE, dtype=dtype)
                x = room.as_strided((rows, 64), (stride, 1), offset)
                for out, twin in (
                    (pointwise.rms_norm(x, weight, 1e-6), reference.rms_norm(x, weight, 1e-6)),
                    (stream.norm_linear(x, weight, 1e-6, matrix), fused.norm_linear(x, weight, 1e-6, matrix)),
                ):
                    assert ((out - twin).double().norm() / twin.double().norm()).item() < 1e-2


@gpu
@pytest.mark.skipif(not HAS_DEVICE, reason=HAS_NONE)
def test_launches_are_captured_and_follow_the_current_stream() -> None:
    x, weight = torch.randn(3, 64, device=DEVICE), torch.randn(64, device=DEVICE)
    pointwise.rms_norm(x, weight, 1e-6)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = pointwise.rms_norm(x, weight, 1e-6)
    x.copy_(torch.randn(3, 64, device=DEVICE))
    graph.replay()
    torch.testing.assert_close(out, reference.rms_norm(x, weight, 1e-6))


@gpu
@pytest.mark.skipif(not HAS_DEVICE, reason=HAS_NONE)
def test_what_a_launch_costs_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    x, weight = torch.randn(3, 64, device=DEVICE), torch.randn(64, device=DEVICE)
    pointwise.rms_norm(x, weight, 1e-6)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(1000):
        pointwise.rms_norm(x, weight, 1e-6)
    with capsys.disabled():
        print(f" rms_norm {1e3 * (time.perf_counter() - start):.1f} us ", end="")
    torch.cuda.synchronize()
