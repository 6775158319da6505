"""What launches share: counters with which programs find out who finishes last, and sizes; knows no kernel."""

from functools import lru_cache

import torch
from torch import Tensor

COUNT = 65536
"""Groups of programs in one launch that may each have a counter."""


@lru_cache(maxsize=8)
def tickets(device: torch.device) -> Tensor:
    """int32 [COUNT] on the device, 0 between launches: the program that takes a group's last ticket puts it back to 0.

    Launches that share them must follow each other, as on one stream; one that begins early waits for the end of the
    one before it before it takes a ticket. The first call allocates, so it has to come before a graph is captured.
    """
    return torch.zeros(COUNT, dtype=torch.int32, device=device)


@lru_cache(maxsize=256)
def power_of_2(size: int) -> int:
    """The least power of 2 that is not below `size`."""
    return 1 << max(size - 1, 0).bit_length()
