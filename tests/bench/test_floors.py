"""The arithmetic of floors against counts made by other means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saccade.bench.floors import Floors, Shape, read
from saccade.errors import SettingsError

RATES = {"copy_bytes_per_s": 4.29e12, "matrix_flops_per_s": 800e12}


def shape(shared: Path, size: str) -> Shape:
    return Shape.from_config(json.loads((shared / "qwen3-vl" / size / "config.json").read_text()))


@pytest.mark.parametrize(
    ("size", "weights", "read_bytes", "context_bytes"),
    [
        ("2b", 1.409e9, 3.441e9, 114_688),
        ("4b-instruct", 3.633e9, 8.045e9, 147_456),
        ("8b", 6.946e9, 15.137e9, 147_456),
        ("32b", 31.206e9, 63.97e9, 262_144),
        ("30b-a3b", 2.730e9, 6.08e9, 98_304),
        ("235b-a22b", 20.945e9, 43.1e9, 192_512),
    ],
)
def test_bytes_of_a_decoded_token(
    shared: Path, size: str, weights: float, read_bytes: float, context_bytes: int
) -> None:
    found = shape(shared, size)
    assert found.weights == pytest.approx(weights, rel=1e-3)
    assert 2 * found.weight_values() == pytest.approx(read_bytes, rel=2e-3)
    assert 2 * found.context_values(1) == context_bytes


@pytest.mark.parametrize(
    ("size", "vision", "prefill"), [("2b", 4.34, 4.60), ("4b-instruct", 4.36, 11.86), ("8b", 5.80, 22.03)]
)
def test_operations(shared: Path, size: str, vision: float, prefill: float) -> None:
    found = shape(shared, size)
    assert found.vision_flops(4096) / 1e12 == pytest.approx(vision, abs=0.006)
    assert found.prefill_flops(1536) / 1e12 == pytest.approx(prefill, abs=0.006)


def test_a_prefill_in_two_parts_is_the_prefill(shared: Path) -> None:
    found = shape(shared, "2b")
    head = 2 * found.vocabulary * found.width
    parts = found.prefill_flops(1000) + found.prefill_flops(500, 1000) - head
    assert parts == pytest.approx(found.prefill_flops(1500))


def test_floors_of_an_h200(shared: Path) -> None:
    floors = Floors(shape(shared, "2b"), 4.29e12, 800e12, 2)
    assert floors.vision(1024) == pytest.approx(5.4, abs=0.1)
    assert floors.decode(0) == pytest.approx(0.80, abs=0.01)
    assert floors.prefill(512, 1024) == pytest.approx(2.0, abs=0.1)
    assert 1e3 / floors.request(1024, 1536, 64, 128) == pytest.approx(70, abs=2)


def test_the_file_of_floors(shared: Path, tmp_path: Path) -> None:
    config = shared / "qwen3-vl" / "2b" / "config.json"
    beside = tmp_path / "config.json"
    beside.write_text(config.read_text())
    for given in (json.loads(config.read_text()), str(config), "config.json"):
        (tmp_path / "f.json").write_text(json.dumps({**RATES, "config": given}))
        assert read(tmp_path / "f.json") == Floors(shape(shared, "2b"), 4.29e12, 800e12, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no JSON object"),
        ({**RATES}, "text_config is missing"),
        ({"config": {}}, "copy_bytes_per_s is missing"),
        ({**RATES, "copy": 3, "config": {}}, "copy means nothing here"),
        ({**RATES, "matrix_flops_per_s": "fast", "config": {}}, "must be numbers"),
        ({**RATES, "config": "none.json"}, "cannot be read"),
    ],
)
def test_wrong_files(tmp_path: Path, data: Any, message: str) -> None:
    (tmp_path / "f.json").write_text(json.dumps(data))
    with pytest.raises(SettingsError, match=message):
        read(tmp_path / "f.json")
