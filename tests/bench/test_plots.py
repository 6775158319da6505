"""Plots are drawn from what a report has, and only then."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from saccade.bench import plots
from saccade.bench.figures import Figure
from saccade.bench.floors import Floors, Shape
from saccade.bench.report import FORMAT, Report
from saccade.errors import SettingsError

pytest.importorskip("matplotlib")

SHAPE = Shape(2, 64, 128, 64, 2, 64, 32, 100_000, 300)
FLOORS = Floors(SHAPE, 1e9, 1e10, 2)


def full() -> Report:
    ms = {f"sizes.{side}": Figure(side / 10, "ms", side / 11, side / 9, 5) for side in (224, 448, 1024)}
    for workers in (8, 32):
        for mix in ("unique", "repeat60"):
            ms |= {f"load.c{workers}.{mix}.{key}": Figure(50.0 + workers, "ms") for key in ("ttft_p50", "gap_p99")}
            ms[f"load.c{workers}.{mix}.rate"] = Figure(workers / 2, "req/s")
    usage = {"prompt_tokens": 300, "prompt_tokens_details": {"image_tokens": 196}}
    row = {"usage": usage, "error": None, "pieces_ms": [10.0, 12.0, 12.0, 15.0, 80.0]}
    raw = {
        "ttft": [{**row, "what": "new_picture"}, {**row, "what": "same_picture"}],
        "stall": [{**row, "what": "quiet"}, {**row, "what": "pictures"}],
        "sizes": [{**row, "what": "224"}],
        "load": [{**row, "what": "c8.unique"}],
    }
    stages = {f"ttft.{what}": {"vision_ms": 9.0, "first_token_ms": 12.0} for what in ("new_picture", "same_picture")}
    plan = {"streams": 8, "load_tokens": 64}
    return Report(FORMAT, figures={name: one.to_json() for name, one in ms.items()}, stages=stages, raw=raw, plan=plan)


@pytest.mark.parametrize(("runs", "floors"), [(1, None), (2, FLOORS)])
def test_every_plot(tmp_path: Path, runs: int, floors: Floors | None) -> None:
    written = plots.draw([(f"run {number}", full()) for number in range(runs)], tmp_path, floors)
    assert [path.name for path in written] == [
        f"{name}.{kind}" for name in ("load", "sizes", "stages", "gaps") for kind in ("png", "svg")
    ]
    assert all(path.stat().st_size > 2000 for path in written)
    text = (tmp_path / "stages.svg").read_text()
    assert "vision tower" in text
    assert ("floor" in text) == (floors is not None)
    assert ("run 1" in (tmp_path / "load.svg").read_text()) == (runs == 2)


def test_drawing_again_gives_the_same_svg(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        plots.draw([("a", Report(FORMAT, figures={"sizes.224": Figure(3.0, "ms").to_json()}))], tmp_path, FLOORS)
        texts.append((tmp_path / "sizes.svg").read_text())
    assert texts[0] == texts[1]


def test_what_is_missing_is_not_drawn(tmp_path: Path) -> None:
    only = Report(FORMAT, figures={"sizes.224": Figure(3.0, "ms").to_json(), "sizes.448": Figure(None, "ms").to_json()})
    assert [path.name for path in plots.draw([("a", only)], tmp_path, FLOORS)] == ["sizes.png", "sizes.svg"]
    assert plots.draw([("a", Report(FORMAT))], tmp_path, None) == []


def test_files_of_http_load_are_drawn_beside_ours(tmp_path: Path) -> None:
    ours, old = (
        Report(kind, figures={"load.c8.unique.rate": Figure(17.0, "req/s").to_json()}) for kind in (FORMAT, "old")
    )
    plots.draw([("ours", ours), ("old", old)], tmp_path, None)
    assert "old" in (tmp_path / "load.svg").read_text()


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SettingsError, match="not installed") as caught:
        plots.require_matplotlib()
    assert "pip install 'saccade[bench]'" in str(caught.value.hint)
