"""Turns, rates and targets: as values, and through the gate."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import httpx
import pytest

from saccade.backends.base import Echo
from saccade.errors import BusyError, RateLimitError
from saccade.server.admission import Admission, Limits
from saccade.server.fair import FairQueue
from saccade.server.guard import Access
from saccade.server.keys import Key, KeyLimits, Keys
from saccade.server.load import Load
from saccade.server.rates import Bucket, KeyRates

CHAT = "/v1/chat/completions"


def key(name: str, **limits: int) -> Key:
    return Key(name, sha256(name.encode()).digest(), KeyLimits(**limits))


def body(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


# --- turns -----------------------------------------------------------------------------------------------------------


def test_a_thousand_of_one_key_do_not_keep_another_waiting() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(1000):
        queue.push("greedy", 100, f"greedy-{number}")
    served = [queue.pop() for _ in range(10)]
    for number in range(5):
        queue.push("modest", 100, f"modest-{number}")
    assert queue.ahead("modest") == 5 + 6
    served = [queue.pop() for _ in range(12)]
    assert sum(name.startswith("modest") for name in served) == 5, served
    assert [name for name in served if name.startswith("modest")] == [f"modest-{i}" for i in range(5)]


def test_shares_are_of_tokens() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(300):
        queue.push("long", 1000, "long")
        queue.push("short", 100, "short")
    share = Counter(queue.pop() for _ in range(220))
    assert 9 <= share["short"] / share["long"] <= 11


def test_whoever_leaves_is_forgotten() -> None:
    rng = random.Random(1)
    queue: FairQueue[int] = FairQueue()
    waiting: dict[int, str] = {}
    for step in range(20_000):
        name = rng.choice("abc")
        match rng.randrange(3):
            case 0:
                waiting[queue.push(name, rng.randint(1, 500), step)] = name
            case 1 if waiting:
                number = rng.choice(list(waiting))
                queue.drop(number, waiting.pop(number))
            case 2 if waiting:
                gone = set(waiting)
                queue_len = len(queue)
                queue.pop()
                assert len(queue) == queue_len - 1
                # Which one it was is told by what is left of its key's line.
                left = {number for _, number, _, _ in queue._heap} - queue._gone
                (taken,) = gone - left
                assert taken == min(number for number in gone if waiting[number] == waiting[taken]), "in order of a key"
                del waiting[taken]
        assert len(queue) == len(waiting)
    assert sum(queue._waiting.values()) == len(waiting)


class Slots:
    """A backend that makes four first tokens at a time, each in `seconds`, behind an Admission."""

    def __init__(self, admission: Admission, seconds: float) -> None:
        self._admission = admission
        self._slots = asyncio.Semaphore(4)
        self._seconds = seconds
        self.order: list[str] = []
        """Whose first tokens they were."""
        self.waits: list[float] = []
        self.refused = 0

    async def ask(self, who: Key) -> None:
        began = time.perf_counter()
        try:
            ticket = self._admission.enter(who)
        except BusyError:
            self.refused += 1
            return
        try:
            await ticket.wait(Load(10, 0, 0))
            async with self._slots:
                await asyncio.sleep(self._seconds)
            ticket.begun()
            self.order.append(who.name)
            self.waits.append(time.perf_counter() - began)
        finally:
            ticket.close()


def test_keys_take_turns() -> None:
    async def run() -> list[str]:
        slots = Slots(Admission(Limits(), lambda: 100, lambda: True), 0.005)
        greedy = [asyncio.create_task(slots.ask(key("greedy"))) for _ in range(300)]
        while len(slots.order) < 20:
            await asyncio.sleep(0.001)
        before = len(slots.order)
        await asyncio.gather(*(slots.ask(key("modest")) for _ in range(10)))
        after = slots.order[before:]
        await asyncio.gather(*greedy)
        assert len(slots.order) == 310
        return after

    # Those that were with the backend already, and one of the other key for each of its own.
    assert len(asyncio.run(run())) <= 64 + 2 * 10 + 4


def test_one_key_cannot_have_all_the_room() -> None:
    async def run() -> None:
        queue = Admission(Limits(max_waiting=10), lambda: 100, lambda: True)
        for _ in range(5):
            queue.enter(key("greedy"))
        with pytest.raises(BusyError, match="5 requests of this key are waiting"):
            queue.enter(key("greedy"))
        queue.enter(key("modest"))

    asyncio.run(run())


# --- rates -----------------------------------------------------------------------------------------------------------


def test_a_bucket_fills_evenly() -> None:
    bucket = Bucket(60, 100.0)
    assert bucket.missing(60, 100.0) == 0
    bucket.take(60)
    assert bucket.missing(1, 100.0) == pytest.approx(1)
    assert bucket.missing(1, 101.0) == pytest.approx(0)
    bucket.take(31)
    assert bucket.missing(1, 101.0) == pytest.approx(31), "what is owed is waited for"
    assert bucket.missing(1000, 1000.0) == 0, "more than a minute's worth waits for a full one"
    bucket.take(-500)
    assert bucket.missing(60, 1000.0) == 0
    assert bucket.level == 60


def test_limits_of_a_key() -> None:
    rates = KeyRates(KeyLimits(requests_per_minute=2, tokens_per_minute=100, concurrent=1), 0.0)
    rates.enter(0.0)
    with pytest.raises(RateLimitError, match="concurrent is 1"):
        rates.enter(0.0)
    rates.ask(10, 0.0)
    rates.correct(110)
    rates.leave()
    with pytest.raises(RateLimitError, match="tokens_per_minute is 100") as caught:
        rates.enter(0.0)
    assert caught.value.retry_after == 13  # 20 are owed, one is needed: 21 of 100 a minute
    rates.enter(13.0)
    rates.leave()
    with pytest.raises(RateLimitError, match="requests_per_minute is 2"):
        rates.enter(13.1)
    assert rates.headers(13.1)["x-ratelimit-remaining-requests"] == "0"


def test_a_key_over_its_limit_is_told_and_others_are_not(serve: Callable[..., Any]) -> None:
    served = serve(Echo(), access=Access(Keys([key("a", requests_per_minute=2), key("b")])))

    def ask(name: str, **more: Any) -> httpx.Response:
        return httpx.post(served.url + CHAT, json=body(**more), headers={"x-api-key": name})

    assert ask("a").headers["x-ratelimit-remaining-requests"] == "1"
    assert ask("a", stream=True).headers["x-ratelimit-limit-requests"] == "2"
    refused = ask("a")
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 25 <= int(refused.headers["retry-after"]) <= 30
    assert ask("b").status_code == 200
    assert "x-ratelimit-limit-requests" not in ask("b").headers


def test_tokens_of_a_stream_that_was_cut_count_too(serve: Callable[..., Any]) -> None:
    served = serve(Echo(delay=0.002), access=Access(Keys([key("a", tokens_per_minute=400)])))
    headers = {"x-api-key": "a"}
    asked = body("a" * 300, stream=True)
    with httpx.stream("POST", served.url + CHAT, json=asked, headers=headers) as response:
        for number, _ in enumerate(response.iter_lines()):
            if number > 300:
                break
    left = 400
    for _ in range(100):
        left = int(
            httpx.post(served.url + CHAT, json=body("a"), headers=headers).headers["x-ratelimit-remaining-tokens"]
        )
        if left < 300:
            break
        time.sleep(0.02)
    assert left < 300


# --- targets and deadlines -------------------------------------------------------------------------------------------


def test_a_target_for_the_first_token_is_kept() -> None:
    """At five times the capacity, four at a time and 20 ms each: 200 a second."""
    seconds, target = 3.0, 0.2

    async def run() -> Slots:
        slots = Slots(Admission(Limits(target_ttft=target), lambda: 100), 0.02)
        end, tasks = time.perf_counter() + seconds, []
        while time.perf_counter() < end:
            tasks += [asyncio.create_task(slots.ask(key("a"))) for _ in range(10)]
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)
        return slots

    slots = asyncio.run(run())
    num = len(slots.waits)
    assert slots.refused > num
    assert sum(wait > 1.5 * target for wait in slots.waits) < 0.1 * num
    assert num > 0.5 * 200 * seconds, "refusing all is no art; the machine may be busy"
    assert len([wait for wait in slots.waits if wait > 0.05]) > 0.3 * num, "there is room for a queue"


def test_what_cannot_be_there_in_time_is_refused(serve: Callable[..., Any]) -> None:
    served = serve(Echo(delay=0.05))

    def ask(seconds: str, text: str = "hello", **more: Any) -> httpx.Response:
        return httpx.post(served.url + CHAT, json=body(text, **more), headers={"x-request-timeout": seconds})

    assert ask("5").status_code == 200
    for text in ("hello", "a" * 100):
        late = ask("0.04" if text == "hello" else "0.3", text)
        assert late.status_code == 504
        assert late.json()["error"]["code"] == "deadline_exceeded"
        assert late.headers["retry-after"] == "1"
    stream = ask("0.3", "a" * 100, stream=True)
    assert stream.status_code == 200
    assert "deadline_exceeded" in stream.text
    assert "[DONE]" not in stream.text
    for wrong in ("0", "-1", "soon", "nan", "inf", "1e9", ""):
        refused = ask(wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "x-request-timeout")
    assert served.backend.running == 0


def test_nobody_waits_longer_than_the_server_lets_them(serve: Callable[..., Any]) -> None:
    served = serve(Echo(delay=1.0), queue_timeout=0.2)
    began = time.monotonic()
    refused = httpx.post(served.url + CHAT, json=body())
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "queue_timeout"
    assert time.monotonic() - began < 1
    assert served.backend.running == 0


@pytest.mark.parametrize("limit", ["pixels", "bytes"])
def test_pixels_and_bytes_are_bounded(limit: str) -> None:
    async def run() -> None:
        queue = Admission(Limits(max_queued_pixels=1000, max_queued_bytes=1000), lambda: 100)

        async def ask(size: int) -> None:
            ticket = queue.enter()
            try:
                if limit == "bytes":
                    ticket.read(size)
                else:
                    await ticket.wait(Load(0, 1, 0, size))
            except BusyError:
                ticket.close()
                raise

        await ask(5000)  # alone, it may
        with pytest.raises(BusyError, match=f"as many {limit} as it may: 1000"):
            await ask(1)
        assert queue.waiting == 1

    asyncio.run(run())
