"""A queue that is full refuses at once, says when to come back, and forgets nobody's place."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image

from saccade.backends.base import Echo
from saccade.errors import MediaError, QueueFullError
from saccade.server import admission
from saccade.server.admission import Admission, Limits
from saccade.server.load import PIXELS, Estimates, Load, size_of
from saccade.types import Delta, MediaPart, MediaRef, Message, Request, SamplingParams, TextPart, Usage

PATH = "/v1/chat/completions"


def body(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


def until(question: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not question():
        assert time.monotonic() < end
        time.sleep(0.01)


class Gate(Echo):
    """Nobody gets a first token before the gate is opened."""

    def __init__(self) -> None:
        super().__init__(context=10**6)
        self.opened = threading.Event()
        self.entered = 0
        self.inside = 0

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.entered += 1
        self.inside += 1
        try:
            while not self.opened.is_set():
                await asyncio.sleep(0.005)
            async for delta in super().generate(request):
                yield delta
        finally:
            self.inside -= 1


def queued(served: Any) -> tuple[float, float]:
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    names = ("saccade:num_requests_queued{", "saccade:num_tokens_queued{")
    requests, tokens = (float(line.split()[-1]) for name in names for line in lines if line.startswith(name))
    return requests, tokens


@pytest.mark.parametrize("stream", [False, True])
def test_one_too_many(serve: Callable[..., Any], stream: bool) -> None:
    gate = Gate()
    served = serve(gate, max_waiting=2)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(httpx.post, served.url + PATH, json=body(stream=stream)) for _ in range(2)]
        until(lambda: gate.entered == 2)
        began = time.monotonic()
        refused = httpx.post(served.url + PATH, json=body())
        assert time.monotonic() - began < 0.5
        assert refused.status_code == 429
        told = refused.json()["error"]
        assert (told["type"], told["code"], told["param"]) == ("overloaded_error", "queue_full", None)
        assert told["message"].startswith("2 requests are waiting already (--max-waiting).")
        assert refused.headers["retry-after"] == "1"
        assert "Try again in 1 s." in told["message"]
        large = httpx.post(served.url + PATH, content=b"a" * 20_000_000)
        assert large.status_code == 429, "not even its body is read"
        assert gate.entered == 2, "nothing was done for it"
        gate.opened.set()
        assert [one.result().status_code for one in waiting] == [200, 200]
    assert queued(served) == (0, 0)
    assert httpx.post(served.url + PATH, json=body()).status_code == 200


def test_too_many_tokens(serve: Callable[..., Any]) -> None:
    gate = Gate()
    served = serve(gate, max_queued_tokens=1000)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(httpx.post, served.url + PATH, json=body("a" * 2000))]
        until(lambda: gate.entered == 1)
        refused = httpx.post(served.url + PATH, json=body("a" * 2004))
        assert refused.status_code == 429
        told = refused.json()["error"]["message"]
        assert "What is waiting has as many tokens as it may: 1000 (--max-queued-tokens)" in told
        waiting.append(pool.submit(httpx.post, served.url + PATH, json=body("a" * 2000)))
        until(lambda: gate.entered == 2)
        assert queued(served) == (2, 1000)
        assert httpx.post(served.url + PATH, content=b"{").status_code == 429, "it is full to the brim"
        gate.opened.set()
        assert [one.result().status_code for one in waiting] == [200, 200]
    assert queued(served) == (0, 0)


def test_what_is_larger_than_the_queue_goes_alone(serve: Callable[..., Any]) -> None:
    served = serve(Echo(context=10**6), max_queued_tokens=10)
    assert httpx.post(served.url + PATH, json=body("a" * 2000)).status_code == 200


def test_streams_under_way_do_not_wait(serve: Callable[..., Any]) -> None:
    served = serve(Echo(delay=0.01), max_waiting=1)
    with ExitStack() as streams:
        for _ in range(3):
            stream = httpx.stream("POST", served.url + PATH, json=body("a" * 1000, stream=True))
            assert streams.enter_context(stream).status_code == 200
        assert queued(served)[0] == 0


def test_clients_that_leave_give_their_places_back(serve: Callable[..., Any]) -> None:
    gate = Gate()
    served = serve(gate, max_waiting=8)

    def leave(number: int) -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(served.url + PATH, json=body(stream=number % 2 == 0), timeout=0.3)

    for _ in range(3):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(leave, range(8)))
        until(lambda: gate.inside == 0 and queued(served) == (0, 0))
    assert gate.entered == 24
    gate.opened.set()
    assert httpx.post(served.url + PATH, json=body()).status_code == 200


def test_failures_give_their_places_back(serve: Callable[..., Any]) -> None:
    class Broken(Echo):
        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            if request.messages[0].parts[0].text == "picture":
                raise MediaError("No picture.")
            raise RuntimeError("A fault of ours.")
            yield Delta()

    served = serve(Broken(), max_waiting=1)
    for _ in range(3):
        assert httpx.post(served.url + PATH, json=body("picture")).status_code == 400
        assert httpx.post(served.url + PATH, json=body("fault")).status_code == 500
    assert queued(served) == (0, 0)


# --- estimates -------------------------------------------------------------------------------------------------------


def asked(text: str, images: int = 0, videos: int = 0, url: str = "data:,") -> Request:
    refs = [MediaRef("image", "i", url)] * images + [MediaRef("video", "v", "data:,")] * videos
    parts = (TextPart(text), *map(MediaPart, refs))
    return Request("r", "m", (Message("user", parts),), SamplingParams())


def test_tokens_are_estimated_from_recent_requests() -> None:
    guess = Estimates(lambda: 20_000)
    assert guess.load(asked("a" * 400)) == Load(100, 0, 0)
    assert guess.load(asked("你好")).tokens == 2
    assert guess.load(replace(asked("a" * 400), tools=({"name": "f" * 400},))).tokens > 200
    assert guess.load(asked("\ud800")).tokens == 1
    assert guess.load(asked("", 2, 1)) == Load(2 * 1024 + 4096, 2, 1, 2 * PIXELS["image"] + PIXELS["video"])
    assert guess.load(asked("", 100)).tokens == 20_000, "more cannot be"
    for _ in range(200):
        guess.learn(Load(0, 2, 1), Usage(0, 0, image_tokens=400, video_tokens=900))
    assert guess.load(asked("", 2, 1)).tokens == pytest.approx(400 + 900, abs=2)
    guess.learn(Load(0, 0, 0), Usage(10, 1))
    assert guess.load(asked("", 1)).tokens == pytest.approx(200, abs=2)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("lossless", [False, True])
def test_pixels_stand_at_the_beginning_of_a_file(form: str, lossless: bool) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "x" * 20_000
    more: dict[str, Any] = {"lossless": lossless} if form == "WEBP" else {"exif": exif} if form == "JPEG" else {}
    Image.new("RGB", (321, 123)).save(file, form, **more)
    data = file.getvalue()
    assert size_of(data) == (321, 123)
    url = f"data:image/x;base64,{base64.b64encode(data).decode()}"
    assert Estimates(lambda: 100).load(asked("", 3, url=url)).pixels == 3 * 321 * 123
    for end in range(0, len(data), max(1, len(data) // 200)):
        assert size_of(data[:end]) in (None, (321, 123))


@pytest.mark.parametrize("url", ["", "data:", "data:,", "data:;base64,", "data:;base64,!!!!", "http://a/b", "data:é,é"])
def test_pixels_of_what_tells_none(url: str) -> None:
    assert Estimates(lambda: 100).load(asked("", 1, url=url)).pixels == PIXELS["image"]


def test_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(admission, "monotonic", lambda: now)

    async def run() -> None:
        nonlocal now
        queue = Admission(Limits(max_waiting=10), lambda: 100)
        assert queue.retry_seconds() <= admission.MAX_RETRY_SECONDS
        tickets = [queue.enter() for _ in range(10)]
        for ticket in tickets:
            turn = asyncio.ensure_future(ticket.wait(Load(1, 0, 0)))
            await asyncio.sleep(0)
            assert turn.done() == (ticket in tickets[: admission.LEAST_AHEAD])
        now += 3
        assert queue.retry_seconds() == 3, "nobody's turn came yet"
        with pytest.raises(QueueFullError) as caught:
            queue.enter()
        assert (caught.value.retry_after, caught.value.status) == (3, 429)
        for ticket in tickets[:5]:
            ticket.begun()
        assert queue.retry_seconds() == 3, "five in three seconds, and five wait"
        for ticket in tickets:
            ticket.close()
        assert (queue.waiting, queue.tokens, queue.pixels, queue.bytes) == (0, 0, 0, 0)

    asyncio.run(run())
