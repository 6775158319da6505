"""How much of a model fits on a device, told before anything is loaded: a config and a size come in, figures go out.
The arithmetic is the engine's own (`engine/footprint.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from saccade.engine.footprint import CUDA_CONTEXT, DeviceMemory, before_load, block_bytes, feature_bytes_per_token
from saccade.engine.options import EngineOptions
from saccade.errors import SettingsError
from saccade.model.config import MERGE, PATCH, ModelConfig
from saccade.model.size import Widths, dtype_on, num_parameters

STREAMS = (1, 8, 32)
"""Rows of the table."""
WORDS = 1024
"""Tokens of a context that are left for question and answer when all else goes to pictures."""
MEGAPIXEL = 1024 * 1024
PER_TOKEN = (PATCH * MERGE) ** 2
"""Pixels of a picture that become one token."""
MARKERS = 2
"""Tokens around a picture."""


@dataclass(frozen=True, slots=True)
class Row:
    """What each of `streams` requests may have at the same time, when all are alike."""

    streams: int
    context: int
    """Tokens of prompt and answer."""
    megapixels: float
    """Millions of pixels of the largest picture, WORDS tokens left."""
    pictures: int
    """Of 1024 x 1024 pixels in one prompt, WORDS tokens left."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes unless said otherwise."""

    model: str
    dtype: str
    parameters: int
    memory: int
    """Of the device."""
    may_be_used: int
    weights: int
    largest_step: int
    """Activations, and captured graphs where there are any."""
    libraries: int
    """What driver and libraries hold on a GPU."""
    features: int
    feature_pictures: int
    """Pictures of 1024 x 1024 pixels whose features are kept."""
    kv: int
    kv_per_token: int
    kv_tokens: int
    """In all streams together."""
    model_context: int
    """Tokens that the model was made for."""
    full_contexts: int | None
    """Requests of --max-context tokens at the same time; None where it was not given."""
    rows: tuple[Row, ...]


def estimate(
    name: str,
    config: ModelConfig,
    options: EngineOptions,
    *,
    memory: int,
    is_gpu: bool,
    dtype: str,
    max_pixels: int,
) -> Estimate:
    """The figures of a device whose `memory` bytes nobody else uses. Raises SettingsError when the model does not fit,
    or was not made for `options.max_context`."""
    most = config.text.max_position_embeddings
    if options.max_context is not None and options.max_context > most:
        raise SettingsError(f"max_context is {options.max_context}; this model knows {most} positions.")
    dtype = dtype_on("cuda" if is_gpu else "cpu", dtype, config)
    widths = Widths.of(dtype)
    libraries = CUDA_CONTEXT if is_gpu else 0
    plan = before_load(config, dtype, DeviceMemory(memory - libraries, memory, is_gpu), options)
    tokens, size = plan.num_tokens, plan.block_size
    longest = options.max_context or most
    return Estimate(
        model=name,
        dtype=dtype,
        parameters=num_parameters(config),
        memory=memory,
        may_be_used=int(options.gpu_memory_utilization * memory) if is_gpu else memory,
        weights=plan.weights,
        largest_step=plan.activations,
        libraries=libraries,
        features=plan.features,
        feature_pictures=plan.features // (MEGAPIXEL // PER_TOKEN * feature_bytes_per_token(config, widths)),
        kv=plan.kv,
        kv_per_token=block_bytes(config, widths, size) // size,
        kv_tokens=tokens,
        model_context=most,
        full_contexts=None if options.max_context is None else tokens // (-(-longest // size) * size),
        rows=tuple(_row(count, min(longest, tokens // size // count * size), max_pixels) for count in STREAMS),
    )


def _row(streams: int, context: int, max_pixels: int) -> Row:
    room = max(0, context - WORDS)
    pixels = min(max_pixels, max(0, room - MARKERS) * PER_TOKEN)
    return Row(streams, context, round(pixels / 1e6, 2), room // (MEGAPIXEL // PER_TOKEN + MARKERS))
