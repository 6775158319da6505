"""Small random models in both implementations, and conversations to feed them: what the model tests share.

Matrices, norms and biases are drawn wide, so that a forgotten bias, a swapped axis or a wrong position shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.kernels import reference
from saccade.model.qwen3vl import Qwen3VL
from saccade.types import Grid

IMAGE, VIDEO, START, END = 290, 291, 292, 293
FIRST_SPECIAL = 256


def config(**changes: Any) -> dict[str, Any]:
    """A config.json in the released key style. Changes: `text`, `vision` (dicts), `tied`, `moe`, `top`."""
    moe: bool = changes.get("moe", False)
    kind = "qwen3_vl_moe" if moe else "qwen3_vl"
    text: dict[str, Any] = {
        "model_type": f"{kind}_text",
        "vocab_size": 300,
        "hidden_size": 96,
        "intermediate_size": 160,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "attention_bias": False,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5000000,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"},
    }
    if moe:
        text |= {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 40, "norm_topk_prob": True}
        text |= {"decoder_sparse_step": 1, "mlp_only_layers": []}
    vision: dict[str, Any] = {
        "model_type": kind,
        "depth": 4,
        "hidden_size": 64,
        "intermediate_size": 112,
        "num_heads": 2,
        "in_channels": 3,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "num_position_embeddings": 2304,
        "out_hidden_size": 96,
        "hidden_act": "gelu_pytorch_tanh",
        "deepstack_visual_indexes": [0, 1, 3],
    }
    return {
        "model_type": kind,
        "architectures": ["Qwen3VLMoeForConditionalGeneration" if moe else "Qwen3VLForConditionalGeneration"],
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": START,
        "vision_end_token_id": END,
        "tie_word_embeddings": changes.get("tied", True),
        "text_config": text | changes.get("text", {}),
        "vision_config": vision | changes.get("vision", {}),
    } | changes.get("top", {})


def reference_model(transformers: ModuleType, raw: dict[str, Any], seed: int = 0) -> Any:
    """The reference implementation of a config with wide random fp32 weights."""
    moe = raw["model_type"] == "qwen3_vl_moe"
    name = "Qwen3VLMoe" if moe else "Qwen3VL"
    parsed = getattr(transformers, f"{name}Config")(**{k: v for k, v in raw.items() if k != "architectures"})
    parsed._attn_implementation = "sdpa"
    model = getattr(transformers, f"{name}ForConditionalGeneration")(parsed).float().eval()
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: torch.Size, scale: float) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("bias"):
                weight.copy_(normal(weight.shape, 0.2))
            elif weight.dim() == 1:
                weight.copy_((2.0 if "q_norm" in key or "k_norm" in key else 1.0) + normal(weight.shape, 0.3))
            elif "embed_tokens" in key or "pos_embed" in key:
                weight.copy_(normal(weight.shape, 0.5))
            else:
                weight.copy_(normal(weight.shape, weight[0].numel() ** -0.5))
        model.tie_weights()
    return model


# --- conversations ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A run of text (`text` tokens) or a picture: uint8 [T, H, W, 3] with its grid."""

    text: int = 0
    pixels: np.ndarray | None = None
    grid: Grid = (0, 0, 0)


@dataclass
class Conversation:
    """Token ids with their kinds (0 text, 1 image, 2 video) and the pictures in order."""

    ids: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    pictures: list[Piece] = field(default_factory=list)

    @property
    def rows(self) -> Tensor:
        """Which tokens are pictures."""
        return torch.tensor([i for i, kind in enumerate(self.kinds) if kind], dtype=torch.int64)


def text(count: int) -> Piece:
    return Piece(text=count)


def picture(rng: np.random.Generator, t: int, gh: int, gw: int) -> Piece:
    """An image (t = 0) or a video of t frame pairs, noise over a gradient."""
    frames, height, width = max(1, 2 * t), 16 * gh, 16 * gw
    ramp = np.linspace(0, 128, width)[None, None, :, None] * np.ones((frames, height, 1, 3))
    noise = rng.integers(0, 128, (frames, height, width, 3))
    return Piece(pixels=(ramp + noise).astype(np.uint8), grid=(max(1, t), gh, gw))


def conversation(rng: np.random.Generator, *pieces: Piece) -> Conversation:
    """Pieces in order; each frame pair of a video is a block of its own after four tokens of time stamp."""
    made = Conversation()

    def write(ids: list[int], kind: int) -> None:
        made.ids += ids
        made.kinds += [kind] * len(ids)

    for piece in pieces:
        if piece.pixels is None:
            write(rng.integers(0, FIRST_SPECIAL, piece.text).tolist(), 0)
            continue
        t, gh, gw = piece.grid
        is_video = piece.pixels.shape[0] > 1
        for _ in range(t):
            write([*(rng.integers(0, FIRST_SPECIAL, 4).tolist() if is_video else ()), START], 0)
            write([VIDEO if is_video else IMAGE] * (gh * gw // 4), 2 if is_video else 1)
            write([END], 0)
        made.pictures.append(piece)
    return made


def reference_inputs(transformers: ModuleType, talk: Conversation) -> dict[str, Tensor]:
    """The keyword arguments of the reference's forward, with pixels made by its own processors."""
    inputs = {
        "input_ids": torch.tensor([talk.ids]),
        "attention_mask": torch.ones(1, len(talk.ids), dtype=torch.int64),
        "mm_token_type_ids": torch.tensor([talk.kinds], dtype=torch.int32),
    }
    common = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "do_resize": False}
    common |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    images = [torch.from_numpy(p.pixels[0]).permute(2, 0, 1) for p in talk.pictures if len(p.pixels) == 1]
    videos = [torch.from_numpy(p.pixels).permute(0, 3, 1, 2) for p in talk.pictures if len(p.pixels) > 1]
    if images:
        made = transformers.Qwen2VLImageProcessor(**common)(images=images, return_tensors="pt")
        inputs |= {"pixel_values": made["pixel_values"], "image_grid_thw": made["image_grid_thw"]}
    if videos:
        processor = transformers.Qwen3VLVideoProcessor(**common, do_sample_frames=False)
        made = processor(videos=videos, return_tensors="pt")
        inputs |= {"pixel_values_videos": made["pixel_values_videos"], "video_grid_thw": made["video_grid_thw"]}
    return inputs


def reference_positions(model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, int]:
    """Positions [3, N] of the prompt and the delta of what follows."""
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "video_grid_thw")
    positions, delta = model.model.get_rope_index(**{name: inputs.get(name) for name in names})
    return positions[:, 0], int(delta[0])


# --- our side --------------------------------------------------------------------------------------------------------


class ContiguousKV:
    """Attention of one sequence whose keys and values grow by concatenation."""

    def __init__(self, model: Qwen3VL) -> None:
        self.text = model.config.text
        self.rotary = model.language.rotary
        self.stored: dict[int, tuple[Tensor, Tensor]] = {}

    def at(self, positions: Tensor) -> ContiguousKV:
        """The same, for rows with these positions int64 [3, N]."""
        self.cos, self.sin = self.rotary(positions)
        return self

    def __call__(self, index: int, qkv: Tensor, q_weight: Tensor, k_weight: Tensor) -> Tensor:
        eps, heads = self.text.rms_norm_eps, self.text.num_key_value_heads
        q, k, v = reference.qk_norm_rope(qkv, q_weight, k_weight, self.cos, self.sin, eps, heads)
        if index in self.stored:
            k, v = (torch.cat(parts) for parts in zip(self.stored[index], (k, v), strict=True))
        self.stored[index] = k, v
        return reference.causal_attention(q, k, v)


def features(model: Qwen3VL, talk: Conversation) -> Tensor:
    """[1+L, M, E] of all pictures."""
    pixels = [torch.from_numpy(p.pixels) for p in talk.pictures]
    return model.visual(pixels, [p.grid for p in talk.pictures])


def _chunks(length: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, size):
        yield start, min(start + size, length)


def logits(
    model: Qwen3VL, talk: Conversation, positions: Tensor, kv: ContiguousKV | None = None, chunk: int = 1 << 20
) -> Tensor:
    """Logits [N, V] of a whole prompt, brought in pieces of `chunk` tokens."""
    kv = kv or ContiguousKV(model)
    seen = features(model, talk) if talk.pictures else None
    rows = talk.rows
    parts = []
    for start, end in _chunks(len(talk.ids), chunk):
        x = model.language.embed(torch.tensor(talk.ids[start:end]))
        here = (rows >= start) & (rows < end)
        deepstack = local = None
        if seen is not None and bool(here.any()):
            local = rows[here] - start
            x = x.index_copy(0, local, seen[0, here])
            deepstack = seen[1:, here]
        parts.append(model.language.head(model.language(x, kv.at(positions[:, start:end]), deepstack, local)))
    return torch.cat(parts)


def greedy(model: Qwen3VL, talk: Conversation, positions: Tensor, delta: int, count: int) -> list[int]:
    """The `count` most likely tokens that follow, one by one."""
    kv = ContiguousKV(model)
    made = [int(logits(model, talk, positions, kv)[-1].argmax())]
    for i in range(len(talk.ids), len(talk.ids) + count - 1):
        x = model.language(model.language.embed(torch.tensor(made[-1:])), kv.at(torch.full((3, 1), i + delta)))
        made.append(int(model.language.head(x)[-1].argmax()))
    return made


def relative_error(value: Tensor, expected: Tensor) -> float:
    """|value - expected| / |expected|."""
    return float((value.double() - expected.double()).norm() / expected.double().norm())


def save_reference(model: Any, directory: Path) -> Path:
    """Write a checkpoint as the reference does."""
    model.save_pretrained(directory)
    return directory
