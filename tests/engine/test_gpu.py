"""On a CUDA device: graphs say what eager steps say, no step waits for the device, memory stays inside its plan."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from saccade.engine.core import Engine
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.engine.runner import Runner
from saccade.kernels import select
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL
from saccade.text.positions import lay_out
from saccade.types import MediaSpan, Picture, Prompt, SamplingParams, TokenOut

pytestmark = pytest.mark.gpu
SMALL = {"max_context": 2048, "max_running": 16, "kv_cache_bytes": 64 * 2**20, "feature_cache_bytes": 64 * 2**20}
WIDE = {
    "model_type": "qwen3_vl",
    "image_token_id": 500,
    "video_token_id": 501,
    "vision_start_token_id": 502,
    "vision_end_token_id": 503,
    "tie_word_embeddings": True,
    "text_config": {
        "vocab_size": 512, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [16, 8, 8], "rope_type": "default"},
        "max_position_embeddings": 4096, "hidden_act": "silu", "attention_bias": False,
    },
    "vision_config": {
        "depth": 4, "hidden_size": 128, "intermediate_size": 256, "num_heads": 2, "out_hidden_size": 256,
        "num_position_embeddings": 256, "deepstack_visual_indexes": [0, 1, 2], "patch_size": 16,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3, "hidden_act": "gelu_pytorch_tanh",
    },
}  # fmt: skip


def made(dtype: torch.dtype, *, fused: bool = True) -> Qwen3VL:
    """A random model whose pictures and tokens matter."""
    device = torch.device("cuda")
    generator = torch.Generator().manual_seed(1)
    model = Qwen3VL(ModelConfig.from_dict(WIDE), select(device, fused=fused)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float("norm" in name and name.endswith("weight")), 0.08, generator=generator)
    return model.to(device, dtype)


@pytest.fixture(autouse=True)
def _device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def ask(number: int, num_text: int, pictures: int = 0, side: int = 256, max_tokens: int = 24) -> EngineRequest:
    rng = np.random.default_rng(number)
    ids, spans, shown = rng.integers(0, 500, num_text).tolist(), [], []
    for n in range(pictures):
        pixels = rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        picture = Picture("image", pixels, (1, side // 16, side // 16), (), (side, side), f"{number} {n} {side}")
        spans.append(MediaSpan(len(ids), picture.num_tokens, n, 0))
        ids += [500] * picture.num_tokens + rng.integers(0, 500, 3).tolist()
        shown.append(picture)
    positions, delta = lay_out(len(ids), spans, [p.grid for p in shown])
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True, logprobs=3)
    return EngineRequest(str(number), Prompt(tuple(ids), tuple(spans), positions, delta), tuple(shown), sampling)


def requests() -> list[EngineRequest]:
    shapes = [(5, 0), (40, 1), (300, 0), (700, 2), (90, 1), (64, 0), (17, 3), (1500, 0), (33, 1), (8, 0), (250, 1)]
    return [ask(n, *shape) for n, shape in enumerate(shapes)]


def run(engine: Engine, asked: list[EngineRequest], every: int) -> dict[str, list[TokenOut]]:
    """A request enters in each `every`th step."""
    outs: dict[str, list[TokenOut]] = {request.id: [] for request in asked}
    left, steps = list(asked), 0
    while left or engine.has_work:
        if left and (steps % every == 0 or not engine.has_work):
            engine.submit(left.pop(0))
        steps += 1
        for out in engine.step():
            assert out.error is None
            outs[out.request_id].append(out)
    return outs


@pytest.mark.parametrize("fused", [True, False])
def test_graphs_overlap_and_company_change_nothing(fused: bool) -> None:
    model = made(torch.float32, fused=fused)
    plain = EngineOptions(**SMALL, graphs=False, overlap=False, prefix_cache=False, feature_cache=False)
    wanted = {r.id: run(Engine(model, stop_ids=(), options=plain), [r], 1)[r.id] for r in requests()}
    if not fused:
        options = [EngineOptions(**SMALL, graphs=False)]
    else:
        options = [EngineOptions(**SMALL), EngineOptions(**SMALL, overlap=False), EngineOptions(**SMALL, graphs=False)]
    for chosen in options:
        for every in (1, 3):
            got = run(Engine(model, stop_ids=(), options=chosen), requests(), every)
            for id, outs in got.items():
                assert [out.token for out in outs] == [out.token for out in wanted[id]], id
                told = [[out.logprob for out in some] for some in (outs, wanted[id])]
                torch.testing.assert_close(*(torch.tensor(values) for values in told), atol=1e-4, rtol=0)


def test_bfloat16_stays_near_float32() -> None:
    wanted = run(Engine(made(torch.float32), stop_ids=(), options=EngineOptions(**SMALL)), requests(), 1)
    got = run(Engine(made(torch.bfloat16), stop_ids=(), options=EngineOptions(**SMALL)), requests(), 1)
    first = [[outs[id][0].logprob or 0.0 for id in wanted] for outs in (got, wanted)]
    torch.testing.assert_close(*(torch.tensor(values) for values in first), atol=0.25, rtol=0)


@pytest.mark.parametrize("graphs", [True, False])
def test_no_launch_waits_for_the_device(graphs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(made(torch.bfloat16), stop_ids=(), options=EngineOptions(**SMALL, graphs=graphs))
    run(engine, requests(), 2)  # what is made once is made now
    plain = Runner.launch

    def watched(self: Runner, plan: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
            try:
                launched = plain(self, plan)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert launched.failure is None
        assert not launched.failed_jobs
        return launched

    monkeypatch.setattr(Runner, "launch", watched)
    later = [ask(100 + n, *shape) for n, shape in enumerate([(5, 0), (40, 1), (300, 0), (700, 2), (1500, 1)])]
    assert all(len(outs) == 24 for outs in run(engine, later, 2).values())


def test_memory_stays_inside_its_plan() -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model = made(torch.bfloat16)
    engine = Engine(model, stop_ids=(), options=EngineOptions(**SMALL))
    torch.cuda.reset_peak_memory_stats()
    run(engine, [*requests(), ask(50, 10, 1, side=1280), ask(51, 10, 4, side=640)], 1)
    plan = engine.memory
    assert torch.cuda.max_memory_allocated() - before <= plan.weights + plan.kv + plan.features + plan.activations
    assert not engine.stats().kv_blocks_used


def test_a_model_of_its_own_is_not_changed() -> None:
    model = made(torch.float32)
    kept = copy.deepcopy(model.state_dict())
    run(Engine(model, stop_ids=(), options=EngineOptions(**SMALL)), requests()[:4], 1)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
