"""Measured rates of a GPU and a model's config.json become the least time each stage can take; pure arithmetic.

A stage that computes takes at least its operations over the matrix rate, one that reads at least its bytes over the
copy rate. Operations count 2 for each multiply-add. With D width of the tower, I its inner width, N patches, M = N / 4
picture tokens, E width of the decoder, L layers, Hq and Hk heads of d, F inner width, V vocabulary, S prompt tokens:

    vision    2 * 1536 * N * D + depth * (8 N D^2 + 4 N D I + 4 N^2 D) + 4 * (32 M D^2 + 8 M D E)
    weights   L * (2 E Hq d + 2 E Hk d + 3 E F)      parameters that every token meets (experts: the chosen ones)
    prefill   2 S weights + 2 S^2 Hq d L + 2 V E     half of the attention is masked; logits of the last token only
    decode    reads (weights + V E) * bytes, and 2 L Hk d * bytes for each token before it
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade.errors import SettingsError

PIXELS_OF_A_TOKEN = 32 * 32
_KEYS = {"copy_bytes_per_s", "matrix_flops_per_s", "config", "bytes_per_value"}


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a config that decide work."""

    depth: int
    vision_width: int
    vision_inner: int
    width: int
    layers: int
    query_width: int
    key_width: int
    weights: int
    """Parameters of the decoder's layers that one token meets."""
    vocabulary: int

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """Raises KeyError for a config that lacks one."""
        text, vision = config["text_config"], config["vision_config"]
        width, heads = text["hidden_size"], text["num_attention_heads"]
        head = text.get("head_dim") or width // heads
        query, key = heads * head, text["num_key_value_heads"] * head
        mlp = 3 * width * text["intermediate_size"]
        if text.get("num_experts"):
            chosen = text["num_experts_per_tok"] * text["moe_intermediate_size"]
            mlp = 3 * width * chosen + width * text["num_experts"]
        return cls(
            depth=vision["depth"],
            vision_width=vision["hidden_size"],
            vision_inner=vision["intermediate_size"],
            width=width,
            layers=text["num_hidden_layers"],
            query_width=query,
            key_width=key,
            weights=text["num_hidden_layers"] * (2 * width * query + 2 * width * key + mlp),
            vocabulary=text["vocab_size"],
        )

    def vision_flops(self, patches: int) -> float:
        """Of one picture of `patches` patches, with its four mergers."""
        d, n = self.vision_width, patches
        blocks = self.depth * (8 * n * d**2 + 4 * n * d * self.vision_inner + 4 * n**2 * d)
        return 2 * 1536 * n * d + blocks + 4 * (8 * n * d**2 + 2 * n * d * self.width)

    def prefill_flops(self, new: int, cached: int = 0) -> float:
        """Of `new` tokens after `cached` ones whose keys are known."""
        pairs = new * cached + new**2 / 2
        return 2 * new * self.weights + 4 * pairs * self.query_width * self.layers + 2 * self.vocabulary * self.width

    def weight_values(self) -> int:
        """Numbers read for each decoded token."""
        return self.weights + self.vocabulary * self.width

    def context_values(self, tokens: int) -> int:
        """Numbers of keys and values of `tokens` tokens."""
        return 2 * self.layers * self.key_width * tokens


@dataclass(frozen=True, slots=True)
class Floors:
    """Least milliseconds; the rates are bytes copied (read and written) and operations, each in one second."""

    shape: Shape
    copy: float
    matrix: float
    bytes_per_value: float

    def vision(self, tokens: int) -> float:
        """Of one picture that becomes `tokens` tokens."""
        return self.shape.vision_flops(4 * tokens) / self.matrix * 1e3

    def prefill(self, new: int, cached: int = 0) -> float:
        return self.shape.prefill_flops(new, cached) / self.matrix * 1e3

    def decode(self, context: int, streams: int = 1) -> float:
        """Of one token of each of `streams` streams with `context` tokens each."""
        values = self.shape.weight_values() + streams * self.shape.context_values(context)
        return values * self.bytes_per_value / self.copy * 1e3

    def request(self, picture: int, prompt: int, answer: int, streams: int) -> float:
        """GPU time of one of `streams` equal requests: `picture` and `prompt` tokens in, `answer` tokens out."""
        vision = self.vision(picture) if picture else 0.0
        return vision + self.prefill(prompt) + answer * self.decode(prompt + answer // 2, streams) / streams


def read(path: Path) -> Floors:
    """The file of --floors. `config` in it is a config.json as an object, or its path beside the file. Raises
    SettingsError when the file does not say what is needed."""
    data = _json(path)
    if unknown := set(data) - _KEYS:
        raise SettingsError(f"{path}: {min(unknown)} means nothing here.", hint=f"Keys: {', '.join(sorted(_KEYS))}.")
    config = data.get("config")
    if isinstance(config, str):
        config = _json(path.parent / config)
    try:
        copy, matrix = float(data["copy_bytes_per_s"]), float(data["matrix_flops_per_s"])
        size = float(data.get("bytes_per_value", 2))
        shape = Shape.from_config(config or {})
    except KeyError as error:
        raise SettingsError(f"{path}: {error.args[0]} is missing.", param="floors") from None
    except (TypeError, ValueError):
        raise SettingsError(f"{path}: the rates must be numbers and config an object or a path.") from None
    if min(copy, matrix, size) <= 0:
        raise SettingsError(f"{path}: the rates must be above zero.", param="floors")
    return Floors(shape, copy, matrix, size)


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", param="floors") from None
    except ValueError as error:
        raise SettingsError(f"{path} is not JSON: {error}.", param="floors") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{path} is no JSON object.", param="floors")
    return data
