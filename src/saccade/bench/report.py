"""A report and its file: written as JSON, read back from it, and from the files of the older ruler http_load.py; knows
the names of figures, not how they come about."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from saccade.bench.figures import Figure
from saccade.errors import SettingsError

FORMAT = "saccade-bench/1"


@dataclass(frozen=True, slots=True)
class Report:
    """All of one run. `raw` has a row for each request, by workload."""

    format: str
    date: str = ""
    seconds: float = 0.0
    command: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    """Of the client; also of the server when `server["on_this_machine"]`."""
    versions: dict[str, str] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name: workload, then what, joined by dots."""
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def figure(self, name: str) -> Figure | None:
        data = self.figures.get(name)
        return None if data is None else Figure.from_json(data)

    def value(self, name: str) -> float | None:
        """The number alone."""
        found = self.figure(name)
        return found.value if found else None


def write(report: Report, path: Path) -> None:
    """One line for each figure and each request, so that the file can be read and compared by line."""
    write_json(asdict(report), path, 2)


def write_json(data: dict[str, Any], path: Path, depth: int) -> None:
    """JSON whose outer `depth` levels, and the rows of lists below them, have lines of their own."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_laid_out(data, depth) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.", param="json") from None


def read(path: Path) -> Report:
    """A report of ours, or the result of http_load.py, bare or under "results". Raises SettingsError for others."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise SettingsError(f"{path} is not JSON: {error}.") from None
    if isinstance(data, dict) and data.get("format") == FORMAT:
        known = {entry.name for entry in fields(Report)}
        return Report(**{name: value for name, value in data.items() if name in known})
    if isinstance(data, dict) and (found := _of_http_load(data)):
        return found
    raise SettingsError(f"{path} is no result of saccade bench or of http_load.py.")


_RENAMED = (
    (r"ttft\.ttft_cold_ms", "ttft.new_picture", "ms"),
    (r"ttft\.ttft_same_image_ms", "ttft.same_picture", "ms"),
    (r"ttft\.ttft_text_ms", "ttft.text", "ms"),
    (r"ttft\.ttft_1080p_cold_ms", "ttft.1080p", "ms"),
    (r"decode\.tpot_ms", "decode.token", "ms"),
    (r"decode\.decode_tok_s", "decode.rate", "tok/s"),
    (r"stall\.quiet\.(p50|p99|max)", r"stall.quiet.\1", "ms"),
    (r"stall\.with_images\.(p50|p99|max)", r"stall.pictures.\1", "ms"),
    (r"stall\.with_images\.arrival_ttft_p50", "stall.pictures.arrival_ttft", "ms"),
    (r"load\.(c\d+)_(unique|repeat60)\.req_s", r"load.\1.\2.rate", "req/s"),
    (r"load\.(c\d+)_(unique|repeat60)\.tok_s", r"load.\1.\2.tokens", "tok/s"),
    (r"load\.(c\d+)_(unique|repeat60)\.ttft_(p50|p99)", r"load.\1.\2.ttft_\3", "ms"),
)
"""(A name in the file of http_load.py, ours, unit.)"""


def _of_http_load(data: dict[str, Any]) -> Report | None:
    results = data["results"] if isinstance(data.get("results"), dict) else data
    figures, problems = {}, []
    for name, value in _flat(results):
        if name.endswith(".error"):
            problems.append({"workload": name.removesuffix(".error"), "count": 1, "message": str(value)})
        for pattern, ours, unit in _RENAMED:
            if isinstance(value, int | float) and (match := re.fullmatch(pattern, name)):
                figures[match.expand(ours)] = Figure(float(value), unit).to_json()
    if not figures:
        return None
    return Report("http_load.py", figures=figures, date=str(data.get("date", "")), problems=problems)


def _flat(data: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(data, dict):
        return [(prefix, data)]
    return [pair for name, part in data.items() for pair in _flat(part, f"{prefix}.{name}" if prefix else name)]


def _laid_out(value: Any, depth: int, indent: str = "") -> str:
    """JSON with the outer `depth` levels (and the rows of lists below them) on lines of their own."""
    inner = indent + " "
    parts: Sequence[str]
    if depth and isinstance(value, dict) and value:
        parts = [f"{inner}{json.dumps(name)}: {_laid_out(part, depth - 1, inner)}" for name, part in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        parts = [inner + json.dumps(part) for part in value]
        return "[\n" + ",\n".join(parts) + f"\n{indent}]"
    return json.dumps(value)
