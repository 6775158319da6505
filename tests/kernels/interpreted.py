"""Triton kernels as a machine can run them: under the interpreter on a CPU, compiled on a CUDA device.

The interpreter is chosen when triton is imported, so on a machine with a device only the device is tested, and tests of
kernels take them from here. Whoever imports this is skipped where there is no triton.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest
import torch

__all__ = [
    "DEVICE",
    "HAS_DEVICE",
    "MARKS",
    "TYPES",
    "attention",
    "decode",
    "few",
    "pointwise",
    "sampling",
    "stream",
    "vision",
]

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)
HAS_DEVICE = torch.cuda.is_available()
if not HAS_DEVICE:
    if "triton.language" in sys.modules:
        pytest.skip("triton was imported before the interpreter could be chosen", allow_module_level=True)
    os.environ["TRITON_INTERPRET"] = "1"
try:
    import triton.experimental.gluon  # noqa: F401 (the first launch would import it, too late for this choice)
    from triton.runtime import interpreter

    from saccade.kernels.gpu import attention, decode, few, pointwise, sampling, stream, vision
finally:
    os.environ.pop("TRITON_INTERPRET", None)

_patch_tensor = interpreter._patch_lang_tensor


def _patch_tensor_for_numpy(tensor: object, scope: object) -> None:
    """The interpreter's scalars are arrays of one element, of which numpy from 2.4 on makes no int by itself."""
    _patch_tensor(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda scalar: scalar.handle.data.item())


interpreter._patch_lang_tensor = _patch_tensor_for_numpy

MARKS = [pytest.mark.gpu] if HAS_DEVICE else []
DEVICE = "cuda" if HAS_DEVICE else "cpu"
TYPES = [torch.float32, torch.bfloat16 if HAS_DEVICE else torch.float16]
"""The interpreter multiplies bfloat16 as the integers it is stored as; float16 goes the same way through a kernel."""
