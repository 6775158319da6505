"""How many numbers the weights of a config are, and their bytes; knows no tensors, so that it answers at once.

It counts what `vision`, `decoder` and `moe` allocate; a test holds it against them.
"""

from __future__ import annotations

from dataclasses import dataclass

from saccade.model.config import MERGE, PATCH, ModelConfig, TextConfig, VisionConfig

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Widths:
    """Bytes of one number."""

    item: int
    """Of weights, activations, keys, values and features."""
    mlp: int
    """Of the MLPs in the vision tower: fp32 where all else is fp16, which their first product exceeds."""

    @staticmethod
    def of(dtype: str) -> Widths:
        """Of "float32", "float16" or "bfloat16"."""
        return Widths(BYTES[dtype], 4 if dtype == "float16" else BYTES[dtype])


def dtype_on(device_type: str, wanted: str, config: ModelConfig) -> str:
    """What "auto" means where no weight file is looked at: float32 on a CPU, else the type that config.json names."""
    if wanted != "auto":
        return wanted
    return "float32" if device_type == "cpu" else config.dtype or "bfloat16"


def num_parameters(config: ModelConfig) -> int:
    """All weights, a tied head counted once. Qwen3-VL-2B: 2,127,532,032."""
    return _tower(config.vision) + _tower_mlps(config.vision) + _decoder(config.text)


def weight_bytes(config: ModelConfig, widths: Widths) -> int:
    """All weights. 2B in bf16: 4.26 GB."""
    rest = _tower(config.vision) + _decoder(config.text)
    return rest * widths.item + _tower_mlps(config.vision) * widths.mlp


def _tower(vision: VisionConfig) -> int:
    """All of it but the MLPs of its blocks."""
    width = vision.hidden_size
    patches = width * 3 * 2 * PATCH**2 + width
    block = (3 * width * width + 3 * width) + (width * width + width) + 4 * width
    inner = width * MERGE**2
    merge = inner * inner + inner + vision.out_hidden_size * (inner + 1)
    mergers = merge + 2 * width + len(vision.deepstack_visual_indexes) * (merge + 2 * inner)
    return patches + vision.num_position_embeddings * width + vision.depth * block + mergers


def _tower_mlps(vision: VisionConfig) -> int:
    width, inner = vision.hidden_size, vision.intermediate_size
    return vision.depth * (2 * width * inner + inner + width)


def _decoder(text: TextConfig) -> int:
    width, heads = text.hidden_size, text.num_attention_heads + 2 * text.num_key_value_heads
    attention = heads * text.head_dim * width + text.num_attention_heads * text.head_dim * width + 2 * text.head_dim
    dense = 3 * width * text.intermediate_size
    sparse = text.num_experts * (width + 3 * width * text.moe_intermediate_size)
    layers = sum(
        attention + 2 * width + (sparse if text.is_sparse(layer) else dense) for layer in range(text.num_hidden_layers)
    )
    return layers + width + text.vocab_size * width * (1 if text.tie_word_embeddings else 2)
