"""The whole model: a vision tower and a decoder side by side; how their rows are joined is the caller's business.

A prompt's rows are `language.embed(ids)` with the rows of picture tokens replaced by features[0]; features[1:] go in as
`deepstack` with the same row numbers.
"""

from __future__ import annotations

import torch
from torch import nn

from saccade.kernels import Ops
from saccade.model.config import ModelConfig
from saccade.model.decoder import Decoder
from saccade.model.vision import VisionTower


class Qwen3VL(nn.Module):
    """`visual` makes features of pictures, `language` turns rows into logits."""

    def __init__(self, config: ModelConfig, ops: Ops) -> None:
        super().__init__()
        self.config = config
        self.ops = ops
        self.visual = VisionTower(config.vision, ops)
        self.language = Decoder(config.text, ops)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and activations."""
        return self.language.embed_tokens.weight.dtype
