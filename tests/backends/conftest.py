"""A small checkpoint with random weights, and the ways to talk to a backend."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import saccade
from saccade.backends.native import Native
from saccade.kernels import select
from saccade.media.limits import MediaLimits
from saccade.model.config import ModelConfig
from saccade.model.headers import read_json
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.weights import save

SMALL_TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
SMALL_VISION = {"depth": 6, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's small files with a far smaller model of random weights."""
    bundled = Path(saccade.__file__).parent / "demo" / "checkpoint"
    directory = tmp_path_factory.mktemp("small")
    for file in bundled.glob("*.j*"):
        shutil.copy(file, directory)
    raw = read_json(bundled / "config.json")
    raw["text_config"] |= SMALL_TEXT
    raw["vision_config"] |= SMALL_VISION
    model = Qwen3VL(ModelConfig.from_dict(raw), select("cpu"))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float(name.endswith("norm.weight")), 0.2, generator=generator)
    save(model, directory)
    return directory


@pytest.fixture
def load(small_checkpoint: Path) -> Callable[..., Native]:
    """A Native of the small checkpoint: `load(options=...)`."""

    def make(**settings: object) -> Native:
        return Native.load(small_checkpoint, **({"name": "small", "limits": MediaLimits()} | settings))  # type: ignore[arg-type]

    return make
