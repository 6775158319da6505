"""A backend that is still being loaded: it refuses, then it answers, and a failure reaches who waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from saccade.backends.base import Backend, Echo
from saccade.backends.loading import RETRY_SECONDS, Loading
from saccade.errors import BusyError, CheckpointError, EngineError
from saccade.types import Message, Request, SamplingParams, TextPart

ASKED = Request("r", "echo", (Message("user", (TextPart("hello"),)),), SamplingParams())


class Scene:
    """A load that ends when it is told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.go = threading.Event()
        self.error = error
        self.given_up = 0
        self.loading = Loading("echo", self.load, stage=lambda: ("weights", 0.25), give_up=self.give_up)

    def load(self) -> Backend:
        self.go.wait(10)
        if self.error:
            raise self.error
        return Echo()

    def give_up(self) -> None:
        self.given_up += 1
        self.go.set()


def play(scene: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 20))  # type: ignore[arg-type]


def test_it_refuses_until_it_can_answer() -> None:
    async def run() -> None:
        scene = Scene()
        loading = scene.loading
        await loading.start()
        assert (loading.ready, loading.alive(), loading.stats()) == (False, True, None)
        assert (loading.card().id, loading.card().context) == ("echo", 0)
        told = loading.progress()
        assert told
        assert (told.stage, told.fraction) == ("weights", 0.25)
        for ask in (lambda: anext(loading.generate(ASKED)), lambda: loading.tokenize(ASKED)):
            with pytest.raises(BusyError, match="being loaded") as refused:
                await ask()
            assert (refused.value.code, refused.value.retry_after) == ("loading", RETRY_SECONDS)
        scene.go.set()
        backend = await loading.loaded()
        assert loading.ready
        assert loading.progress() is None
        assert loading.card() == backend.card()
        assert "".join([delta.text async for delta in loading.generate(ASKED)]) == "hello"
        assert await loading.tokenize("a") == (97,)
        await loading.close()
        assert not loading.alive()
        assert not backend.alive()
        assert scene.given_up == 0

    play(run)


def test_a_failure_reaches_who_waits() -> None:
    async def run() -> None:
        scene = Scene(CheckpointError("It is broken."))
        await scene.loading.start()
        scene.go.set()
        with pytest.raises(CheckpointError, match="It is broken"):
            await scene.loading.loaded()
        assert not scene.loading.alive()
        assert scene.loading.progress() is None
        with pytest.raises(EngineError, match="could not be loaded"):
            scene.loading.generate(ASKED)
        await scene.loading.close()

    play(run)


def test_closing_gives_up_what_is_being_loaded() -> None:
    async def run() -> None:
        scene = Scene(EngineError("The engine was closed."))
        await scene.loading.start()
        await asyncio.sleep(0.01)
        await scene.loading.close()
        assert scene.given_up == 1
        assert not scene.loading.alive()

    play(run)
