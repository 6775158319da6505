"""A spec becomes an engine with its model: the only place where the device is chosen and the checkpoint is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from saccade.engine.core import Engine
from saccade.engine.footprint import before_load
from saccade.engine.grammar import Grammars
from saccade.engine.memory import device_memory
from saccade.engine.spec import EngineFacts, EngineSpec
from saccade.errors import SettingsError
from saccade.kernels import select
from saccade.model.config import ModelConfig
from saccade.model.headers import read_json
from saccade.model.weights import load, resolve_dtype


def resolve_device(name: str) -> torch.device:
    """The device of a setting. Raises SettingsError when this machine has none of that name."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device("cuda:0" if name == "cuda" else name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"There is no device {name}: this machine has {torch.cuda.device_count()} GPUs that torch can use.",
            param="device",
        )
    return device


def build(spec: EngineSpec, tell: Callable[[str, float | None], None] | None = None) -> tuple[Engine, EngineFacts]:
    """The engine of a spec, its model loaded. `tell` hears the stage it is at, and its share that is done, if that is
    known. Raises CheckpointError, or SettingsError for what this machine or this model cannot do."""
    device = resolve_device(spec.device)
    config = ModelConfig.from_dict(read_json(spec.directory / "config.json"))
    most, wanted = config.text.max_position_embeddings, spec.options.max_context
    if wanted is not None and wanted > most:
        raise SettingsError(f"max_context is {wanted}; this model knows {most} positions.", param="max_context")
    dtype = resolve_dtype(spec.dtype, config, {}, device)
    before_load(config, str(dtype).removeprefix("torch."), device_memory(device), spec.options)
    grammars = Grammars(spec.vocabulary) if spec.vocabulary else None  # it prepares while the model is loaded
    ops = select(device, fused=spec.options.fused)
    tell = tell or (lambda _, __: None)
    tell("weights", 0.0)
    model = load(
        spec.directory,
        dtype=spec.dtype,
        device=device,
        ops=ops,
        load_format=spec.load_format,
        tell=partial(tell, "weights"),
    )
    tell("caches", None)
    engine = Engine(
        model, stop_ids=spec.stop_ids, num_valid_ids=spec.num_valid_ids, options=spec.options, grammars=grammars
    )
    facts = EngineFacts(
        device=_described(device),
        device_type=device.type,
        dtype=str(model.dtype).removeprefix("torch."),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        max_context=engine.max_context,
    )
    return engine, facts


def _described(device: torch.device) -> str:
    """A device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
