"""docs/bench.md tells of every workload and every flag that is not a setting."""

from __future__ import annotations

from pathlib import Path

from saccade.bench.workloads import WORKLOADS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bench.md").read_text()


def test_every_workload_has_a_row() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert rows[: len(WORKLOADS)] == [f"`{workload.name}`" for workload in WORKLOADS]


def test_every_flag_is_told() -> None:
    own = (
        "--url",
        "--model",
        "--api-key",
        "--only",
        "--quick",
        "--json",
        "--plots",
        "--floors",
        "--ablate",
        "--compare",
        "--markdown",
    )
    assert [name for name in own if name not in PAGE] == []
