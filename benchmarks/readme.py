"""The figures of one H200 as a table in README.md, from the files of `benchmarks/h200.py` beside those of vLLM.

    python benchmarks/readme.py            # writes what stands between the two marks
    python benchmarks/readme.py --check    # says whether it is current, by its status

A model without a file in benchmarks/results has no columns; without any file there is no table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- figures: written by benchmarks/readme.py -->"
END = "<!-- end of figures -->"
MODELS = ("2b", "4b")


@dataclass(frozen=True)
class Row:
    """One figure: `of` finds it in a file, and may raise LookupError or TypeError where the file does not have it."""

    words: str
    unit: str
    of: Callable[[dict[str, Any]], float | None]
    less_is_better: bool = True


def in_results(*path: str) -> Callable[[dict[str, Any]], float | None]:
    """What http_load.py measured, by its keys."""

    def find(data: dict[str, Any]) -> float | None:
        found: Any = data["results"]
        for key in path:
            found = found[key]
        return found

    return find


def beside(key: str) -> Callable[[dict[str, Any]], float | None]:
    """What was measured beside http_load.py."""
    return lambda data: data.get(key)


ROWS = (
    Row("start to ready, second start on the machine", "s", beside("ready_s")),
    Row("first token, new 1024x1024 picture + 512 tokens of text", "ms", in_results("ttft", "ttft_cold_ms")),
    Row("first token, same picture, 512 new tokens of text", "ms", in_results("ttft", "ttft_same_image_ms")),
    Row("first token, 512 tokens of text", "ms", in_results("ttft", "ttft_text_ms")),
    Row("first token, new 1920x1088 picture + 64 tokens of text", "ms", in_results("ttft", "ttft_1080p_cold_ms")),
    Row("decode, one stream", "tokens/s", in_results("decode", "decode_tok_s"), less_is_better=False),
    Row(
        "gaps of 8 streams while pictures arrive, 99th percentile",
        "ms",
        in_results("stall", "with_images", "p99"),
    ),
    Row("32 at once, every picture new", "requests/s", in_results("load", "c32_unique", "req_s"), less_is_better=False),
    Row("128 at once, every picture new", "requests/s", in_results("load", "c128_unique", "req_s"), False),
    Row("128 at once, 60 % one picture", "requests/s", in_results("load", "c128_repeat60", "req_s"), False),
    Row("peak GPU memory, one stream, smallest cache that holds it", "GB", beside("peak_memory_gb")),
    Row("processor time of the process that speaks HTTP, one 1024x1024 JPEG", "ms", beside("http_cpu_ms")),
)


def read(path: Path) -> dict[str, Any] | None:
    """A file of figures; None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def value(row: Row, data: dict[str, Any]) -> float | None:
    """A figure of a file, None where it has none (one part of a run may have failed)."""
    try:
        return row.of(data)
    except (LookupError, TypeError):
        return None


def table(root: Path) -> str:
    """What belongs between the marks."""
    ours = {name: found for name in MODELS if (found := read(root / f"results/h200-{name}-http_load.json"))}
    if not ours:
        return ""
    theirs = {name: peer(root, name) for name in ours}
    heads = "".join(f" {name.upper()} | vLLM | |" for name in ours)
    lines = [f"| one H200, bf16, random weights, over HTTP |{heads}", "|---|" + "--:|--:|--:|" * len(ours)]
    for row in ROWS:
        cells = [cell for name in ours for cell in cells_of(row, ours[name], theirs[name])]
        lines.append(f"| {row.words}, {row.unit} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n" + "\n".join(sources(root, ours, theirs)) + "\n"


def peer(root: Path, name: str) -> dict[str, Any]:
    """The figures that ours are held against. vLLM takes all memory it is given: for that, Transformers."""
    found = read(root / f"peers/vllm_http_{name}.json") or {}
    memory = read(root / "peers/transformers.json") or {}
    return {**found, "peak_memory_gb": memory.get("peak_memory_gb", {}).get(name)}


def cells_of(row: Row, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Our figure, theirs, and how many times better ours is."""
    a, b = value(row, ours), value(row, theirs)
    times = (b / a if row.less_is_better else a / b) if a and b else None
    mark = " *" if b is not None and row.unit == "GB" else ""
    shown = "" if times is None else f"{times:.1f}x"
    return [short(a), short(b) + mark, f"**{shown}**" if times and times > 1 else shown]


def short(number: float | None) -> str:
    """Three digits or so."""
    if number is None:
        return "-"
    return f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f}"


def sources(root: Path, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Where and when the figures were taken, a paragraph."""
    links = ", ".join(
        f"[{name.upper()}](benchmarks/results/h200-{name}-http_load.json) and "
        f"[vLLM's](benchmarks/peers/vllm_http_{name}.json)"
        for name in ours
    )
    lines = [f"Measured by `benchmarks/h200.py`; commands and all figures: {links}."]
    for name, data in ours.items():
        versions = ", ".join(f"{package} {number}" for package, number in data["versions"].items())
        lines.append(f"{name.upper()}: {data['date'][:10]}, {data['hardware']}; {versions}.")
    their = next(iter(theirs.values()))
    memory = read(root / "peers/transformers.json") or {}
    lines.append(
        f"vLLM {their['versions']['vllm']} with its default flags, {their['date']}, same kind of machine, same ruler; "
        f"\\* Transformers {memory['versions']['transformers']}, {memory['date']}."
    )
    return lines


def filled(page: str, root: Path) -> str:
    """The page with a current table. Raises ValueError when it lacks the marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the marks {BEGIN} and {END}.")
    found = table(root)
    return f"{before}{BEGIN}\n" + (f"\n{found}\n" if found else "") + f"{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    path, root = ROOT / "README.md", ROOT / "benchmarks"
    page = path.read_text(encoding="utf-8")
    new = filled(page, root)
    if parser.parse_args().check:
        sys.exit(0 if new == page else "README.md is not current: run python benchmarks/readme.py")
    path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
