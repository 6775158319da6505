"""The sparse MLP of a decoder layer: a router picks a few experts for each token; the op does the mathematics.

N tokens    E width    X experts    F inner width of one expert
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saccade.kernels import Ops
from saccade.model.config import TextConfig


class Experts(nn.Module):
    """router [X, E], gate_up_proj [X, 2F, E] (gate rows first), down_proj [X, E, F]."""

    def __init__(self, config: TextConfig, ops: Ops) -> None:
        super().__init__()
        self.ops = ops
        self.top_k = config.num_experts_per_tok
        count, width, inner = config.num_experts, config.hidden_size, config.moe_intermediate_size
        self.router = nn.Parameter(torch.empty(count, width))
        self.gate_up_proj = nn.Parameter(torch.empty(count, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(count, width, inner))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, E] -> [N, E]: the weighted sum of top_k experts."""
        return self.ops.experts(x, self.router, self.gate_up_proj, self.down_proj, self.top_k)
