# mypy: disable-error-code="import-not-found,import-untyped"
"""Triton kernels launched at little cost to the host: what the compiler needs to know is found once per kind of call.

Triton looks at every argument of every launch, 30 to 50 us of Python, several times what the device takes for a small
kernel. A `Kernel` remembers by a key which compiled kernel a call led to and launches that one from then on; a call
with a new key goes Triton's way. The key holds everything that Triton compiles for: types of tensors, whether their
addresses are multiples of 16, numbers and constants by value, warps, and the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor


class Kernel:
    """A kernel whose parameters are tensors, numbers that seldom change, numbers that vary, and constants, in order."""

    __slots__ = ("_known", "jitted")

    def __init__(self, jitted: Any) -> None:
        self.jitted = jitted
        self._known: dict[tuple[object, ...], tuple[Any, Any, Any]] = {}

    def __call__(
        self,
        grid: tuple[int, int, int],
        tensors: tuple[Tensor, ...],
        numbers: tuple[float, ...],
        constants: tuple[int, ...],
        *,
        varying: tuple[int, ...] = (),
        warps: int = 4,
    ) -> None:
        """One launch on the current stream of the device that the tensors lie on, of `grid` programs of `warps` warps.

        A parameter is an int, or a float, in every call. `varying` are 32-bit; nothing is compiled when they change.
        """
        addresses = [x.data_ptr() for x in tensors]
        device = tensors[0].get_device()
        key = (
            device, warps, numbers, constants, *[x.dtype for x in tensors], *[at & 15 == 0 for at in addresses],
        )  # fmt: skip
        known = self._known.get(key)
        if known is None:
            built = self.jitted[grid](*tensors, *numbers, *varying, *constants, num_warps=warps)
            if built is not None:  # the interpreter compiles nothing
                self._known[key] = built.run, built.function, built.packed_metadata
            return
        run, function, metadata = known
        stream = torch._C._cuda_getCurrentRawStream(device)
        # The three None: nothing for profilers, which look at launches through hooks of Triton's own.
        run(*grid, stream, function, metadata, None, None, None, *addresses, *numbers, *varying, *constants)


def kernel(*varying: str) -> Callable[[Callable[..., None]], Kernel]:
    """Makes a `Kernel` of a function in Triton's language; `varying` names its parameters of that kind."""

    def make(function: Callable[..., None]) -> Kernel:
        return Kernel(triton.jit(function, do_not_specialize=varying))

    return make
