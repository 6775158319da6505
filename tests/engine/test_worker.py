"""The engine's thread: serves, sleeps, closes, and tells when it broke."""

from __future__ import annotations

import asyncio
import threading
from queue import Queue
from typing import Any

import numpy as np
import pytest

from saccade.engine.core import Engine
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.engine.spec import EngineFacts
from saccade.engine.worker import Worker
from saccade.model.qwen3vl import Qwen3VL
from saccade.types import Prompt, SamplingParams, TokenOut


def request(id: str, length: int = 5, max_tokens: int = 8) -> EngineRequest:
    positions = np.broadcast_to(np.arange(length), (3, length))
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
    return EngineRequest(id, Prompt(tuple(range(length)), (), positions, 0), (), params)


class Stage:
    """A worker whose words are kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop, model: Qwen3VL, max_context: int = 512) -> None:
        self.outs: Queue[TokenOut] = Queue()
        self.causes: list[BaseException | None] = []
        self.engine = Engine(model, stop_ids=[], options=EngineOptions(max_context=max_context))
        self.loop = loop
        self.worker = Worker(self.engine, EngineFacts("here", "cpu", "float32", 0, max_context))
        self.worker.start(loop, emit=self._emit, ended=self.causes.append)

    def _emit(self, outs: list[TokenOut]) -> None:
        assert threading.current_thread().name == "loop"
        for out in outs:
            self.outs.put(out)

    def close(self) -> None:
        """Close the worker, and wait for what it has told the loop."""
        self.worker.close()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(20)

    def until_end_of(self, id: str) -> list[TokenOut]:
        seen = []
        while not seen or (seen[-1].request_id, seen[-1].finish_reason is None) != (id, False):
            seen.append(self.outs.get(timeout=20))
        return [out for out in seen if out.request_id == id]


def test_serves_then_sleeps_then_serves(loop: asyncio.AbstractEventLoop, model: Qwen3VL) -> None:
    stage = Stage(loop, model)
    for id in ("a", "b"):
        stage.worker.submit(request(id))
        assert [out.finish_reason for out in stage.until_end_of(id)] == [None] * 7 + ["length"]
    stage.close()
    assert stage.causes == [None]


def test_abort_reaches_a_running_request(loop: asyncio.AbstractEventLoop, model: Qwen3VL) -> None:
    stage = Stage(loop, model)
    stage.worker.submit(request("long", max_tokens=500))
    stage.outs.get(timeout=20)
    stage.worker.abort("long")
    stage.worker.abort("unknown")
    last = stage.until_end_of("long")[-1]
    assert last.finish_reason == "abort"
    stage.close()


def test_what_the_engine_refuses_ends_with_an_error(loop: asyncio.AbstractEventLoop, model: Qwen3VL) -> None:
    stage = Stage(loop, model, max_context=10)
    stage.worker.submit(request("long", length=11))
    stage.worker.submit(request("short", length=5, max_tokens=2))
    (refused,) = stage.until_end_of("long")
    assert refused.finish_reason == "error"
    assert "11" in (refused.error or "")
    assert stage.until_end_of("short")[-1].finish_reason == "length"
    stage.close()


def test_close_does_not_wait_for_the_answers(loop: asyncio.AbstractEventLoop, model: Qwen3VL) -> None:
    stage = Stage(loop, model)
    stage.worker.submit(request("long", max_tokens=500))
    stage.outs.get(timeout=20)
    stage.close()
    stage.close()
    assert not stage.worker.alive
    assert stage.causes == [None]
    assert stage.engine.has_work


def test_a_break_is_told_with_its_cause(
    loop: asyncio.AbstractEventLoop, model: Qwen3VL, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(loop, model)

    def broken() -> Any:
        raise MemoryError("planted")

    monkeypatch.setattr(stage.engine, "step", broken)
    stage.worker.submit(request("a"))
    assert stage.worker._thread
    stage.worker._thread.join(timeout=20)
    stage.close()
    assert not stage.worker.alive
    assert [type(cause) for cause in stage.causes] == [MemoryError]
