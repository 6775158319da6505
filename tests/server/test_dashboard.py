"""The dashboard asks only for what /metrics tells, and is what its table says."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from test_metrics import LAST, MEDIA, STATS

from saccade.server.admission import Admission, Limits
from saccade.server.metrics import Metrics

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\bsaccade:[a-z0-9_]+")
BY = re.compile(r"by \(([a-z_, ]+)\)")


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "benchmarks" / "dashboard.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """Labels of each sample that a server with an engine tells, by name."""
    metrics = Metrics("m", lambda: STATS, Admission(Limits(), lambda: 1), lambda: MEDIA)
    metrics.responded(200)
    metrics.finished(LAST, 0.0)
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_the_file_is_current(made: ModuleType) -> None:
    assert json.loads(made.FILE.read_text()) == made.dashboard(), "run: python benchmarks/dashboard.py"


def test_every_name_and_label_is_told(made: ModuleType, told: dict[str, set[str]]) -> None:
    asked = expressions(made.dashboard())
    assert len(asked) > 30
    for expression in asked:
        names = NAME.findall(expression)
        assert names, expression
        for name in names:
            assert name in told, expression
        labels = {"le" if label == "le" else label for group in BY.findall(expression) for label in group.split(", ")}
        assert all(labels <= told[name] for name in names), expression
        assert expression.count("(") == expression.count(")")
        assert expression.count("{") == expression.count("}")
    (variable,) = [one for one in made.dashboard()["templating"]["list"] if one["name"] == "model"]
    assert NAME.findall(variable["query"])[0] in told


def test_panels_do_not_overlap(made: ModuleType) -> None:
    cells = [
        (x, y)
        for panel in made.dashboard()["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_a_wrong_name_is_seen(made: ModuleType, told: dict[str, set[str]]) -> None:
    assert not set(NAME.findall(made.rate("requests_of_yesterday"))) <= told.keys()
