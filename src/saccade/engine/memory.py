"""The memory plan of a model that is loaded: looks at its tensors and its device, and lets `footprint` divide."""

from __future__ import annotations

import torch

from saccade.engine import footprint
from saccade.engine.footprint import DeviceMemory, MemoryPlan
from saccade.engine.host import main_memory
from saccade.engine.options import EngineOptions
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.size import Widths
from saccade.model.vision import VisionBlock


def widths(model: Qwen3VL) -> Widths:
    """The types its weights have."""
    block = model.visual.blocks[0]
    assert isinstance(block, VisionBlock)
    return Widths(model.dtype.itemsize, block.linear_fc1.weight.itemsize)


def block_bytes(model: Qwen3VL, block_size: int) -> int:
    """Of one block of keys and values."""
    return footprint.block_bytes(model.config, widths(model), block_size)


def feature_bytes_per_token(model: Qwen3VL) -> int:
    """All levels of one picture token."""
    return footprint.feature_bytes_per_token(model.config, widths(model))


def device_memory(device: torch.device) -> DeviceMemory:
    """As it is now."""
    if device.type == "cuda":
        return DeviceMemory(*torch.cuda.mem_get_info(device), is_gpu=True)
    return main_memory()


def plan_memory(
    model: Qwen3VL, options: EngineOptions, *, max_context: int, max_running: int, block_size: int
) -> MemoryPlan:
    """What goes where beside a model on its device. Raises SettingsError when that is too small for what is wished."""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    memory = device_memory(model.device)
    return footprint.divide(
        model.config,
        widths(model),
        weights,
        memory,
        options,
        max_context=max_context,
        max_running=max_running,
        block_size=block_size,
    )
