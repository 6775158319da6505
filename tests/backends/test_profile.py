"""A trace of the next steps: asked of a running server, and of an engine in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_native import play, request, told

import outside
from saccade.backends import profile
from saccade.backends.native import Native
from saccade.errors import BusyError, EngineError


def steps_of(file: Path) -> int:
    """Passes through the model that a trace shows."""
    events = json.loads(file.read_text())["traceEvents"]
    return sum(event.get("name") == "aten::embedding" for event in events)


def test_a_running_server_is_asked(small_checkpoint: Path, tmp_path: Path) -> None:
    with outside.serving("--model", small_checkpoint, "--profile-dir", tmp_path) as server:
        assert server._client.post("/admin/profile", json={"steps": 0}).status_code == 400
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                server.chat("hello", max_tokens=50, ignore_eos=True)

        asking = threading.Thread(target=ask)
        asking.start()
        done = outside.run("profile", "--url", server.url, "--steps", "5")
        over.set()
        asking.join()
        assert server.chat("hello").status_code == 200
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    assert done.stdout.strip() == file.name
    assert 3 <= steps_of(file) <= 5, "a step may only tell of an abort"


def test_it_is_off_unless_wanted(small_checkpoint: Path) -> None:
    with outside.serving("--model", small_checkpoint) as server:
        assert server._client.post("/admin/profile", json={"steps": 5}).status_code == 404
        done = outside.run("profile", "--url", server.url)
    assert done.returncode == 1
    assert "--profile-dir" in done.stderr


def test_an_engine_here(load: Callable[..., Native], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(backend: Native) -> None:
        one, two = tmp_path / "one.json", tmp_path / "two.json"
        work: Any = asyncio.create_task(backend.profile(3, one))
        await asyncio.sleep(0.05)
        with pytest.raises(EngineError, match="already"):
            await backend.profile(3, two)
        await told(backend.generate(request(max_tokens=10)))
        await work
        assert 2 <= steps_of(one) <= 3, "the first may only tell of an abort"
        await asyncio.sleep(0.3)  # the step that forgets the request
        monkeypatch.setattr(profile, "PATIENCE", 0.1)
        with pytest.raises(BusyError, match="No step"):
            await backend.profile(3, two)
        work = asyncio.create_task(backend.profile(3, tmp_path / "nowhere" / "three.json"))
        await told(backend.generate(request(max_tokens=10)))
        with pytest.raises(EngineError, match="could not be written"):
            await work
        assert len(await told(backend.generate(request(max_tokens=4)))) >= 1

    play(load(), scene)
    assert [file.name for file in tmp_path.iterdir()] == ["one.json"]
