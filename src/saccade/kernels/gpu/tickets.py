"""Counters with which programs of one launch find out who finishes last; knows no kernel."""

from functools import lru_cache

import torch
from torch import Tensor

COUNT = 65536
"""Groups of programs in one launch that may each have a counter."""


@lru_cache(maxsize=8)
def tickets(device: torch.device) -> Tensor:
    """int32 [COUNT] on the device, 0 between launches: the program that takes a group's last ticket puts it back to 0.

    Launches that share them must follow each other, as on one stream. The first call allocates, so it has to come
    before a graph is captured.
    """
    return torch.zeros(COUNT, dtype=torch.int32, device=device)
