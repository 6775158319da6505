"""What becomes of a server at several times its capacity: those let in keep their time to the first token, the others
are refused at once, and no work is lost over it.

    python benchmarks/overload.py [--seconds 60] [--times 5] [--json FILE]

Starts `saccade serve --model demo` twice on this machine. The first says how many answers a second are complete when
enough clients always wait (the peak), and the p95 of the time to the first token when requests come at random, as many
as that (normal). The second is started with --target-ttft at 1.5 times normal and gets `--times` the peak. Requests are
sent whether or not earlier ones were answered, by clients that do not come back. Ends with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

BODY = {
    "messages": [{"role": "user", "content": "Count the animals in the zoo, and name each of them."}],
    "model": "demo",
    "max_tokens": 32,
    "ignore_eos": True,
    "temperature": 0,
    "stream": True,
}
CROWD = 24
"""Clients that always wait, to find the peak."""


@dataclass(frozen=True)
class Outcome:
    """What one client saw, in seconds from its first byte."""

    began: float
    """perf_counter."""
    status: int
    first: float
    """To the first token, or to the status of a refusal."""
    done: float
    retry_after: bool


@contextlib.contextmanager
def server(*words: str) -> Iterator[int]:
    """`saccade serve` with the demo model; its port."""
    command = [sys.executable, "-m", "saccade", "serve", "--model", "demo", "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = next(line for line in process.stdout if line.startswith("  http"))
            yield int(line.strip().removesuffix("/v1").rsplit(":", 1)[1])
        finally:
            process.terminate()


async def ask(port: int, number: int) -> Outcome:
    """One request on a connection of its own."""
    messages = [{"role": "user", "content": f"{number}. {BODY['messages'][0]['content']}"}]  # type: ignore[index]
    body = json.dumps({**BODY, "messages": messages}).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        status = int(answer.split(None, 2)[1])
        retry = b"retry-after" in answer.lower()
        if status == 200:
            await reader.readuntil(b'"content"')
        first = time.perf_counter() - began
        rest = await reader.read()
        if status == 200 and b"[DONE]" not in rest:
            status = 599
        return Outcome(began, status, first, time.perf_counter() - began, retry)
    finally:
        writer.close()


async def peak(port: int, seconds: float) -> float:
    """Answers a second when CROWD clients ask again and again."""
    end = time.perf_counter() + seconds
    num = 0

    async def client(first: int) -> None:
        nonlocal num
        number = first * 10_000
        while time.perf_counter() < end:
            number += 1
            if (await ask(port, number)).status == 200 and time.perf_counter() < end:
                num += 1

    await asyncio.gather(*map(client, range(CROWD)))
    return num / seconds


async def flood(port: int, rate: float, seconds: float, start: int) -> list[Outcome]:
    """Requests at random times, `rate` a second on average, for so many seconds."""
    random.seed(start)
    begin, at, tasks = time.perf_counter(), 0.0, []
    while (at := at + random.expovariate(rate)) < seconds:
        if (wait := begin + at - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(ask(port, start + len(tasks))))
    return await asyncio.gather(*tasks)


def p95(values: list[float]) -> float:
    """Of at least two values."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def firsts(outcomes: list[Outcome]) -> list[float]:
    """Of those that were let in."""
    return [outcome.first for outcome in outcomes if outcome.status == 200]


def main() -> None:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    short = min(20.0, given.seconds)
    with server() as port:
        asyncio.run(peak(port, 2))  # warm
        top = asyncio.run(peak(port, short))
        normal = p95(firsts(asyncio.run(flood(port, top, short, 10**6))))
    target = 1.5 * normal
    with server("--target-ttft", f"{target:.3f}") as port:
        asyncio.run(peak(port, 2))
        outcomes = asyncio.run(flood(port, given.times * top, given.seconds, 2 * 10**6))
        time.sleep(5)
        after = p95(firsts(asyncio.run(flood(port, top / 2, 5, 3 * 10**6))))
    let_in = firsts(outcomes)
    rate = len(let_in) / (max(one.began + one.done for one in outcomes) - min(one.began for one in outcomes))
    refused = [outcome for outcome in outcomes if outcome.status in (429, 503)]
    figures = {
        "peak, answers/s": round(top, 2),
        "normal: p95 to the first token at the peak's rate, s": round(normal, 3),
        "target, s": round(target, 3),
        "asked": len(outcomes),
        "let in": len(let_in),
        "refused": len(refused),
        "neither": len(outcomes) - len(let_in) - len(refused),
        "p95 of those let in, s": round(p95(let_in), 3),
        "... in normals (promise: 2)": round(p95(let_in) / normal, 2),
        "answers/s, until the last is complete": round(rate, 2),
        "... of the peak (promise: 0.9)": round(rate / top, 3),
        "refusals: p95, s": round(p95([one.first for one in refused]), 4) if len(refused) > 1 else 0.0,
        "refusals: slowest, s (promise: 0.1)": round(max((one.first for one in refused), default=0.0), 4),
        "refusals without retry-after": sum(not one.retry_after for one in refused),
        "p95 five seconds later at half the peak, s": round(after, 3),
    }
    for name, value in figures.items():
        print(f"{name:55} {value}")
    if given.json:
        given.json.write_text(json.dumps({"figures": figures, "outcomes": [asdict(one) for one in outcomes]}))
    kept = (
        figures["neither"] == 0
        and p95(let_in) <= 2 * normal
        and rate >= 0.9 * top
        and figures["refusals: p95, s"] <= 0.1
    )
    sys.exit(not kept)


if __name__ == "__main__":
    main()
