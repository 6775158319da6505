"""A plugin of pytest: tests that cannot pass here are run all the same and have to fail, each for a reason that is
written down; what came of every test goes to a file.

    CONFORMANCE_EXCEPTIONS=exceptions.toml CONFORMANCE_SUITE=openai CONFORMANCE_TOLD=told.json pytest -p exceptions
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

_reasons: dict[str, str] = {}
"""Of each test that has to fail."""
_unused: set[str] = set()
"""Patterns that no test has."""
_told: dict[str, str] = {}
"""What came of each test: passed, failed, excepted, skipped."""
_skips: Counter[str] = Counter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    table = tomllib.loads(Path(os.environ["CONFORMANCE_EXCEPTIONS"]).read_text())
    for entry in table.get(os.environ["CONFORMANCE_SUITE"], []):
        for pattern in entry["tests"]:
            found = [item for item in items if re.fullmatch(pattern, _short(item.nodeid))]
            if not found:
                _unused.add(pattern)
            for item in found:
                _reasons[item.nodeid] = entry["reason"]
                item.add_marker(pytest.mark.xfail(reason=entry["reason"], strict=not entry.get("either", False)))


def _short(name: str) -> str:
    """Without directories."""
    path, colons, test = name.partition("::")
    return path.rpartition("/")[2] + colons + test


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.nodeid in _told and report.outcome == "passed":
        return
    if report.when == "call" or report.outcome != "passed":
        excepted = report.nodeid in _reasons and report.outcome == "skipped"
        _told[report.nodeid] = "excepted" if excepted else report.outcome
        if report.outcome == "skipped" and not excepted:
            _skips[str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)] += 1


def pytest_sessionfinish() -> None:
    excepted = Counter(_reasons[name] for name, outcome in _told.items() if outcome == "excepted")
    told: dict[str, Any] = {
        "counts": Counter(_told.values()),
        "failed": sorted(name for name, outcome in _told.items() if outcome == "failed"),
        "excepted": excepted,
        "skipped": _skips,
        "unused": sorted(_unused),
    }
    Path(os.environ["CONFORMANCE_TOLD"]).write_text(json.dumps(told))
