"""Host and device exchange things without waiting for each other: arrays go up through pinned memory, results come down
into it; knows nothing of what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.types import IntArray

STEPS = 3
"""Steps whose memory is kept apart: two under way, and one that is being written."""
WORDS = 1 << 19
"""Of one step, in pinned memory; a larger one takes memory of its own."""


class Staging:
    """On a CPU nothing is copied."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._step = 0
        if self._cuda:
            self._host = torch.zeros(STEPS, WORDS, dtype=torch.int64, pin_memory=True)
            self._arrays = self._host.numpy()
            self._device = torch.zeros(WORDS, dtype=torch.int64, device=device)

    def send(self, array: IntArray) -> Tensor:
        """An array on the device; its memory is used again by the next call, in the order of the stream."""
        if not self._cuda:
            return torch.from_numpy(array)
        if len(array) > WORDS:
            return torch.from_numpy(array).pin_memory().to(self._device.device, non_blocking=True)
        self._step = (self._step + 1) % STEPS
        self._arrays[self._step, : len(array)] = array
        sent = self._device[: len(array)]
        sent.copy_(self._host[self._step, : len(array)], non_blocking=True)
        return sent

    def fetch(self, values: Tensor) -> Fetched:
        """Values on their way to the host."""
        if not self._cuda:
            return Fetched(values, None)
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return Fetched(host, event)

    def pixels(self, frames: np.ndarray[Any, np.dtype[np.uint8]], device: torch.device) -> Tensor:
        """Pixels on the device, by way of pinned memory unless they lie in it."""
        if not self._cuda:
            return torch.tensor(frames)
        if frames.flags.writeable and (pinned := torch.from_numpy(frames)).is_pinned():
            return pinned.to(device, non_blocking=True)
        host = torch.empty(frames.shape, dtype=torch.uint8, pin_memory=True)
        np.copyto(host.numpy(), frames)
        return host.to(device, non_blocking=True)


class Fetched:
    """Values that are here once `wait` has returned."""

    def __init__(self, host: Tensor, event: Any) -> None:
        self._host, self._event = host, event

    def wait(self) -> list[float]:
        """The values, flat."""
        if self._event is not None:
            self._event.synchronize()
        flat: list[float] = self._host.tolist()
        return flat
