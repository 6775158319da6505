"""The table of figures in README.md is the one that benchmarks/readme.py writes."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benchmarks" / "peers"


@pytest.fixture
def readme(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("readme")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The peers' figures, and no results of ours."""
    shutil.copytree(PEERS, tmp_path / "peers")
    (tmp_path / "results").mkdir()
    return tmp_path


def measured(root: Path, name: str, **changed: Any) -> dict[str, Any]:
    """A file of ours in which everything is as in vLLM's, but for what is `changed`."""
    data: dict[str, Any] = json.loads((root / f"peers/vllm_http_{name}.json").read_text())
    ours = {**copy.deepcopy(data), "date": "2026-12-01T10:00:00+00:00", "versions": {"saccade": "9"}, **changed}
    (root / f"results/h200-{name}-http_load.json").write_text(json.dumps(ours))
    return ours


def rows(table: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells[2:]}


def test_the_page_is_current(readme: ModuleType) -> None:
    page = (ROOT / "README.md").read_text()
    assert readme.filled(page, ROOT / "benchmarks") == page, "run: python benchmarks/readme.py"


def test_without_results_there_is_no_table(readme: ModuleType, root: Path) -> None:
    page = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    assert readme.filled(page, root) == f"before\n{readme.BEGIN}\n{readme.END}\nafter\n"


def test_a_model_with_results_has_columns(readme: ModuleType, root: Path) -> None:
    data = measured(root, "2b", ready_s=20.6, peak_memory_gb=6.95, http_cpu_ms=8.0)
    data["results"]["decode"]["decode_tok_s"] *= 2
    (root / "results/h200-2b-http_load.json").write_text(json.dumps(data))
    page = readme.filled(f"a\n{readme.BEGIN}\n{readme.END}\nz\n", root)
    assert page == readme.filled(page, root), "writing it again changes nothing"
    table = rows(page)
    assert len(table) == len(readme.ROWS) == 12
    assert table["start to ready, second start on the machine, s"] == ["20.6", "103", "**5.0x**"]
    assert table["decode, one stream, tokens/s"] == ["921", "460", "**2.0x**"]
    assert table["first token, 512 tokens of text, ms"] == ["17.2", "17.2", "1.0x"]
    assert table["peak GPU memory, one stream, smallest cache that holds it, GB"] == ["6.95", "13.9 *", "**2.0x**"]
    assert table["processor time of the process that speaks HTTP, one 1024x1024 JPEG, ms"] == ["8.00", "-", ""]
    assert "2B: 2026-12-01, " in page
    assert "vLLM 0.26.0 with its default flags, 2026-11-21" in page
    assert "4B" not in page
    measured(root, "4b")
    assert all(len(cells) == 6 for cells in rows(readme.table(root)).values())


def test_what_failed_is_a_dash(readme: ModuleType, root: Path) -> None:
    data = measured(root, "4b")
    data["results"]["load"] = {"error": "RuntimeError('500')"}
    del data["results"]["stall"]
    (root / "results/h200-4b-http_load.json").write_text(json.dumps(data))
    table = rows(readme.table(root))
    assert table["32 at once, every picture new, requests/s"] == ["-", "22.7", ""]
    assert table["gaps of 8 streams while pictures arrive, 99th percentile, ms"] == ["-", "30.7", ""]


def test_a_page_without_marks_is_an_error(readme: ModuleType, root: Path) -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        readme.filled("# saccade\n", root)


@pytest.mark.parametrize("name", ["2b", "4b"])
def test_figures_of_peers_are_those_that_were_measured(shared: Path, name: str) -> None:
    measured_there = json.loads((shared.parent / "peers" / f"vllm_http_{name}.json").read_text())
    assert json.loads((PEERS / f"vllm_http_{name}.json").read_text())["results"] == measured_there
