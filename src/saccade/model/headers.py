"""A directory of safetensors files becomes a list of the tensors in it, from the files' headers alone; knows no model,
and no torch, so that a checkpoint can be looked over at once. Every way in which a file can be broken ends in a
CheckpointError that names the file.

    file = 8 bytes little-endian n | n bytes of JSON {name: {dtype, shape, data_offsets [begin, end]}} | data
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade.errors import CheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Of a number, by the names that the headers use."""

_MAX_HEADER_BYTES = 100 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of one file."""

    name: str
    file: Path
    kind: str
    """A key of ITEM_BYTES."""
    shape: tuple[int, ...]
    offset: int
    """Of its first byte in the file."""

    @property
    def num_bytes(self) -> int:
        """Length of its data."""
        return math.prod(self.shape) * ITEM_BYTES[self.kind]


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
    places = _places(directory)
    files = [SINGLE] if places is None else sorted(set(places.values()))
    found = [entry for name in files for entry in _read_header(directory, name)]
    inside = {(entry.name, entry.file.name) for entry in found}
    for name, file in (places or {}).items():
        if (name, file) not in inside:
            raise CheckpointError(f"{directory / INDEX} places tensor {name} in {file}, which does not have it.")
    return found


def broken_files(directory: Path) -> dict[str, CheckpointError]:
    """Which weight files of a checkpoint are absent, cut short or no safetensors files, and what is wrong with each."""
    try:
        places = _places(directory)
    except CheckpointError as error:
        return {INDEX: error}
    broken = {}
    for name in [SINGLE] if places is None else sorted(set(places.values())):
        try:
            _read_header(directory, name)
        except CheckpointError as error:
            broken[name] = error
    return broken


def _places(directory: Path) -> dict[str, str] | None:
    """The file of each tensor, as the index tells; None for a checkpoint in one file."""
    index = directory / INDEX
    if (directory / SINGLE).exists() or not index.exists():
        return None
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} has no usable weight_map.")
    for name in places.values():
        if Path(name).name != name:
            raise CheckpointError(f"{index} names {name!r}, which is not a file of this directory.")
    return places


def _read_header(directory: Path, name: str) -> list[Entry]:
    """The tensors of one file, checked against its length."""
    path = directory / name
    if name != SINGLE and not path.exists():
        raise CheckpointError(
            f"{directory / INDEX} names {name}, which is absent.", hint="Download the checkpoint again."
        )
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
    if kind not in ITEM_BYTES:
        raise CheckpointError(f"{path}: tensor {name} has type {kind}; only {', '.join(ITEM_BYTES)} are supported.")
    entry = Entry(name, path, kind, shape, start + begin)
    if begin < 0 or min(shape, default=1) < 0 or end - begin != entry.num_bytes:
        raise CheckpointError(f"{path}: tensor {name} has a shape that does not fit its data.")
    return entry
