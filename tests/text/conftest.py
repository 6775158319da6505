"""Checkpoint directories without weights, and prompts built from them."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from saccade.text.prompt import PromptBuilder
from saccade.text.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def checkpoints(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of an Instruct and of a Thinking checkpoint, all but the weights."""
    directories = {}
    for kind in ("instruct", "thinking"):
        directory = tmp_path_factory.mktemp(kind)
        for name in ("config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
            shutil.copy(shared / "qwen3-vl" / "4b-instruct" / name, directory)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(shared / "tokenizer" / name, directory)
        shutil.copy(shared / "qwen3-vl" / f"{kind}-common" / "chat_template.jinja", directory)
        directories[kind] = directory
    return directories


@pytest.fixture(scope="session")
def builders(checkpoints: dict[str, Path]) -> dict[str, PromptBuilder]:
    return {kind: PromptBuilder.from_dir(directory) for kind, directory in checkpoints.items()}


@pytest.fixture(scope="session")
def outer_builders(checkpoints: dict[str, Path]) -> dict[str, PromptBuilder]:
    """The same with the outer markers of videos kept."""
    return {kind: PromptBuilder.from_dir(path, video_outer_markers=True) for kind, path in checkpoints.items()}


@pytest.fixture(scope="session")
def references(checkpoints: dict[str, Path], transformers: ModuleType) -> dict[str, Any]:
    """The reference implementation's tokenizers of the same directories."""
    return {kind: transformers.AutoTokenizer.from_pretrained(path) for kind, path in checkpoints.items()}


@pytest.fixture(scope="session")
def qwen(builders: dict[str, PromptBuilder]) -> Tokenizer:
    """The real tokenizer of the family."""
    return builders["instruct"].tokenizer


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The demo checkpoint in the package."""
    return Path(str(files("saccade"))) / "demo" / "checkpoint"


@pytest.fixture(scope="session")
def tiny(bundled: Path) -> Tokenizer:
    """The bundled tokenizer: one token for each byte."""
    return Tokenizer.from_dir(bundled)


@pytest.fixture(params=["qwen", "tiny"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found: Tokenizer = request.getfixturevalue(request.param)
    return found
