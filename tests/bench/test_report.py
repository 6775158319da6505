"""Figures, files and comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saccade.bench import show
from saccade.bench.compare import caution, compare, labels
from saccade.bench.figures import Figure, median, percentile, rate, times_better
from saccade.bench.report import FORMAT, Report, read, write
from saccade.errors import SettingsError

OLD = {
    "ttft": {"ttft_cold_ms": 80.0, "prompt_tokens": 1546, "ttft_same_image_ms": 30.0, "ttft_text_ms": 17.0},
    "decode": {"tpot_ms": 2.0, "decode_tok_s": 500.0},
    "stall": {
        "quiet": {"p50": 2.0, "p99": 3.0, "max": 4.0, "arrivals": 0, "arrival_ttft_p50": None},
        "with_images": {"p50": 2.0, "p99": 24.0, "max": 32.0, "arrivals": 24, "arrival_ttft_p50": 78.0},
    },
    "load": {"c8_unique": {"req_s": 17.0, "tok_s": 1100.0, "ttft_p50": 250.0, "ttft_p99": 330.0}},
}
"""What http_load.py writes."""


def report(**figures: Figure) -> Report:
    named = {name.replace("__", "."): figure.to_json() for name, figure in figures.items()}
    return Report(FORMAT, figures=named, raw={"ttft": [{"what": "text", "pieces_ms": [1.5, 2.5]}]}, notes=["a"])


# --- figures ---------------------------------------------------------------------------------------------------------


def test_median_and_percentiles() -> None:
    assert median([3.0, 1.0, 9.0], "ms") == Figure(3.0, "ms", 1.0, 9.0, 3)
    values = [float(number) for number in range(1, 101)]
    for percent in (1, 50, 99, 100):
        assert percentile(values, percent, "ms").value == percent
    assert percentile([5.0], 50, "ms").value == percentile([5.0], 99, "ms").value == 5.0


def test_nothing_measured_is_no_number() -> None:
    assert median([], "ms").value is percentile([], 99, "ms").value is None
    assert rate(3, 0.0, "req/s").value is rate(0, 2.0, "req/s").value is None


def test_better_is_above_one() -> None:
    assert times_better(Figure(5.0, "ms"), Figure(10.0, "ms")) == 2
    assert times_better(Figure(10.0, "req/s"), Figure(5.0, "req/s")) == 2
    assert times_better(Figure(4.0, "GB"), Figure(2.0, "GB")) == 0.5
    for one in (None, Figure(None, "ms"), Figure(0.0, "ms")):
        assert times_better(one, Figure(1.0, "ms")) is None
        assert times_better(Figure(1.0, "ms"), one) is None


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    one = report(ttft__text=median([1.0, 2.5], "ms"), decode__rate=Figure(None, "tok/s"))
    path = tmp_path / "new" / "a.json"
    write(one, path)
    assert read(path) == one
    assert read(path).figure("ttft.text") == Figure(1.75, "ms", 1.0, 2.5, 2)
    assert read(path).value("decode.rate") is None
    assert read(path).value("not.there") is None


def test_the_file_has_a_line_for_each_figure_and_request(tmp_path: Path) -> None:
    write(report(ttft__text=Figure(1.0, "ms")), tmp_path / "a.json")
    lines = (tmp_path / "a.json").read_text().splitlines()
    assert '  "ttft.text": {"value": 1.0, "unit": "ms"}' in lines
    assert any(line.strip() == '{"what": "text", "pieces_ms": [1.5, 2.5]}' for line in lines)


@pytest.mark.parametrize("data", [OLD, {"date": "2026-11-21", "hardware": "H200", "results": OLD}])
def test_files_of_http_load(tmp_path: Path, data: dict[str, Any]) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(data))
    found = read(path)
    assert {name: found.value(name) for name in found.figures} == {
        "ttft.new_picture": 80,
        "ttft.same_picture": 30,
        "ttft.text": 17,
        "decode.token": 2,
        "decode.rate": 500,
        "stall.quiet.p50": 2,
        "stall.quiet.p99": 3,
        "stall.quiet.max": 4,
        "stall.pictures.p50": 2,
        "stall.pictures.p99": 24,
        "stall.pictures.max": 32,
        "stall.pictures.arrival_ttft": 78,
        "load.c8.unique.rate": 17,
        "load.c8.unique.tokens": 1100,
        "load.c8.unique.ttft_p50": 250,
        "load.c8.unique.ttft_p99": 330,
    }


def test_an_error_in_a_file_of_http_load_stays(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**OLD, "load": {"error": "RuntimeError('500')"}}))
    assert read(path).problems == [{"workload": "load", "count": 1, "message": "RuntimeError('500')"}]


@pytest.mark.parametrize(
    ("text", "message"), [("[]", "no result"), ("{}", "no result"), ("{", "not JSON"), (None, "cannot be read")]
)
def test_other_files(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read(path)


def test_published_figures_of_peers_can_be_read(shared: Path) -> None:
    path = shared.parent / "peers" / "vllm_http_2b.json"
    found = read(path)
    assert found.value("ttft.new_picture") == pytest.approx(77.85, abs=0.01)
    assert len(found.figures) == 37


# --- side by side ----------------------------------------------------------------------------------------------------


def test_compared() -> None:
    a = report(ttft__text=Figure(20.0, "ms"), decode__rate=Figure(100.0, "tok/s"), only__here=Figure(1.0, "ms"))
    b = report(decode__rate=Figure(250.0, "tok/s"), ttft__text=Figure(10.0, "ms"))
    c = report(decode__rate=Figure(None, "tok/s"))
    rows = compare([a, b, c])
    assert [(row.name, row.ratios) for row in rows] == [
        ("ttft.text", (1, 2, None)),
        ("decode.rate", (1, 2.5, None)),
    ]
    golden = """\
| figure | vllm | ours | later |
|---|---:|---:|---:|
| ttft.text | 20.0 ms | 10.0 ms (**2.00x**) | - |
| decode.rate | 100 tok/s | 250 tok/s (**2.50x**) | - |

x: times better than vllm."""
    assert show.markdown(["vllm", "ours", "later"], rows) == golden


def test_the_table_of_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    rows = compare([report(ttft__text=Figure(2000.0, "ms")), report(ttft__text=Figure(2.5, "ms"))])
    show.console().print(show.compared(["a", "b"], rows))
    assert "2,000 ms   2.50 ms  800.00x" in capsys.readouterr().out


def test_two_rulers_are_told() -> None:
    ours, old = Report(FORMAT), Report("http_load.py")
    assert caution([ours, ours]) is caution([old]) is None
    assert "Not all by one ruler" in str(caution([ours, old]))


def test_labels_tell_files_apart() -> None:
    assert labels([Path("x/a.json"), Path("x/b.json")]) == ["a", "b"]
    assert labels([Path("x/a.json"), Path("y/a.json")]) == ["x/a.json", "y/a.json"]
