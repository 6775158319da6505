"""How much memory keys, values and features take, and how much there is; a model comes in, bytes and blocks go out."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from saccade.cache.blocks import BLOCK
from saccade.model.qwen3vl import Qwen3VL

SHARE = 0.5
"""Of the memory that is free once the model is loaded, what keys and values may take unless the caller decides."""


def block_bytes(model: Qwen3VL) -> int:
    """BLOCK tokens in all layers. Demo model in fp32: 2 * 6 layers * 2 heads * 64 * 4 * 16 = 98,304."""
    text = model.config.text
    per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * model.dtype.itemsize
    return BLOCK * per_token


def feature_bytes_per_token(model: Qwen3VL) -> int:
    """All levels of one picture token."""
    levels = 1 + len(model.config.vision.deepstack_visual_indexes)
    return levels * model.config.text.hidden_size * model.dtype.itemsize


def free_bytes(device: torch.device) -> int:
    """Memory that could be taken now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    facts = Path("/proc/meminfo")
    if facts.is_file():  # Linux counts what caches would give back
        for line in facts.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def default_blocks(model: Qwen3VL, *, max_context: int, max_running: int) -> int:
    """Blocks for `max_running` sequences of `max_context` tokens and for block 0, but at most SHARE of what is free.

    On a CPU memory is taken when it is first written, so that blocks nobody needs cost nothing.
    """
    wanted = 1 + max_running * -(-max_context // BLOCK)
    return max(2, min(wanted, int(SHARE * free_bytes(model.device)) // block_bytes(model)))
