"""What the parts of a server say of themselves when they are asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine is doing, and what it has done since its start."""

    running: int
    waiting: int
    steps: int
    preemptions: int
    kv_blocks_used: int
    kv_blocks: int
    feature_bytes_used: int
    host_feature_bytes_used: int
    prefix_hits: int
    """Prompt tokens whose keys and values were there already."""
    feature_counters: dict[str, int]
    """As cache.features.FeatureCounters."""
    memory: dict[str, int]
    """Bytes set aside on the device: weights, kv, features, host_features, activations."""
    restarts: int = 0
    """Processes of the engine that took the place of one that died or hung; what else is counted begins anew there."""


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a model that is being loaded has come."""

    stage: str
    fraction: float | None
    """Of this stage, 0 to 1; None: not known."""
    seconds: float
    """Since the beginning."""


@dataclass(frozen=True, slots=True)
class MediaStats:
    """What became of files since the start: of those sent ahead, and of the processes that decode."""

    store_bytes: int
    """Held now."""
    store_hits: int
    store_misses: int
    store_evictions: int
    decoders_replaced: dict[str, int]
    """By why: as media.decoders.Reason."""
