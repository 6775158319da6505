"""A second stream of a device, for work that would leave most of it idle by itself."""

from __future__ import annotations

from typing import ClassVar

import torch


class Side:
    """What is launched between `fork` and `join` on `stream` runs beside what the current stream does meanwhile; a
    graph captures both. Tensors have to be allocated before `fork`."""

    _all: ClassVar[dict[torch.device, Side]] = {}

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
        self._forked, self._joined = torch.cuda.Event(), torch.cuda.Event()  # type: ignore[no-untyped-call]

    @classmethod
    def of(cls, device: torch.device) -> Side | None:
        """That of a device; None where there are no streams."""
        if device.type != "cuda":
            return None
        if device not in cls._all:
            cls._all[device] = cls(device)
        return cls._all[device]

    def fork(self) -> None:
        """What comes on the stream waits for what is in the current one."""
        self._forked.record(torch.cuda.current_stream(self._device))
        self.stream.wait_event(self._forked)

    def join(self) -> None:
        """What comes in the current stream waits for it."""
        self._joined.record(self.stream)
        torch.cuda.current_stream(self._device).wait_event(self._joined)
