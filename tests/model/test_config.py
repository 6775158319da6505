"""config.json in both key styles; every released size; refusals that name the field."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from saccade.errors import CheckpointError
from saccade.kernels import select
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL

PARAMETERS = {
    "2b": 2_127_532_032,
    "4b-instruct": 4_437_815_808,
    "8b": 8_767_123_696,
    "32b": 33_357_390_064,
    "30b-a3b": 31_070_754_032,
    "235b-a22b": 235_670_022_896,
}


@pytest.mark.parametrize("size", PARAMETERS)
def test_every_released_size_has_its_parameter_count(size: str, shared: Path) -> None:
    config = ModelConfig.from_dict(json.loads((shared / "qwen3-vl" / size / "config.json").read_text()))
    with torch.device("meta"):
        model = Qwen3VL(config, select("cpu"))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[size]
    assert config.text.head_dim == 128
    assert config.text.tie_word_embeddings == (size in ("2b", "4b-instruct"))


def _newer_style(raw: dict[str, Any]) -> dict[str, Any]:
    """The same config as transformers 5 would write it."""
    raw = copy.deepcopy(raw)
    text, vision = raw["text_config"], raw["vision_config"]
    text["rope_parameters"] = text.pop("rope_scaling") | {"rope_theta": text.pop("rope_theta")}
    vision["rope_parameters"] = {"rope_theta": 10000.0, "rope_type": "axial"}
    vision["model_type"] += "_vision"
    if "num_experts" in text:
        text["num_local_experts"] = text.pop("num_experts")
    return raw


@pytest.mark.parametrize("moe", [False, True])
def test_both_key_styles_say_the_same(moe: bool) -> None:
    raw = tiny.config(moe=moe)
    assert ModelConfig.from_dict(_newer_style(raw)) == ModelConfig.from_dict(raw)


@pytest.mark.parametrize("moe", [False, True])
def test_what_is_written_reads_back_equal(moe: bool) -> None:
    config = ModelConfig.from_dict(tiny.config(moe=moe, tied=False, top={"dtype": "bfloat16"}))
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_top_level_decides_whether_the_head_is_tied() -> None:
    raw = tiny.config(tied=False, text={"tie_word_embeddings": True})
    assert not ModelConfig.from_dict(raw).text.tie_word_embeddings


@pytest.mark.parametrize(
    ("top", "expected"),
    [({"dtype": "float16"}, "float16"), ({"torch_dtype": "bfloat16"}, "bfloat16"), ({}, None)],
)
def test_the_type_is_found_under_both_names(top: dict[str, Any], expected: str | None) -> None:
    assert ModelConfig.from_dict(tiny.config(top=top)).dtype == expected


def test_sparse_layers_follow_step_and_exceptions() -> None:
    text = ModelConfig.from_dict(tiny.config(moe=True, text={"decoder_sparse_step": 2, "mlp_only_layers": [3]})).text
    assert [text.is_sparse(i) for i in range(5)] == [False, True, False, False, False]


ODD: list[tuple[dict[str, Any], str]] = [
    ({"top": {"model_type": "qwen2_5_vl"}}, "model_type"),
    ({"top": {"text_config": None}}, "text_config"),
    ({"top": {"vision_config": [1]}}, "vision_config"),
    ({"top": {"image_token_id": "<image>"}}, "image_token_id"),
    ({"top": {"tie_word_embeddings": "yes"}}, "tie_word_embeddings"),
    ({"top": {"dtype": "float8"}}, "dtype"),
    ({"top": {"quantization_config": {"quant_method": "fp8"}}}, "quantization_config"),
    ({"text": {"rope_theta": None}}, "text_config.rope_theta"),
    ({"text": {"rope_scaling": None}}, "text_config.rope_scaling"),
    ({"text": {"rope_scaling": {"rope_type": "yarn", "factor": 2}}}, "text_config.rope_scaling.rope_type"),
    ({"text": {"rope_scaling": {"mrope_section": [6, 5, 4]}}}, "text_config.rope_scaling.mrope_section"),
    ({"text": {"rope_scaling": {"mrope_section": [2, 7, 7]}}}, "text_config.rope_scaling.mrope_section"),
    (
        {"text": {"rope_scaling": {"mrope_section": [6, 5, 5], "mrope_interleaved": False}}},
        "text_config.rope_scaling.mrope_interleaved",
    ),
    ({"text": {"head_dim": None}}, "text_config.head_dim"),
    ({"text": {"hidden_size": 96.0}}, "text_config.hidden_size"),
    ({"text": {"num_hidden_layers": 0}}, "text_config.num_hidden_layers"),
    ({"text": {"num_hidden_layers": 2}}, "vision_config.deepstack_visual_indexes"),
    ({"text": {"num_key_value_heads": 4}}, "text_config.num_key_value_heads"),
    ({"text": {"attention_bias": True}}, "text_config.attention_bias"),
    ({"text": {"hidden_act": "gelu"}}, "text_config.hidden_act"),
    ({"text": {"rms_norm_eps": 0}}, "text_config.rms_norm_eps"),
    ({"moe": True, "text": {"norm_topk_prob": False}}, "text_config.norm_topk_prob"),
    ({"moe": True, "text": {"num_experts_per_tok": 9}}, "text_config.num_experts_per_tok"),
    ({"moe": True, "text": {"moe_intermediate_size": 44}}, "text_config.moe_intermediate_size"),
    ({"vision": {"patch_size": 14}}, "vision_config.patch_size"),
    ({"vision": {"spatial_merge_size": 1}}, "vision_config.spatial_merge_size"),
    ({"vision": {"hidden_act": "silu"}}, "vision_config.hidden_act"),
    ({"vision": {"num_heads": 3}}, "vision_config.num_heads"),
    ({"vision": {"num_position_embeddings": 2305}}, "vision_config.num_position_embeddings"),
    ({"vision": {"out_hidden_size": 64}}, "vision_config.out_hidden_size"),
    ({"vision": {"deepstack_visual_indexes": [0, 4]}}, "vision_config.deepstack_visual_indexes"),
    ({"vision": {"deepstack_visual_indexes": [1, 0]}}, "vision_config.deepstack_visual_indexes"),
]


@pytest.mark.parametrize(("change", "param"), ODD, ids=[f"{i}-{param}" for i, (_, param) in enumerate(ODD)])
def test_what_is_odd_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        ModelConfig.from_dict(tiny.config(**change))
    assert caught.value.param == param
    assert param in caught.value.message
    assert "\n" not in caught.value.message
