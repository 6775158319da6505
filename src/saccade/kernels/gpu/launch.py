# mypy: disable-error-code="import-not-found,import-untyped"
"""Triton kernels launched at little cost to the host: what the compiler needs to know is found once per kind of call.

Triton looks at every argument of every launch, 30 to 50 us of Python, several times what the device takes for a small
kernel. A `Kernel` remembers by a key which compiled kernel a call led to and launches that one from then on; a call
with a new key goes Triton's way. The key holds everything that Triton compiles for: types of tensors, whether their
addresses are multiples of 16, numbers and constants by value, warps, and the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor


class Kernel:
    """A kernel whose parameters are tensors or descriptions of tensors by tiles, numbers that seldom change, numbers
    that vary, and constants, in order."""

    __slots__ = ("_known", "jitted")

    def __init__(self, jitted: Any) -> None:
        self.jitted = jitted
        self._known: dict[tuple[object, ...], tuple[Any, Any, Any]] = {}

    def __call__(
        self,
        grid: tuple[int, int, int],
        tensors: tuple[Tensor | TensorDescriptor, ...],
        numbers: tuple[float, ...],
        constants: tuple[int, ...],
        *,
        varying: tuple[int, ...] = (),
        warps: int = 4,
        stream: torch.cuda.Stream | None = None,
    ) -> None:
        """One launch on the current stream of the device that the tensors lie on, or on `stream`, of `grid` programs of
        `warps` warps.

        A parameter is an int, or a float, in every call. `varying` are 32-bit; nothing is compiled when they change.
        """
        first = tensors[0]
        assert isinstance(first, Tensor), "the first parameter tells the device"
        places = [x.data_ptr() if isinstance(x, Tensor) else x for x in tensors]
        device = first.get_device()
        types = [x.dtype if isinstance(x, Tensor) else (x.base.dtype, *x.block_shape) for x in tensors]
        aligned = [isinstance(at, TensorDescriptor) or at & 15 == 0 for at in places]
        key = (device, warps, numbers, constants, *types, *aligned)
        known = self._known.get(key)
        if known is None:
            with torch.cuda.stream(stream):
                built = self.jitted[grid](*tensors, *numbers, *varying, *constants, num_warps=warps)
            if built is not None:  # the interpreter compiles nothing
                self._known[key] = built.run, built.function, built.packed_metadata
            return
        run, function, metadata = known
        place = stream.cuda_stream if stream else torch._C._cuda_getCurrentRawStream(device)
        # The three None: nothing for profilers, which look at launches through hooks of Triton's own.
        run(*grid, place, function, metadata, None, None, None, *places, *numbers, *varying, *constants)


def kernel(*varying: str) -> Callable[[Callable[..., None]], Kernel]:
    """Makes a `Kernel` of a function in Triton's language; `varying` names its parameters of that kind."""

    def make(function: Callable[..., None]) -> Kernel:
        return Kernel(triton.jit(function, do_not_specialize=varying))

    return make


@lru_cache
def has_descriptors(device: torch.device) -> bool:
    """Whether the chip copies described tiles by itself and tiles were chosen for it: Hopper."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9
