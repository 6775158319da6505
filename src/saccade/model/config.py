"""config.json becomes frozen records, or one error that names the field; knows no tensors and no weight files.

Two key styles exist: released files keep `rope_theta` and `rope_scaling` in `text_config` and call experts
`num_experts`; transformers 5 writes `rope_parameters` and `num_local_experts`. Sizes are never guessed: what decides a
shape or an angle must stand in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saccade.errors import CheckpointError

PATCH = 16
"""Pixels on each side of a patch."""
MERGE = 2
"""Patches on each side of the block that becomes one token."""


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Sizes of the vision tower."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    out_hidden_size: int
    num_position_embeddings: int
    deepstack_visual_indexes: tuple[int, ...]
    """0-based blocks whose output feeds a DeepStack merger, in order."""
    rope_theta: float = 10000.0

    @property
    def head_dim(self) -> int:
        """Width of one attention head: 64 or 72 in the released sizes."""
        return self.hidden_size // self.num_heads

    @property
    def grid_side(self) -> int:
        """The learned position table is grid_side x grid_side."""
        return math.isqrt(self.num_position_embeddings)


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Sizes of the decoder; `num_experts` is 0 for a dense model."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]
    """How many of the head_dim / 2 angle pairs follow the time, height and width position."""
    max_position_embeddings: int
    tie_word_embeddings: bool
    """Whether the head is the embedding. The top level of config.json decides; its text_config may say otherwise."""
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    decoder_sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] = ()

    def is_sparse(self, layer: int) -> bool:
        """Whether layer number `layer` (0-based) has experts."""
        return (
            self.num_experts > 0 and layer not in self.mlp_only_layers and (layer + 1) % self.decoder_sparse_step == 0
        )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything the model needs of config.json."""

    vision: VisionConfig
    text: TextConfig
    image_token_id: int
    video_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int
    dtype: str | None = None
    """"bfloat16", "float16" or "float32" as the file says; None when it does not."""

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> ModelConfig:
        """Read a parsed config.json. Raises CheckpointError naming the field that is missing, odd or not supported."""
        top = _Section(raw, "")
        kind = top.text("model_type")
        if kind not in ("qwen3_vl", "qwen3_vl_moe"):
            raise CheckpointError(
                f"config.json: model_type is {kind!r}; only qwen3_vl and qwen3_vl_moe are supported.",
                param="model_type",
            )
        if raw.get("quantization_config") is not None:
            raise CheckpointError(
                "config.json: quantization_config is set; quantised checkpoints are not supported.",
                param="quantization_config",
            )
        text, vision = top.section("text_config"), top.section("vision_config")
        config = ModelConfig(
            vision=_vision(vision),
            text=_text(text, tied=top.flag("tie_word_embeddings", default=False), sparse=kind == "qwen3_vl_moe"),
            image_token_id=top.whole("image_token_id"),
            video_token_id=top.whole("video_token_id"),
            vision_start_token_id=top.whole("vision_start_token_id"),
            vision_end_token_id=top.whole("vision_end_token_id"),
            dtype=_dtype(top, text),
        )
        if config.vision.out_hidden_size != config.text.hidden_size:
            raise vision.refuse("out_hidden_size", f"must equal text_config.hidden_size ({config.text.hidden_size})")
        if len(config.vision.deepstack_visual_indexes) > config.text.num_hidden_layers:
            raise vision.refuse("deepstack_visual_indexes", "has more levels than the decoder has layers")
        return config

    def to_dict(self) -> dict[str, Any]:
        """The same as a config.json in the released key style; from_dict gives an equal record back."""
        sparse = self.text.num_experts > 0
        kind = "qwen3_vl_moe" if sparse else "qwen3_vl"
        text = {name: getattr(self.text, name) for name in _TEXT_SIZES}
        text |= {
            "model_type": f"{kind}_text",
            "attention_bias": False,
            "hidden_act": "silu",
            "rms_norm_eps": self.text.rms_norm_eps,
            "rope_theta": self.text.rope_theta,
            "rope_scaling": {
                "mrope_interleaved": True,
                "mrope_section": list(self.text.mrope_section),
                "rope_type": "default",
            },
            "tie_word_embeddings": self.text.tie_word_embeddings,
        }
        if sparse:
            text |= {name: getattr(self.text, name) for name in (*_EXPERT_SIZES, "decoder_sparse_step")}
            text |= {"mlp_only_layers": list(self.text.mlp_only_layers), "norm_topk_prob": True}
        vision = {name: getattr(self.vision, name) for name in _VISION_SIZES} | _VISION_FIXED
        vision |= {
            "model_type": kind,
            "deepstack_visual_indexes": list(self.vision.deepstack_visual_indexes),
            "rope_parameters": {"rope_theta": self.vision.rope_theta, "rope_type": "axial"},
        }
        names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        top: dict[str, Any] = {name: getattr(self, name) for name in names}
        top["architectures"] = ["Qwen3VLMoeForConditionalGeneration" if sparse else "Qwen3VLForConditionalGeneration"]
        top |= {"model_type": kind, "tie_word_embeddings": self.text.tie_word_embeddings}
        if self.dtype is not None:
            top["dtype"] = text["dtype"] = self.dtype
        return top | {"text_config": text, "vision_config": vision}


_VISION_SIZES = (
    "depth", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size", "num_position_embeddings",
)  # fmt: skip
_VISION_FIXED = {
    "patch_size": PATCH,
    "spatial_merge_size": MERGE,
    "temporal_patch_size": 2,
    "in_channels": 3,
    "hidden_act": "gelu_pytorch_tanh",
}
_TEXT_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings",
)  # fmt: skip
_EXPERT_SIZES = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")


class _Section:
    """One object of config.json; every reader names the full path of what it does not find or like."""

    def __init__(self, raw: Mapping[str, Any], path: str) -> None:
        self.raw = raw
        self.path = path

    def refuse(self, name: str, why: str) -> CheckpointError:
        value = f" is {self.raw[name]!r} and" if name in self.raw else ""
        return CheckpointError(f"config.json: {self.path}{name}{value} {why}.", param=f"{self.path}{name}")

    def get(self, name: str) -> Any:
        if self.raw.get(name) is None:
            raise CheckpointError(f"config.json: {self.path}{name} is missing.", param=f"{self.path}{name}")
        return self.raw[name]

    def section(self, name: str) -> _Section:
        value = self.get(name)
        if not isinstance(value, dict):
            raise self.refuse(name, "must be an object")
        return _Section(value, f"{self.path}{name}.")

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise self.refuse(name, "must be a string")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.raw.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def whole(self, name: str, *, least: int = 0) -> int:
        value = self.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.refuse(name, f"must be a whole number of at least {least}")
        return value

    def size(self, name: str) -> int:
        return self.whole(name, least=1)

    def positive(self, name: str) -> float:
        value = self.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self.refuse(name, "must be a number above 0")
        return float(value)

    def wholes(self, name: str) -> tuple[int, ...]:
        value = self.get(name)
        if not isinstance(value, list) or not all(isinstance(v, int) and v >= 0 for v in value):
            raise self.refuse(name, "must be a list of whole numbers")
        return tuple(value)

    def expect(self, **fixed: object) -> None:
        """The only value we support, where the file states one."""
        for name, value in fixed.items():
            if self.raw.get(name, value) != value:
                raise self.refuse(name, f"only {value!r} is supported")


def _dtype(top: _Section, text: _Section) -> str | None:
    """`dtype` (transformers 5) or `torch_dtype` (4), at the top or else in text_config."""
    for section in (top, text):
        for name in ("dtype", "torch_dtype"):
            if section.raw.get(name) is not None:
                value = section.text(name)
                if value not in ("bfloat16", "float16", "float32"):
                    raise section.refuse(name, "must be bfloat16, float16 or float32")
                return value
    return None


def _vision(section: _Section) -> VisionConfig:
    section.expect(**_VISION_FIXED)
    sizes = {name: section.size(name) for name in _VISION_SIZES}
    levels = section.wholes("deepstack_visual_indexes")
    theta = section.section("rope_parameters").positive("rope_theta") if section.raw.get("rope_parameters") else 10000.0
    config = VisionConfig(**sizes, deepstack_visual_indexes=levels, rope_theta=theta)
    if config.hidden_size % (4 * config.num_heads):
        raise section.refuse("num_heads", f"must divide hidden_size ({config.hidden_size}) into heads of 4k channels")
    if config.grid_side**2 != config.num_position_embeddings:
        raise section.refuse("num_position_embeddings", "must be a square number")
    if list(levels) != sorted(set(levels)) or any(level >= config.depth for level in levels):
        raise section.refuse("deepstack_visual_indexes", f"must rise and stay below depth ({config.depth})")
    return config


def _text(section: _Section, *, tied: bool, sparse: bool) -> TextConfig:
    section.expect(attention_bias=False, hidden_act="silu")
    if sparse:
        section.expect(norm_topk_prob=True)
    sizes: dict[str, Any] = {name: section.size(name) for name in _TEXT_SIZES}
    theta, axes = _rope(section, sizes["head_dim"])
    config = TextConfig(
        **sizes,
        **(_experts(section) if sparse else {}),
        rms_norm_eps=section.positive("rms_norm_eps"),
        rope_theta=theta,
        mrope_section=axes,
        tie_word_embeddings=tied,
    )
    if config.num_attention_heads % config.num_key_value_heads:
        raise section.refuse("num_key_value_heads", f"must divide num_attention_heads ({config.num_attention_heads})")
    return config


def _experts(section: _Section) -> dict[str, Any]:
    count = "num_local_experts" if "num_local_experts" in section.raw else "num_experts"
    found: dict[str, Any] = {
        "num_experts": section.size(count),
        "num_experts_per_tok": section.size("num_experts_per_tok"),
        "moe_intermediate_size": section.size("moe_intermediate_size"),
        "decoder_sparse_step": section.size("decoder_sparse_step") if "decoder_sparse_step" in section.raw else 1,
        "mlp_only_layers": section.wholes("mlp_only_layers") if section.raw.get("mlp_only_layers") else (),
    }
    if found["moe_intermediate_size"] % 8:
        raise section.refuse("moe_intermediate_size", "must be a multiple of 8 (grouped products need aligned rows)")
    if found["num_experts_per_tok"] > found["num_experts"]:
        raise section.refuse("num_experts_per_tok", f"is above {count} ({found['num_experts']})")
    return found


def _rope(section: _Section, head_dim: int) -> tuple[float, tuple[int, int, int]]:
    """(theta, mrope_section) from either key style."""
    if section.raw.get("rope_parameters") is not None:
        rope = theta = section.section("rope_parameters")
    else:
        rope, theta = section.section("rope_scaling"), section
    rope.expect(rope_type="default", type="default", mrope_interleaved=True)
    axes = rope.wholes("mrope_section")
    if len(axes) != 3 or sum(axes) * 2 != head_dim:
        raise rope.refuse("mrope_section", f"must be three numbers with sum head_dim / 2 ({head_dim // 2})")
    if 3 * max(axes[1:]) > sum(axes) + 2:
        raise rope.refuse("mrope_section", "leaves no room to interleave the three axes")
    return theta.positive("rope_theta"), (axes[0], axes[1], axes[2])
