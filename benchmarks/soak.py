"""Mixed traffic for a long time, and what it leaves behind: `make soak`, or `python benchmarks/soak.py --minutes 3`.

Starts a server with the demo model and small caches, fills these and starts every thread, and sends text, pictures
never seen before, pictures that were, videos and requests that are wrong; a tenth of all are abandoned. The first third
is not measured yet. In the rest, memory of gateway and engine together may grow by 2 %, the numbers of open files and
threads not at all. Ends with status 1 when one does, or when an answer was not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
from PIL import Image

CLIENTS = 6
WARM_SHARE = 1 / 3
GROWTH = 0.02
CACHES = (
    "--picture-cache-memory", "8MiB", "--feature-cache-memory", "8MiB", "--kv-cache-memory", "32MiB",
    "--max-context", "2048", "--max-running", "8", "--media-store-memory", "8MiB",
)  # fmt: skip
"""So small that they are full when the measuring begins: a cache that fills is no leak."""
OWN = ("Pss_Anon:", "Pss_Shmem:")
"""Lines of smaps_rollup: what a process has taken, and shared memory."""
BURST = 24
"""Requests at once; more than any pool has threads."""
WRONG: tuple[tuple[int, bytes], ...] = (
    (400, b"{"),
    (400, b'{"model": "demo"}'),
    (404, b'{"model": "other", "messages": [{"role": "user", "content": "a"}]}'),
    (400, b'{"model": "demo", "messages": [{"role": "user", "content": "a"}], "temperature": 9}'),
    (
        400,
        b'{"model": "demo", "messages": [{"role": "user", "content": '
        b'[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}',
    ),
)
"""(status, body)."""


def picture(seed: int) -> dict[str, Any]:
    """A part of a message."""
    generator = np.random.default_rng(seed)
    side = [int(generator.integers(3, 9)) * 32 for _ in range(2)]
    file = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (*side, 3), dtype=np.uint8)).save(file, "JPEG")
    url = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def video(seed: int) -> dict[str, Any]:
    """A part of a message: one second."""
    generator = np.random.default_rng(seed)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(8):
            pixels = np.full((64, 96, 3), generator.integers(0, 256, 3), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        output.mux(stream.encode())
    url = f"data:video/mp4;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"type": "video_url", "video_url": {"url": url}}


@dataclass
class Sample:
    """What the server's processes hold."""

    at: float
    memory: tuple[int, ...]
    """Bytes of each, the gateway's first, without pages of files: those are the system's, and other programs that begin
    or end change our part of them. What two processes share counts half for each."""
    files: int
    threads: int


def family(pid: int) -> list[int]:
    """A process and all it has started."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += family(int(child))
    return found


def look(pid: int, began: float) -> Sample:
    """At the server and its children."""
    files = threads = 0
    memory = []
    for one in family(pid):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            memory.append(sum(int(line.split()[1]) for line in rollup if line.startswith(OWN)) * 1024)
            files += len(list(Path(f"/proc/{one}/fd").iterdir()))
            threads += len(list(Path(f"/proc/{one}/task").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return Sample(time.monotonic() - began, tuple(memory), files, threads)


@dataclass
class Traffic:
    """What is sent, and what came of it."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    number: int = 0

    def body(self, luck: random.Random) -> tuple[str, dict[str, Any]]:
        """A kind and a request of it."""
        self.number += 1
        kind = luck.choices(("text", "new picture", "known picture", "video"), (60, 24, 6, 5))[0]
        part = {
            "text": lambda: {"type": "text", "text": "Tell me more about it."},
            "new picture": lambda: picture(self.number),
            "known picture": lambda: picture(-luck.randrange(4) % 2**31),
            "video": lambda: video(self.number),
        }[kind]()
        content = [part, {"type": "text", "text": f"What is this? {self.number}"}]
        body = {"model": "demo", "messages": [{"role": "user", "content": content}], "ignore_eos": True}
        return kind, body | {"max_tokens": luck.randint(1, 40), "stream": luck.random() < 0.5}

    async def one(self, client: httpx.AsyncClient, luck: random.Random) -> None:
        """One request."""
        if luck.random() < 0.05:
            status, data = luck.choice(WRONG)
            answer = await client.post("/v1/chat/completions", content=data)
            self.note("wrong", answer.status_code == status, answer)
            return
        kind, body = self.body(luck)
        if luck.random() < 0.1:
            try:
                async with asyncio.timeout(luck.uniform(0, 0.5)):
                    await client.post("/v1/chat/completions", json=body)
            except TimeoutError:
                self.counts["abandoned"] += 1
            return
        answer = await client.post("/v1/chat/completions", json=body)
        whole = answer.text.endswith("data: [DONE]\n\n") if body["stream"] else "choices" in answer.json()
        self.note(kind, answer.status_code == 200 and whole, answer)

    def note(self, kind: str, is_right: bool, answer: httpx.Response) -> None:
        self.counts[kind] += 1
        if not is_right:
            self.wrong.append(f"{kind}: {answer.status_code} {answer.text[-200:]}")

    async def run(self, client: httpx.AsyncClient, until: float, number: int) -> None:
        """One client."""
        luck = random.Random(self.seed * 1000 + number)
        while time.monotonic() < until:
            await self.one(client, luck)


async def fill(client: httpx.AsyncClient) -> None:
    """What only much traffic would reach: every thread of every pool is started, and every page of the keys and values
    has been written to. Pools start a thread when work comes and none is idle, and memory counts when it is touched."""

    async def ask(*parts: dict[str, Any], **fields: Any) -> None:
        body = {"model": "demo", "messages": [{"role": "user", "content": list(parts)}], "max_tokens": 1, **fields}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text

    luck = random.Random(0)

    def text(length: int) -> dict[str, Any]:
        return {"type": "text", "text": "".join(luck.choices("abcdefgh", k=length))}

    await asyncio.gather(*(ask(text(1), picture(2**30 + n)) for n in range(BURST)))
    await asyncio.gather(*(ask(text(1), video(2**30 + n)) for n in range(BURST)))
    await ask(text(1), user="x" * 2**20)  # a body that is parsed in a thread
    for _ in range(3):
        await asyncio.gather(*(ask(text(1500)) for _ in range(8)))  # each eight more tokens than there is room for


async def soak(url: str, pid: int, seconds: float, seed: int) -> tuple[Traffic, list[Sample], list[Sample]]:
    """Traffic, and samples of each second: while caches fill, and after. Each period ends with a moment in which nobody
    is connected, since only then the numbers of files and threads say anything."""
    traffic, began = Traffic(seed), time.monotonic()
    periods: list[list[Sample]] = []
    for share in (WARM_SHARE, 1 - WARM_SHARE):
        async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
            if not periods:
                await fill(client)
            until = time.monotonic() + seconds * share
            clients = [asyncio.create_task(traffic.run(client, until, n)) for n in range(CLIENTS)]
            samples = []
            while time.monotonic() < until:
                samples.append(await asyncio.to_thread(look, pid, began))
                await asyncio.sleep(1)
            await asyncio.gather(*clients)
        await asyncio.sleep(3)
        samples.append(await asyncio.to_thread(look, pid, began))
        periods.append(samples)
    return traffic, periods[0], periods[1]


def slope(samples: list[Sample]) -> float:
    """Growth of memory over all samples, of a line through them, as a share of its beginning."""
    line = statistics.linear_regression([s.at for s in samples], [sum(s.memory) for s in samples])
    start = line.intercept + line.slope * samples[0].at
    return line.slope * (samples[-1].at - samples[0].at) / start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    command = [sys.executable, "-m", "saccade", "serve", "--port", "0", *CACHES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = next(line.strip() for line in process.stdout if line.startswith("  http"))
            work = soak(url.removesuffix("/v1"), process.pid, options.minutes * 60, options.seed)
            traffic, warm, rest = asyncio.run(work)
        finally:
            process.terminate()
    before, after = warm[-1], rest[-1]
    told = {
        "minutes": options.minutes,
        "requests": dict(traffic.counts),
        "memory_mib": [[round(size / 2**20, 1) for size in one.memory] for one in (before, after)],
        "memory_growth": round(slope(rest), 4),
        "files": [before.files, after.files],
        "threads": [before.threads, after.threads],
        "wrong": len(traffic.wrong),
    }
    print(json.dumps(told))
    print(*traffic.wrong[:5], sep="\n", file=sys.stderr)
    is_sound = not traffic.wrong and after.files <= before.files and after.threads <= before.threads
    return 0 if is_sound and told["memory_growth"] < GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
