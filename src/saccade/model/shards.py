"""A directory of safetensors files becomes a list of named tensors that can be read in pieces; knows no model.

The files are read with plain reads into one small buffer. A memory map would be shorter to write, but its pages count
as ours until the system takes them back, and loading must stay within the weights and a little more. Every way in which
a file can be broken ends in a CheckpointError that names the file.

    file = 8 bytes little-endian n | n bytes of JSON {name: {dtype, shape, data_offsets [begin, end]}} | data
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from saccade.errors import CheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

_BUFFER_BYTES = 32 << 20
_MAX_HEADER_BYTES = 100 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of one file."""

    name: str
    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    """Of its first byte in the file."""

    @property
    def num_bytes(self) -> int:
        """Length of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or a CheckpointError that names it."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise CheckpointError(f"{path} is not valid JSON.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object.")
    return value


def entries(directory: Path) -> list[Entry]:
    """Every tensor of a checkpoint directory, file by file in the order of their data.

    model.safetensors is taken when it is there, otherwise the shards of model.safetensors.index.json.
    """
    if (directory / SINGLE).exists() or not (directory / INDEX).exists():
        return _read_header(directory / SINGLE)
    index = directory / INDEX
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} has no usable weight_map.")
    found: list[Entry] = []
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise CheckpointError(f"{index} names {name!r}, which is not a file of this directory.")
        if not (directory / name).exists():
            raise CheckpointError(f"{index} names {name}, which is absent.", hint="Download the checkpoint again.")
        found += _read_header(directory / name)
    inside = {(entry.name, entry.file.name) for entry in found}
    for name, file in places.items():
        if (name, file) not in inside:
            raise CheckpointError(f"{index} places tensor {name} in {file}, which does not have it.")
    return found


def _read_header(path: Path) -> list[Entry]:
    """The tensors of one file, checked against its length."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                raise _no_safetensors(path, size)
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} has no {SINGLE} and no {INDEX}.", hint="Download the checkpoint again."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise _no_safetensors(path, size) from None
    if not isinstance(header, dict):
        raise _no_safetensors(path, size)
    header.pop("__metadata__", None)
    start = 8 + length
    found = sorted((_entry(path, name, fields, start) for name, fields in header.items()), key=lambda e: e.offset)
    end = max((entry.offset + entry.num_bytes for entry in found), default=start)
    if end > size:
        raise CheckpointError(
            f"{path} has {size:,} of {end:,} bytes: it is incomplete.", hint="Download the checkpoint again."
        )
    return found


def _no_safetensors(path: Path, size: int) -> CheckpointError:
    why = "it is empty" if size == 0 else "its header cannot be read"
    return CheckpointError(f"{path} is not a safetensors file: {why}.", hint="Download the checkpoint again.")


def _entry(path: Path, name: str, fields: Any, start: int) -> Entry:
    """One line of a header."""
    try:
        kind, shape = str(fields["dtype"]), tuple(int(n) for n in fields["shape"])
        begin, end = (int(n) for n in fields["data_offsets"])
    except (TypeError, ValueError, KeyError):
        raise CheckpointError(f"{path}: the header entry of tensor {name} cannot be read.") from None
    if kind not in DTYPES:
        raise CheckpointError(f"{path}: tensor {name} has type {kind}; only {', '.join(DTYPES)} are supported.")
    entry = Entry(name, path, DTYPES[kind], shape, start + begin)
    if begin < 0 or min(shape, default=1) < 0 or end - begin != entry.num_bytes:
        raise CheckpointError(f"{path}: tensor {name} has a shape that does not fit its data.")
    return entry


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
            yield first, room.view(entry.dtype).view(count, *shape[1:])

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
