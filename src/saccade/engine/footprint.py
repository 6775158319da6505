"""What a model takes of a device and what is left for keys and values; a config, the owner's wishes and the bytes of
the device come in, bytes and blocks go out. Knows no tensors and looks at no device, so that it answers before a load.

    a GPU's share      = weights | what others hold | activations, graphs | features | keys and values: all that is left
    a CPU's free half  = keys and values: as many as the running sequences can need
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from saccade.engine.options import MAX_RUNNING, EngineOptions
from saccade.engine.plan import MAX_ROWS
from saccade.errors import SettingsError
from saccade.model.config import ModelConfig
from saccade.model.size import Widths, weight_bytes

CPU_SHARE = 0.5
"""Of the memory that is free once the model is loaded, what keys and values may take on a CPU."""
CPU_FEATURES = 256 * 2**20
GPU_FEATURES = 1 / 20
"""Of the whole memory of a GPU, for features of pictures."""
GRAPHS = 704 * 2**20
"""What captured steps keep: their activations, and the driver's description of some 140 graphs, for MANY sequences."""
FEW_GRAPHS = 208 * 2**20
"""The same for one sequence, for which fewer are captured. Peaks of that case measured on an H200 are 96 and 98 % of
what is foretold."""
MANY = 256
CUDA_CONTEXT = 640 * 2**20
"""What the driver and the libraries of a process hold on a GPU before it has any tensor."""
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
    block_size: int
    """Tokens of a block."""

    @property
    def num_tokens(self) -> int:
        """In all sequences together: block 0 is never given out."""
        return (self.num_blocks - 1) * self.block_size


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of a device."""

    free: int
    total: int
    is_gpu: bool


def tokens_per_block(*, is_gpu: bool) -> int:
    """The block size of a device. A GPU's kernels read keys in tiles of 64, and the chip copies such a tile by itself
    when it is one piece of memory. On a CPU blocks are short: the rows of a prompt behind its last shared block are
    computed again, which costs much there and next to nothing on a GPU."""
    return 64 if is_gpu else 16


def block_bytes(config: ModelConfig, widths: Widths, block_size: int) -> int:
    """Keys and values of `block_size` tokens in all layers. Demo model in fp32: 16 tokens * 2 * 6 layers * 2 heads *
    64 * 4 = 98,304."""
    text = config.text
    return block_size * 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * widths.item


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
    block_size: int,
) -> MemoryPlan:
    """What goes where, `weights` being on the device already. Raises SettingsError when it is too small for what is
    wished.

    On a CPU memory is taken when it is first written, so that blocks nobody needs cost nothing; there are as many as
    the running sequences can need. A GPU's share is taken whole, since the prefix cache makes use of all of it.
    """
    block = block_bytes(config, widths, block_size)
    features, activations = _beside(config, widths, memory, options)
    if not memory.is_gpu:
        num = min(1 + max_running * -(-max_context // block_size), int(CPU_SHARE * memory.free) // block)
        if options.kv_cache_bytes is not None:
            num = options.kv_cache_bytes // block
    else:
        free, total = memory.free, memory.total
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
    return MemoryPlan(weights, num * block, features, options.host_feature_cache_bytes, activations, num, block_size)


def before_load(config: ModelConfig, dtype: str, memory: DeviceMemory, options: EngineOptions) -> MemoryPlan:
    """The plan of a device that the model is still to be loaded on; `dtype` is "float32", "float16" or "bfloat16".
    Raises SettingsError telling what takes how much when it does not fit."""
    widths = Widths.of(dtype)
    weights = weight_bytes(config, widths)
    left = replace(memory, free=memory.free - weights)
    if left.free > 0:
        try:
            return divide(
                config,
                widths,
                weights,
                left,
                options,
                max_context=options.max_context or config.text.max_position_embeddings,
                max_running=options.max_running or MAX_RUNNING["cuda" if memory.is_gpu else "cpu"],
                block_size=tokens_per_block(is_gpu=memory.is_gpu),
            )
        except SettingsError:
            if options.kv_cache_bytes is not None:
                raise  # the owner's own number is at fault
    features, activations = _beside(config, widths, memory, options)
    parts = [f"weights in {dtype} {gigabytes(weights)}"]
    if memory.is_gpu:
        parts += [f"the largest step {gigabytes(activations)}", f"features of pictures {gigabytes(features)}"]
    share = int((1 - options.gpu_memory_utilization) * memory.total) if memory.is_gpu else 0
    kind = "GPU" if memory.is_gpu else "main"
    raise SettingsError(
        f"The model does not fit: {', '.join(parts)}; of {gigabytes(memory.total)} {kind} memory "
        f"{gigabytes(max(0, memory.free - share))} can be taken.",
        param="model",
        hint="`saccade doctor` with the same flags looks for a way, `saccade estimate` tells what fits where.",
    )


def gigabytes(size: float) -> str:
    """For people: "4.26 GB"."""
    return f"{size / 1e9:,.2f} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"


def _beside(config: ModelConfig, widths: Widths, memory: DeviceMemory, options: EngineOptions) -> tuple[int, int]:
    """(features, activations) of a plan."""
    features = int(GPU_FEATURES * memory.total) if memory.is_gpu else CPU_FEATURES
    if options.feature_cache_bytes is not None:
        features = options.feature_cache_bytes
    if not memory.is_gpu:
        return features, 0
    share = min(options.max_running or MANY, MANY) / MANY
    graphs = FEW_GRAPHS + int((GRAPHS - FEW_GRAPHS) * share)
    return features, activation_bytes(config, widths) + (graphs if options.graphs else 0)
