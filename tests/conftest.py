"""Fixtures for every room: reference data, the reference implementation, a clean environment, seeded randomness."""

from __future__ import annotations

import importlib
import os
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, so before any test
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is: models of tests are so small that threads only wait


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sim-steps", type=int, default=1_000_000, help="steps of the scheduler's simulator")
    parser.addoption("--urls", type=int, default=5000, help="generated URLs that may reach nothing private")
    parser.addoption("--malformed", type=int, default=300, help="requests that are wrong in some way")
    parser.addoption("--aborts", type=int, default=100, help="clients that leave at a random moment")
    parser.addoption("--departures", type=int, default=10, help="clients that leave the only place of the engine")
    parser.addoption("--kills", type=int, default=2, help="times in a row that the engine of a server is killed")
    parser.addoption("--grammar-seeds", type=int, default=3, help="answers under each schema in each way to sample")
    parser.addoption("--shots", help="directory for screenshots of the page")
    parser.addoption(
        "--ui-full", action="store_true", help="the page in every size, theme and language, and its figures"
    )
    parser.addoption("--sim-seed", type=int, default=0, help="seed of the simulator's first episode")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data that lies beside the project: configs, tokenizer, golden vectors."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no reference data in {path}")
    return path


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    """The reference implementation."""
    if find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    if find_spec("torchvision") is not None and "torchvision" not in sys.modules:
        import torch

        # Beside a CPU build of torch the compiled operators do not load; with their names declared, the rest does.
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou) -> Tensor")
    return importlib.import_module("transformers")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SACCADE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator that starts the same in every test."""
    return np.random.default_rng(0)
