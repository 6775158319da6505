"""What memory plans count."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from saccade.engine.core import Engine
from saccade.engine.footprint import (
    DeviceMemory,
    activation_bytes,
    before_load,
    block_bytes,
    divide,
    feature_bytes_per_token,
    tokens_per_block,
)
from saccade.engine.host import main_memory
from saccade.engine.memory import plan_memory, widths
from saccade.engine.options import EngineOptions
from saccade.errors import SettingsError
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.size import Widths, weight_bytes
from saccade.model.vision import VisionBlock

GPU = DeviceMemory(free=2**30, total=2**30, is_gpu=True)
SMALL = EngineOptions(graphs=False, feature_cache_bytes=2**20)


def test_an_mlp_of_the_tower_in_fp32_is_counted_so(model: Qwen3VL) -> None:
    half = copy.deepcopy(model).half()
    before = activation_bytes(model.config, widths(half))
    assert 2 * before <= activation_bytes(model.config, widths(model)) <= 2 * before + 1
    for block in half.visual.blocks:
        assert isinstance(block, VisionBlock)
        block.linear_fc1.float()
        block.linear_fc2.float()
    assert widths(half) == Widths(2, 4) == Widths.of("float16")
    # For each of 16,384 patches: inner width 48 twice, 2 bytes more; outer width 32 in and out, 4 bytes.
    more = activation_bytes(model.config, widths(half)) - before
    assert abs(more - 1.1 * 16384 * (2 * 48 * 2 + 2 * 32 * 4)) < 2


def test_keys_and_values_get_what_is_left_of_the_share_of_a_gpu(model: Qwen3VL) -> None:
    config, kind = model.config, Widths.of("float32")
    plan = divide(config, kind, 5, GPU, SMALL, max_context=4096, max_running=4, block_size=64)
    left = int(0.9 * 2**30) - activation_bytes(config, kind) - 2**20
    block = block_bytes(config, kind, 64)
    assert block == 4 * block_bytes(config, kind, 16)
    assert plan.num_blocks == left // block
    assert plan.kv == plan.num_blocks * block
    assert plan.num_tokens == (plan.num_blocks - 1) * 64
    others = replace(GPU, free=2**30 - 10 * block)
    less = divide(config, kind, 5, others, SMALL, max_context=9, max_running=1, block_size=64)
    assert less.num_blocks == plan.num_blocks - 10


def test_a_gpu_that_is_full_is_refused(model: Qwen3VL) -> None:
    for options in (SMALL, replace(SMALL, kv_cache_bytes=2**40)):
        with pytest.raises(SettingsError):
            divide(
                model.config, Widths(4, 4), 5, replace(GPU, free=2**20), options, max_context=99, max_running=4,
                block_size=64,
            )  # fmt: skip


def test_a_cpu_has_the_blocks_that_its_sequences_can_need(model: Qwen3VL) -> None:
    plan = plan_memory(model, EngineOptions(), max_context=160, max_running=3, block_size=16)
    assert plan.num_blocks == 1 + 3 * 10
    assert plan_memory(model, EngineOptions(), max_context=160, max_running=3, block_size=64).num_blocks == 1 + 3 * 3
    assert plan.weights == sum(tensor.nbytes for tensor in model.state_dict().values())


def test_features_have_all_levels(model: Qwen3VL) -> None:
    text, vision = model.config.text, model.config.vision
    levels = 1 + len(vision.deepstack_visual_indexes)
    assert feature_bytes_per_token(model.config, Widths(2, 2)) == levels * text.hidden_size * 2


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(model: Qwen3VL) -> None:
    config, weights = model.config, weight_bytes(model.config, Widths.of("float32"))
    main = DeviceMemory(free=weights + 2**20, total=2**30, is_gpu=False)
    assert before_load(config, "float32", main, EngineOptions()).weights == weights
    with pytest.raises(SettingsError, match=r"weights in float32 0\.00 GB; of 1\.07 GB main memory 0\.00 GB can be"):
        before_load(config, "float32", replace(main, free=weights), EngineOptions())
    graphic = replace(GPU, free=weights)
    with pytest.raises(SettingsError, match=r"the largest step 0\.1\d GB, features of pictures 0\.05 GB; of 1"):
        before_load(config, "float32", graphic, EngineOptions(graphs=False))


def test_before_and_after_the_load_the_plan_is_the_same(model: Qwen3VL) -> None:
    config, weights = model.config, weight_bytes(model.config, Widths.of("float32"))
    loaded = replace(GPU, free=GPU.free - weights)
    after = divide(config, Widths.of("float32"), weights, loaded, SMALL, max_context=99, max_running=9, block_size=64)
    assert before_load(config, "float32", GPU, replace(SMALL, max_context=99, max_running=9)) == after


def test_the_block_size_is_the_device_s(model: Qwen3VL) -> None:
    assert (tokens_per_block(is_gpu=True), tokens_per_block(is_gpu=False)) == (64, 16)
    assert before_load(model.config, "float32", GPU, SMALL).block_size == 64
    assert before_load(model.config, "float32", replace(GPU, is_gpu=False), SMALL).block_size == 16
    assert Engine(model, stop_ids=(), options=SMALL).memory.block_size == 16


@pytest.mark.parametrize("size", [16, 64])
def test_the_smallest_cache_for_a_context_holds_it(model: Qwen3VL, size: int) -> None:
    """As many tokens and one block that is never given out; with a byte less the context is a block shorter."""
    kv = (256 // size + 1) * block_bytes(model.config, widths(model), size)
    for bytes_, context in ((kv, 256), (kv - 1, 256 - size)):
        options = EngineOptions(max_context=256, max_running=1, kv_cache_bytes=bytes_)
        assert Engine(model, stop_ids=(), options=options, block_size=size).max_context == context


def _host(root: Path, **files: str) -> DeviceMemory:
    for name, content in {"proc/meminfo": "MemTotal:  9 kB\nMemAvailable:    2000000 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return main_memory(root)


def test_main_memory_of_a_machine_and_of_a_container(tmp_path: Path) -> None:
    alone = _host(tmp_path / "a")
    assert alone.free == 2_000_000 * 1024
    group = "sys/fs/cgroup/memory"
    for name, files in {
        "v2": {
            f"{group}.max": "1000000\n",
            f"{group}.current": "700000\n",
            f"{group}.stat": "anon 5\ninactive_file 100\n",
        },
        "v1": {
            f"{group}/memory.limit_in_bytes": "1000000",
            f"{group}/memory.usage_in_bytes": "700000",
            f"{group}/memory.stat": "total_inactive_file 100\n",
        },
    }.items():
        held = _host(tmp_path / name, **files)
        assert (held.free, held.total) == (300_100, 1_000_000), name
    assert _host(tmp_path / "b", **{f"{group}.max": "max\n", f"{group}.current": "7\n"}) == alone
    assert main_memory(tmp_path / "nowhere").free > 0
