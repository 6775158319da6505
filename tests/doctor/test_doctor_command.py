"""`saccade doctor` as people run it, on machines that are well and that are not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import outside
import saccade
from saccade.doctor import serving
from saccade.doctor.checks import CHECKS, before_serving
from saccade.doctor.machine import Machine
from saccade.settings import Settings

DEMO = Path(saccade.__file__).parent / "demo" / "checkpoint"


def told(*words: str | Path, code: int) -> dict[str, Any]:
    """The findings by the names of their checks."""
    done = outside.run("doctor", "--json", *words)
    assert (done.returncode, done.stderr) == (code, "")
    report = json.loads(done.stdout)
    assert report["status"] == ("problem" if code else report["status"])
    return {finding["check"]: finding for finding in report["findings"]}


@pytest.fixture(scope="module")
def well() -> subprocess.CompletedProcess[str]:
    return outside.run("doctor", "--port", "0")


def test_as_it_stands(well: subprocess.CompletedProcess[str]) -> None:
    assert (well.returncode, well.stderr) == (0, "")
    lines = well.stdout.splitlines()
    assert len([line for line in lines if line.startswith(("ok ", "warning "))]) == len(CHECKS)
    assert "problem" not in well.stdout.replace("No problems", "")
    assert f"{DEMO}: complete" in well.stdout


def test_piped_it_has_no_colours(well: subprocess.CompletedProcess[str]) -> None:
    assert "\x1b" not in well.stdout


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_with_the_port_taken(taken: int) -> None:
    found = told("--port", str(taken), code=1)
    assert found["port"]["level"] == "problem"
    assert found["port"]["text"] == f"Port {taken} on 127.0.0.1 is already in use."
    words = found["port"]["mend"].split()
    assert words[:3] == ["saccade", "serve", "--port"]
    with socket.create_server(("127.0.0.1", int(words[3]))):
        pass  # what it proposes is free
    assert [f["check"] for f in found.values() if f["level"] == "problem"] == ["port"]


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """The demo model in two files and an index, as large models come."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(DEMO, tmp_path / "model")
    directory = tmp_path / "model"
    tensors = sorted(load_file(directory / "model.safetensors").items())
    (directory / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    places = {}
    for name, part in zip(names, (tensors[::2], tensors[1::2]), strict=True):
        save_file(dict(part), directory / name)
        places |= {tensor: name for tensor, _ in part}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return directory


def test_with_a_half_deleted_checkpoint(sharded: Path) -> None:
    first, second = sorted(sharded.glob("*.safetensors"))
    size = first.stat().st_size
    os.truncate(first, size // 2)
    second.unlink()
    (sharded / "tokenizer.json").unlink()
    found = told("--model", sharded, "--port", "0", code=1)
    text = found["model"]["text"]
    assert found["model"]["level"] == "problem"
    assert "tokenizer.json is absent." in text
    assert f"{first.name} has {size // 2:,} of {size:,} bytes: it is incomplete." in text
    assert f"names {second.name}, which is absent" in text
    assert found["model"]["mend"].startswith("Copy these files to")
    assert [f["check"] for f in found.values() if f["level"] == "problem"] == ["model"]
    # A server does not start either, and says the same.
    served = outside.run("serve", "--model", sharded, "--port", "0")
    assert (served.returncode, served.stdout) == (1, "")
    assert text in served.stderr
    assert served.stderr.count("\n") == 1


def test_a_whole_checkpoint_that_lacks_a_tensor(sharded: Path) -> None:
    """Every file is there and whole; the names and shapes are compared with config.json."""
    config = json.loads((sharded / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] += 1
    (sharded / "config.json").write_text(json.dumps(config))
    found = serving.model(Machine(Settings(model=str(sharded))))
    assert found.level == "problem"
    assert "tensor model.language_model.layers." in found.text
    assert "is missing" in found.text


def test_with_a_model_too_big(tmp_path: Path) -> None:
    directory = tmp_path / "big"
    shutil.copytree(DEMO, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((directory / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 10**9
    (directory / "config.json").write_text(json.dumps(config))
    words = ("--model", directory, "--load-format", "dummy", "--device", "cpu", "--port", "0")
    found = told(*words, code=1)
    assert [f["check"] for f in found.values() if f["level"] == "problem"] == ["memory"]
    assert "The model does not fit: weights in float32 " in found["memory"]["text"]
    assert found["memory"]["mend"].startswith("saccade estimate ")
    served = outside.run("serve", *words)
    assert served.returncode == 2
    assert "saccade: The model does not fit: weights in float32 " in served.stderr


def test_colours_on_a_terminal_only_where_they_are_wanted() -> None:
    finding = {"check": "a", "level": "problem", "text": "b", "mend": None}
    code = f"from saccade.terminal import show_findings; show_findings([{finding}])"
    for variables, coloured in (
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({}, False),
    ):
        environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | variables
        done = subprocess.run([*outside.SACCADE[:1], "-c", code], capture_output=True, text=True, env=environment)
        assert ("\x1b[31mproblem \x1b[0m" in done.stdout) is coloured, variables


def test_the_short_form_is_quick() -> None:
    """Less than 100 ms of every start."""
    before_serving(Settings(), DEMO)
    begun = time.perf_counter()
    before_serving(Settings(), DEMO)
    assert time.perf_counter() - begun < 0.1
