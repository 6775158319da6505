"""What a model takes of a device and what is left for keys and values; a config, the owner's wishes and the bytes of
the device come in, bytes and blocks go out. Knows no tensors and looks at no device, so that it answers before a load.

    a GPU's share      = weights | what others hold | activations, graphs | features | keys and values: all that is left
    a CPU's free half  = keys and values: as many as the running sequences can need
"""

from __future__ import annotations

from dataclasses import dataclass

from saccade.cache.blocks import BLOCK
from saccade.engine.options import EngineOptions
from saccade.engine.plan import MAX_ROWS
from saccade.errors import SettingsError
from saccade.model.config import ModelConfig
from saccade.model.size import Widths

CPU_SHARE = 0.5
"""Of the memory that is free once the model is loaded, what keys and values may take on a CPU."""
CPU_FEATURES = 256 * 2**20
GPU_FEATURES = 1 / 20
"""Of the whole memory of a GPU, for features of pictures."""
GRAPHS = 640 * 2**20
"""What captured steps keep: their activations, and the driver's description of some 100 graphs."""
MOST_PATCHES = 16384
"""Patches of the largest picture: 4,194,304 pixels."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes, and blocks of keys and values."""

    weights: int
    kv: int
    features: int
    host_features: int
    activations: int
    """Kept free for the largest step, graphs included; on a CPU not counted."""
    num_blocks: int


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of a device while a model of ours is on it."""

    free: int
    total: int
    is_gpu: bool


def block_bytes(config: ModelConfig, widths: Widths) -> int:
    """BLOCK tokens in all layers. Demo model in fp32: 2 * 6 layers * 2 heads * 64 * 4 * 16 = 98,304."""
    text = config.text
    return BLOCK * 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * widths.item


def feature_bytes_per_token(config: ModelConfig, widths: Widths) -> int:
    """All levels of one picture token."""
    return (1 + len(config.vision.deepstack_visual_indexes)) * config.text.hidden_size * widths.item


def activation_bytes(config: ModelConfig, widths: Widths) -> int:
    """Of the largest encode (MOST_PATCHES patches: input, sum, norm, q k v, attention and inner width, in the model's
    type, and levels on the way) and the largest forward pass behind each other, a tenth added for what the allocator
    cannot use. 2B in bf16: 0.56 and 0.50 GB."""
    vision, text = config.vision, config.text
    inner, size, mlp = text.intermediate_size, widths.item, widths.mlp
    patch = size * (8 * vision.hidden_size + 768) + mlp * 2 * vision.intermediate_size
    if mlp != size:
        patch += mlp * 2 * vision.hidden_size  # what goes in and what comes out
    row = 6 * text.hidden_size + 3 * inner + (text.num_attention_heads + 2 * text.num_key_value_heads) * text.head_dim
    return int(1.1 * (MOST_PATCHES * patch + MAX_ROWS * size * row))


def divide(
    config: ModelConfig,
    widths: Widths,
    weights: int,
    memory: DeviceMemory,
    options: EngineOptions,
    *,
    max_context: int,
    max_running: int,
) -> MemoryPlan:
    """What goes where, `weights` being on the device already. Raises SettingsError when it is too small for what is
    wished.

    On a CPU memory is taken when it is first written, so that blocks nobody needs cost nothing; there are as many as
    the running sequences can need. A GPU's share is taken whole, since the prefix cache makes use of all of it.
    """
    block = block_bytes(config, widths)
    one = 1 + -(-max_context // BLOCK)
    if not memory.is_gpu:
        features = CPU_FEATURES if options.feature_cache_bytes is None else options.feature_cache_bytes
        num = min(1 + max_running * (one - 1), int(CPU_SHARE * memory.free) // block)
        if options.kv_cache_bytes is not None:
            num = options.kv_cache_bytes // block
        activations = 0
    else:
        free, total = memory.free, memory.total
        features = int(GPU_FEATURES * total) if options.feature_cache_bytes is None else options.feature_cache_bytes
        activations = activation_bytes(config, widths) + (GRAPHS if options.graphs else 0)
        room = int(options.gpu_memory_utilization * total) - (total - free) - activations - features
        num = (room if options.kv_cache_bytes is None else options.kv_cache_bytes) // block
        if options.kv_cache_bytes is not None and num * block + activations + features > free:
            raise SettingsError(
                f"The device has {free} bytes free; keys and values of {num * block}, features of {features} and "
                f"{activations} for the work itself do not fit.",
                param="kv_cache_memory",
            )
    if num < 2:
        raise SettingsError(
            f"There is no room for keys and values: one block takes {block} bytes, two are needed.",
            param="gpu_memory_utilization" if options.kv_cache_bytes is None else "kv_cache_memory",
            hint="Raise --gpu-memory-utilization or --kv-cache-memory, or lower --feature-cache-memory.",
        )
    return MemoryPlan(weights, num * block, features, options.host_feature_cache_bytes, activations, num)
