"""What an engine is made from and what is told of it once it is there, as values; no torch and no logic in here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from saccade.engine.options import EngineOptions
from saccade.logs import Format


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What grammars must know of the tokens of a model."""

    tokens: tuple[bytes, ...]
    """The bytes that each id stands for; the name of a special one, nothing for an id without a meaning."""
    special_ids: tuple[int, ...]
    """Ids that no text makes: a grammar names them in angle brackets, <think>."""
    stop_ids: tuple[int, ...]
    """Those that end an answer."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Everything needed to make an engine, here or in another process."""

    directory: Path
    """Of the checkpoint: config.json and, unless load_format is "dummy", safetensors files."""
    dtype: str = "auto"
    device: str = "auto"
    """cpu, cuda or cuda:N; "auto": the first GPU, else the CPU."""
    load_format: Literal["auto", "dummy"] = "auto"
    stop_ids: frozenset[int] = frozenset()
    num_valid_ids: int | None = None
    """Ids from here on are never chosen; None: all of the vocabulary may be."""
    vocabulary: Vocabulary | None = None
    """None: no request will have a grammar."""
    options: EngineOptions = field(default_factory=EngineOptions)
    log_format: Format = "text"
    """Of what the engine's process says."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is known of an engine as soon as it is loaded."""

    device: str
    """For people: the name of the GPU, or "cpu, 2 threads"."""
    device_type: str
    """cpu or cuda."""
    dtype: str
    num_parameters: int
    max_context: int
    """Tokens of prompt and answer together."""
