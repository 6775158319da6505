"""docs/hardware.md shows what its commands print."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from saccade import cli, hub

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "hardware.md").read_text()
SHOWN = re.findall(r"```sh\n(saccade estimate [^\n]+)\n```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
CONFIGS = {
    "Qwen/Qwen3-VL-2B-Instruct": "2b",
    "Qwen/Qwen3-VL-4B-Instruct": "4b-instruct",
    "Qwen/Qwen3-VL-8B-Instruct": "8b",
    "Qwen/Qwen3-VL-30B-A3B-Instruct": "30b-a3b",
    "Qwen/Qwen3-VL-32B-Instruct": "32b",
}


def test_every_machine_has_commands() -> None:
    assert len(SHOWN) >= PAGE.count("\n## ") >= 4
    assert len(SHOWN) == PAGE.count("```sh\nsaccade serve ")


@pytest.mark.parametrize(("command", "said"), SHOWN, ids=[command for command, _ in SHOWN])
def test_the_page_is_current(command: str, said: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(model: str, **_: Any) -> Any:
        return json.loads((shared / "qwen3-vl" / CONFIGS[model] / "config.json").read_text())

    monkeypatch.setattr(hub, "resolve_config", config)
    result = CliRunner().invoke(cli.app, shlex.split(command)[1:])
    assert result.exit_code == 0
    assert [line.rstrip() for line in result.stdout.splitlines()] == said.splitlines()
