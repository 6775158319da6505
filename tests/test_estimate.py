"""What fits is told before anything is loaded, and is what the engine then does."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import outside
import tiny
from saccade import hub
from saccade.engine.core import Engine
from saccade.engine.footprint import CUDA_CONTEXT, GRAPHS, DeviceMemory, activation_bytes, divide, tokens_per_block
from saccade.engine.options import EngineOptions
from saccade.errors import CheckpointError, SettingsError
from saccade.estimate import Estimate, estimate
from saccade.flags import engine_options
from saccade.kernels import select
from saccade.model.config import ModelConfig
from saccade.model.size import Widths
from saccade.model.weights import build_empty, initialize
from saccade.settings import load

GIB = 2**30
BLOCK = tokens_per_block(is_gpu=True)


def of(config: ModelConfig, memory: int, options: EngineOptions | None = None, **more: Any) -> Estimate:
    wishes = {"is_gpu": True, "dtype": "auto", "max_pixels": 4_194_304} | more
    return estimate("x", config, options or EngineOptions(), memory=memory, **wishes)


def released(shared: Path, name: str) -> ModelConfig:
    return ModelConfig.from_dict(json.loads((shared / "qwen3-vl" / name / "config.json").read_text()))


@pytest.mark.parametrize(("name", "gib"), [("2b", 8), ("4b-instruct", 24), ("8b", 24), ("30b-a3b", 80), ("32b", 80)])
def test_released_models_as_the_engine_would_divide(shared: Path, name: str, gib: int) -> None:
    """The plan that the engine makes once the weights, as the model itself allocates them, are on the device."""
    config = released(shared, name)
    told = of(config, gib * GIB)
    model = build_empty(config, select("cpu", fused=False)).bfloat16()
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    memory = DeviceMemory(gib * GIB - CUDA_CONTEXT - weights, gib * GIB, is_gpu=True)
    wishes = {"max_context": 262_144, "max_running": 256, "block_size": BLOCK}
    plan = divide(config, Widths(2, 2), weights, memory, EngineOptions(), **wishes)
    assert (told.weights, told.kv, told.features) == (weights, plan.kv, plan.features)
    assert told.kv_tokens == (plan.num_blocks - 1) * BLOCK
    assert told.largest_step == activation_bytes(config, Widths(2, 2)) + GRAPHS
    whole = told.weights + told.libraries + told.largest_step + told.features + told.kv
    assert 0 <= told.may_be_used - whole < BLOCK * told.kv_per_token, "all of the share is given out"


def test_the_largest_context_is_what_an_engine_on_this_machine_takes() -> None:
    """An engine with that much memory for keys and values accepts a prompt of one token less, and no longer one."""
    config = ModelConfig.from_dict(tiny.config(text={"max_position_embeddings": 512}))
    told = of(config, GIB, EngineOptions(kv_cache_bytes=9 * 16 * 2 * 5 * 2 * 32 * 4), is_gpu=False)
    model = build_empty(config, select("cpu", fused=False)).to_empty(device="cpu")
    initialize(model)
    engine = Engine(model, stop_ids=(), options=EngineOptions(kv_cache_bytes=told.kv))
    assert engine.memory.kv == told.kv
    assert engine.max_context == told.rows[0].context == 8 * 16


def test_rows_share_what_there_is(shared: Path) -> None:
    told = of(released(shared, "2b"), 24 * GIB)
    for row in told.rows:
        assert row.streams * row.context <= told.kv_tokens < row.streams * (row.context + BLOCK)
        assert row.pictures * (1024 + 2) + 1024 <= row.context < (row.pictures + 1) * (1024 + 2) + 1024
    last = told.rows[-1]
    assert last.megapixels == round((last.context - 1024 - 2) * 1024 / 1e6, 2) < 4.19
    assert told.rows[0].megapixels == 4.19
    assert of(released(shared, "2b"), 24 * GIB, max_pixels=1_000_000).rows[0].megapixels == 1.0


def test_max_context_bounds_and_counts(shared: Path) -> None:
    told = of(released(shared, "2b"), 24 * GIB, EngineOptions(max_context=8000))
    assert told.rows[0].context == 8000
    assert told.full_contexts == told.kv_tokens // 8000
    with pytest.raises(SettingsError, match="knows 262144 positions"):
        of(released(shared, "2b"), 24 * GIB, EngineOptions(max_context=300_000))


def test_a_context_never_exceeds_the_model() -> None:
    config = ModelConfig.from_dict(tiny.config())
    assert [row.context for row in of(config, 80 * GIB).rows] == [4096] * 3
    assert of(config, 80 * GIB).rows == replace(of(config, 80 * GIB)).rows


def test_float16_keeps_the_towers_mlps_in_float32(shared: Path) -> None:
    config = released(shared, "2b")
    assert of(config, 24 * GIB, dtype="float16").weights > of(config, 24 * GIB, dtype="bfloat16").weights
    assert of(config, 24 * GIB, dtype="float32").weights == 4 * of(config, 24 * GIB).parameters


@pytest.mark.parametrize(("name", "config"), [("2b", "2b"), ("4b", "4b-instruct")])
def test_an_h200_took_a_little_less(shared: Path, name: str, config: str) -> None:
    """The peak that was measured there, all that the driver counts included, stays below what is set aside."""
    results = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / f"h200-{name}-http_load.json"
    figures = dict(re.findall(r'"(peak_memory_gb|memory_flags)": "?([^",]+)', results.read_text()))
    flags = shlex.split(figures["memory_flags"])
    given = dict(zip([flag.removeprefix("--").replace("-", "_") for flag in flags[::2]], flags[1::2], strict=True))
    told = of(released(shared, config), 143771 * 2**20, engine_options(load(given)))
    whole = told.weights + told.libraries + told.largest_step + told.features + told.kv
    assert 0.9 < float(figures["peak_memory_gb"]) * 1e9 / whole < 1


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command() -> None:
    done = outside.run("estimate", "demo", "--gpu", "4GiB")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("demo in bfloat16: 3.87 GB of 4.29 GB GPU memory may be used\n")
    assert "8,192 tokens" in done.stdout
    told = json.loads(outside.run("estimate", "demo", "--gpu", "4GiB", "--json", "--max-context", "4096").stdout)
    assert told["rows"][0]["context"] == 4096
    assert told["full_contexts"] > 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("demo", "--gpu", "512MiB"), "The model does not fit: weights in bfloat16 0.03 GB"),
        (("demo",), "either --gpu or --cpu"),
        (("demo", "--gpu", "1GiB", "--cpu", "1GiB"), "either --gpu or --cpu"),
        (("demo", "--gpu", "much"), "--gpu: "),
    ],
)
def test_what_is_wrong_is_one_line_with_status_2(words: tuple[str, ...], said: str) -> None:
    done = outside.run("estimate", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_does_not_wait_for_torch() -> None:
    done = outside.run("estimate", "demo", "--gpu", "4GiB", PYTHONPROFILEIMPORTTIME="1")
    assert " saccade.estimate\n" in done.stderr
    assert " torch\n" not in done.stderr


def test_of_a_hub_model_only_config_json_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def fetch(model: str, **how: Any) -> str:
        asked.append((model, how["allow_patterns"], how["local_files_only"]))
        if how["local_files_only"]:
            raise FileNotFoundError(model)
        (tmp_path / "config.json").write_text(json.dumps(tiny.config()))
        return str(tmp_path)

    monkeypatch.setattr(hub, "_huggingface", lambda: fetch)
    assert hub.resolve_config("a/b")["model_type"] == "qwen3_vl"
    with pytest.raises(CheckpointError, match="not in the local cache"):
        hub.resolve_config("a/b", offline=True)
    assert asked == [("a/b", ["config.json"], False), ("a/b", ["config.json"], True)]
    for content in ("[]", "{"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            hub.resolve_config(str(tmp_path))
