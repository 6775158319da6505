"""Tensors of safetensors files are read in pieces; knows no model.

The files are read with plain reads into one small buffer. A memory map would be shorter to write, but its pages count
as ours until the system takes them back, and loading must stay within the weights and a little more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from saccade.errors import CheckpointError
from saccade.model.headers import Entry

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

_BUFFER_BYTES = 32 << 20


class Reader:
    """Reads tensors of one directory through one buffer; keeps one file open. Use as a context manager."""

    def __init__(self) -> None:
        self._buffer = torch.empty(_BUFFER_BYTES, dtype=torch.uint8)
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def rows(self, entry: Entry) -> Iterator[tuple[int, Tensor]]:
        """(first row, [some rows, ...] on the CPU) until all rows of the first axis are read.

        Each piece lies in the buffer and is overwritten by the next.
        """
        shape = entry.shape or (1,)
        row_bytes = entry.num_bytes // shape[0] if shape[0] else 0
        step = max(1, _BUFFER_BYTES // max(1, row_bytes))
        file = self._open(entry)
        file.seek(entry.offset)
        for first in range(0, shape[0], step):
            count = min(step, shape[0] - first)
            room = self._room(count * row_bytes)
            if file.readinto(room.numpy()) != len(room):  # type: ignore[attr-defined]
                raise CheckpointError(f"{entry.file} ended while tensor {entry.name} was read.")
            yield first, room.view(DTYPES[entry.kind]).view(count, *shape[1:])

    def _room(self, num_bytes: int) -> Tensor:
        if num_bytes > len(self._buffer):
            self._buffer = torch.empty(num_bytes, dtype=torch.uint8)
        return self._buffer[:num_bytes]

    def _open(self, entry: Entry) -> BinaryIO:
        if self._file is None or self._path != entry.file:
            if self._file is not None:
                self._file.close()
            self._path, self._file = entry.file, entry.file.open("rb")
        return self._file
