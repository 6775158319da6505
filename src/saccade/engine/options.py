"""What the owner of an engine may choose about it, as one value; nothing else is a setting of the engine."""

from __future__ import annotations

from dataclasses import dataclass

MAX_RUNNING = {"cuda": 256, "cpu": 32}
"""Sequences at once, unless the owner decides."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """None stands for "as the device suggests"; the switches are there to measure what a part is worth."""

    max_context: int | None = None
    """Tokens of prompt and answer together; None: what the model was made for."""
    max_running: int | None = None
    """Sequences on the device at once."""
    step_timeout: float | None = None
    """Seconds that any step may take before the engine process counts as hanging; a large one may take longer."""
    gpu_memory_utilization: float = 0.9
    """Share of the GPU's memory that weights, caches and activations may take together."""
    kv_cache_bytes: int | None = None
    """Keys and values."""
    feature_cache_bytes: int | None = None
    """Features of pictures, on the device."""
    host_feature_cache_bytes: int = 0
    """Features of pictures that had to leave the device, in host memory."""
    prefix_cache: bool = True
    feature_cache: bool = True
    graphs: bool = True
    """CUDA graphs, where there is CUDA and kernels are fused."""
    overlap: bool | None = None
    """Launch a step before the tokens of the one before are read; None: where the device works beside the host."""
    slices: bool = True
    """Cut the vision tower and long prompts so that running streams go on."""
    fused: bool = True
    """Fused kernels, where the device has them; otherwise every op by itself in plain torch."""
