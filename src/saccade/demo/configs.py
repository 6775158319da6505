"""Everything of the demo checkpoint but its weights and its chat template: no input, JSON files in a directory out.

The tokenizer has one token for each byte and knows no merges; the special tokens follow in Qwen's order, so every
Qwen3-VL program finds the names it looks for. Run as a module, it writes into the bundled checkpoint directory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHECKPOINT = Path(__file__).resolve().parent / "checkpoint"

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
TOKEN_IDS: dict[str, int] = {name: 256 + i for i, name in enumerate(SPECIALS)}
"""Id of each special token; a byte's id is the byte."""
VOCABULARY = 320
"""Rows of the embedding: 256 bytes, 26 specials, the rest unused (a round number for matrix products)."""
CONTEXT = 8192

_PRE_TOKENS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 tokenizers cut text before merging (tokenizer.json of Qwen3-VL); without merges it changes nothing."""


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte 0..255 in a byte-level vocabulary (GPT-2's bytes_to_unicode).

    Bytes that print stand for themselves; the others take the characters from U+0100 on, in byte order.
    """
    prints = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in prints else next(spare)) for byte in range(256)]


def tokenizer() -> dict[str, Any]:
    """tokenizer.json: byte-level BPE with an empty merge list."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": _PRE_TOKENS}, "behavior": "Isolated", "invert": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": name, **flags, "special": number <= TOKEN_IDS["<|video_pad|>"]}
            for name, number in TOKEN_IDS.items()
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {char: byte for byte, char in enumerate(byte_alphabet())},
            "merges": [],
        },
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "processor_class": "Qwen3VLProcessor",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "errors": "replace",
        "model_max_length": CONTEXT,
    }


def _model() -> dict[str, Any]:
    text = {
        "model_type": "qwen3_vl_text",
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "intermediate_size": 768,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [12, 10, 10]},
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": TOKEN_IDS["<|endoftext|>"],
        "eos_token_id": TOKEN_IDS["<|im_end|>"],
        "dtype": "bfloat16",
    }
    vision = {
        "model_type": "qwen3_vl",
        "depth": 8,
        "hidden_size": 256,
        "num_heads": 4,
        "intermediate_size": 1024,
        "hidden_act": "gelu_pytorch_tanh",
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "in_channels": 3,
        "num_position_embeddings": 48 * 48,
        "deepstack_visual_indexes": [1, 3, 5],
        "out_hidden_size": 256,
        "initializer_range": 0.02,
    }
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "image_token_id": TOKEN_IDS["<|image_pad|>"],
        "video_token_id": TOKEN_IDS["<|video_pad|>"],
        "vision_start_token_id": TOKEN_IDS["<|vision_start|>"],
        "vision_end_token_id": TOKEN_IDS["<|vision_end|>"],
        "tie_word_embeddings": True,
        "text_config": text,
        "vision_config": vision,
    }


def _pixels(shortest_edge: int, longest_edge: int) -> dict[str, Any]:
    """The budgets are pixels (of all frames together for a video), whatever their names say."""
    return {
        "size": {"shortest_edge": shortest_edge, "longest_edge": longest_edge},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
    }


def contents() -> dict[str, dict[str, Any]]:
    """The files by name."""
    return {
        "config.json": _model(),
        "generation_config.json": {
            "do_sample": False,
            "eos_token_id": [TOKEN_IDS["<|im_end|>"], TOKEN_IDS["<|endoftext|>"]],
            "pad_token_id": TOKEN_IDS["<|endoftext|>"],
        },
        "preprocessor_config.json": {
            **_pixels(32 * 32, 800 * 608),
            "image_processor_type": "Qwen2VLImageProcessorFast",
        },
        "video_preprocessor_config.json": {
            **_pixels(4096, 1200 * 1024),
            "fps": 2,
            "min_frames": 4,
            "max_frames": 16,
            "video_processor_type": "Qwen3VLVideoProcessor",
        },
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": _tokenizer_config(),
    }


def write(directory: Path) -> None:
    """Write all of them into `directory`, which must exist."""
    for name, content in contents().items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(CHECKPOINT)
