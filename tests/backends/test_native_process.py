"""The corridor with the engine in a process of its own, and all of it as a server: what is killed is mended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_native import ids, noise, play, request, told

import outside
from saccade.backends.native import Native
from saccade.engine.supervisor import EngineProcess
from saccade.errors import CheckpointError, EngineError
from saccade.media.limits import MediaLimits
from saccade.types import Delta

Load = Callable[..., Native]


def pid(backend: Native) -> int:
    child = backend._host._serving  # type: ignore[attr-defined]
    return int(child.process.pid)


def plain(deltas: list[Delta]) -> list[Delta]:
    return [replace(delta, times=None) for delta in deltas]


def test_the_answers_are_those_of_an_engine_here(load: Load) -> None:
    asked = [
        request(noise(64, 96), noise(32, 320), temperature=0.0, logprobs=2),
        request(temperature=0.0, max_tokens=40),
        request(noise(200, 300), temperature=1.0, seed=3),
    ]
    answers: list[list[list[tuple[Delta, list[float]]]]] = []

    async def scene(backend: Native) -> None:
        answers.append(
            [[apart(d) for d in plain(await told(backend.generate(a)))] for a in asked]
        )  # alone: sums differ in company
        await abandon(backend)

    here, there = load(), load(process=EngineProcess())
    assert here.card() == there.card()
    play(here, scene)
    play(there, scene)
    assert [[word for word, _ in answer] for answer in answers[0]] == [[word for word, _ in a] for a in answers[1]]
    thought = [[value for answer in one for _, values in answer for value in values] for one in answers]
    assert thought[0] == pytest.approx(thought[1], abs=1e-5)  # numbers of threads differ, and so do sums


def apart(delta: Delta) -> tuple[Delta, list[float]]:
    """What must be equal, and what the model thought of it."""
    values = [value for entry in delta.logprobs for value in (entry.logprob, *(other for *_, other in entry.top))]
    return replace(delta, logprobs=()), values


async def abandon(backend: Native) -> None:
    """An answer that nobody reads any more leaves the engine."""
    deltas = backend.generate(request(noise(), max_tokens=5000))
    await anext(deltas)
    await deltas.aclose()
    for _ in range(200):
        await asyncio.sleep(0.01)
        stats = backend.stats()
        if stats and (stats.running, stats.kv_blocks_used) == (0, 0):
            break
    else:
        pytest.fail(f"it goes on: {stats}")
    assert not backend._answers


def test_a_kill_ends_streams_and_the_others_wait(load: Load) -> None:
    async def scene(backend: Native) -> None:
        expected = await ids(backend, request(noise(), temperature=0.0))
        streams = [backend.generate(request(noise(), max_tokens=5000)) for _ in range(2)]
        for stream in streams:
            await anext(stream)
        assert len(backend._answers._generations) == 1, "they are one to the engine"
        os.kill(pid(backend), signal.SIGKILL)
        began = time.monotonic()
        for stream in streams:
            with pytest.raises(EngineError, match="broke down"):
                await told(stream)
        assert time.monotonic() - began < 3
        assert not backend.ready
        assert backend.alive()
        waiting = [ids(backend, request(noise(), temperature=0.0)) for _ in range(2)]
        assert await asyncio.gather(*waiting) == [expected, expected]
        assert backend.ready

    play(load(process=EngineProcess()), scene)


def test_an_incomplete_checkpoint(small_checkpoint: Path, tmp_path: Path) -> None:
    for file in small_checkpoint.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).symlink_to(file)
    errors = []
    for process in (None, EngineProcess()):
        with pytest.raises(CheckpointError) as caught:
            Native.load(tmp_path, name="small", limits=MediaLimits(), process=process)
        errors.append(vars(caught.value))
    assert errors[0] == errors[1]


# --- over HTTP -------------------------------------------------------------------------------------------------------


def engine_of(gateway: int) -> int:
    """The child of a server that has the model; others decode pictures."""
    children = {word for path in Path(f"/proc/{gateway}/task").glob("*/children") for word in path.read_text().split()}
    (child,) = [word for word in children if b"saccade.engine.process" in Path(f"/proc/{word}/cmdline").read_bytes()]
    return int(child)


class Stream(threading.Thread):
    """A streamed answer, read as it comes."""

    def __init__(self, server: outside.Server, **more: Any) -> None:
        super().__init__()
        self.url = f"{server.url}/v1/chat/completions"
        content = [outside.image(noise()), {"type": "text", "text": "What is it?"}]
        body = {"model": "here", "messages": [{"role": "user", "content": content}], "temperature": 0, "stream": True}
        self.body = body | {"ignore_eos": True} | more
        self.begun = threading.Event()
        self.events: list[str] = []
        self.ended = 0.0
        self.start()

    def run(self) -> None:
        with httpx.stream("POST", self.url, json=self.body, timeout=60, trust_env=False) as answer:
            for line in answer.iter_lines():
                if line:
                    self.events.append(line.removeprefix("data: "))
                    self.begun.set()
        self.ended = time.monotonic()


@pytest.fixture
def server(small_checkpoint: Path) -> Iterator[outside.Server]:
    with outside.serving("--model", small_checkpoint) as server:
        yield server


def test_a_server_outlives_its_engine(server: outside.Server) -> None:
    expected = server.chat(outside.image(noise()), "What is it?").json()["choices"]
    streams = [Stream(server, max_tokens=6000) for _ in range(3)]
    assert all(stream.begun.wait(20) for stream in streams)
    killed = engine_of(server.process.pid)
    os.kill(killed, signal.SIGKILL)
    at = time.monotonic()
    for stream in streams:
        stream.join(20)
        assert stream.ended - at < 3
        assert json.loads(stream.events[-1])["error"]["type"] == "server_error"
    assert server.get("/health/live").status_code == 200
    assert server.get("/health/ready").status_code == 503
    assert server.chat(outside.image(noise()), "What is it?").json()["choices"] == expected
    assert server.get("/health/ready").status_code == 200
    assert engine_of(server.process.pid) != killed
    assert any("killed by SIGKILL" in line for line in server.heard)
    assert 'saccade:engine_restarts_total{model_name="here"} 1.0' in server.get("/metrics").text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_lets_answers_end(server: outside.Server, number: signal.Signals) -> None:
    stream = Stream(server, max_tokens=300)
    assert stream.begun.wait(20)
    engine = engine_of(server.process.pid)
    for process in (engine, server.process.pid):
        os.kill(process, number)
    assert server.process.wait(20) in (0, 130)
    stream.join(20)
    assert stream.events[-1] == "[DONE]"
    assert json.loads(stream.events[-2])["choices"][0]["finish_reason"] == "length"
    assert not Path(f"/proc/{engine}").exists()
