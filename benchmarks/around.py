"""What lies around the engine costs one request: `python benchmarks/around.py --model-dir DIR [--src ../other/src]`.

Starts `saccade serve` with an engine that gives tokens at once, and asks over a plain socket, one request after the
other: 512 words, the same picture again, new pictures of two sizes. Tells the median first token and the processor time
of the HTTP process and of its decoders for one request, in milliseconds. DIR needs no weights. With `--src` the server
of another checkout is asked in turn with this one's. What servers write goes to standard error.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import io
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.bench import machine

SRC = Path(__file__).resolve().parents[1] / "src"
WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
]
KINDS: dict[str, tuple[int, int, int]] = {
    "words": (0, 0, 512),
    "same": (1024, 1024, 512),
    "1024": (1024, 1024, 512),
    "1080": (1920, 1088, 64),
}
"""Width and height of the picture, and words beside it."""
WARM = 160
"""New pictures before all else: memory that is written to for the first time costs more than the rest."""


def serve(words: list[str]) -> None:
    """`saccade serve`, with the engine below in place of the real one."""
    from saccade.engine import supervisor

    program = (str(Path(__file__).resolve()), "engine")
    supervisor.EngineProcess = functools.partial(supervisor.EngineProcess, program=program)  # type: ignore[assignment,misc]
    from saccade.cli import app

    sys.argv = ["saccade", "serve", *words]
    app()


def engine() -> None:
    """An engine process whose engine computes nothing."""
    from saccade.engine import process
    from saccade.engine.spec import EngineFacts
    from saccade.engine.worker import Worker
    from saccade.types import EngineStats, StageTimes, TokenOut

    class Nothing:
        def __init__(self) -> None:
            self.left: dict[str, int] = {}
            self.new: set[str] = set()
            self.on_plan: Any = None

        @property
        def has_work(self) -> bool:
            return bool(self.left)

        def submit(self, request: Any) -> None:
            self.left[request.id] = request.sampling.max_tokens
            self.new.add(request.id)

        def abort(self, id: str) -> None:
            pass

        def step(self) -> list[TokenOut]:
            if not self.new:
                time.sleep(0.002)
            outs = []
            for id in list(self.left):
                self.left[id] -= 1
                times = StageTimes() if id in self.new else None
                outs.append(TokenOut(id, 65, finish_reason=None if self.left[id] else "length", times=times))
                if not self.left[id]:
                    del self.left[id]
            self.new.clear()
            return outs

        def stats(self) -> EngineStats:
            counters = dict.fromkeys(("hits", "waits", "misses", "evictions"), 0)
            return EngineStats(0, 0, 0, 0, 0, 1, 0, 0, 0, counters, {})

    facts = EngineFacts("none", "cpu", "float32", 1, 16384)
    process._Server._load = lambda *_: Worker(Nothing(), facts)  # type: ignore[method-assign,assignment,arg-type]
    sys.argv.pop(1)
    process.main()


@contextlib.contextmanager
def server(src: Path, model: Path) -> Iterator[tuple[int, int]]:
    """The port and the number of the process of a server."""
    command = [sys.executable, __file__, "serve", "--model", str(model), "--load-format", "dummy", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(src)}
    flags = ["--served-model-name", "m", "--max-context", "16384"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True, env=environment) as running:
        try:
            assert running.stdout
            url = next(line.strip() for line in running.stdout if line.startswith("  http"))
            found = re.search(r":(\d+)", url)
            assert found, url
            yield int(found[1]), running.pid
        finally:
            running.terminate()


class Asker:
    """Makes requests, and sends them over one connection."""

    def __init__(self, port: int, pid: int) -> None:
        self.pid = pid
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rng = np.random.default_rng(0)
        self._pictures: dict[tuple[int, int], bytes] = {}

    def request(self, kind: str) -> bytes:
        width, height, count = KINDS[kind]
        content: list[dict[str, Any]] = [{"type": "text", "text": " ".join(random.choices(WORDS, k=count))}]
        if width:
            file = self._picture(width, height) + (b"" if kind == "same" else os.urandom(16))  # behind the end: ignored
            url = "data:image/jpeg;base64," + base64.b64encode(file).decode()
            content.insert(0, {"type": "image_url", "image_url": {"url": url}})
        messages = [{"role": "user", "content": content}]
        wishes = {"max_tokens": 2, "ignore_eos": True, "temperature": 0, "stream": True}
        body = json.dumps({"model": "m", "messages": messages, **wishes}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def ask(self, kind: str) -> float:
        """Milliseconds to the first token."""
        request = self.request(kind)
        time.sleep(0.004)
        began, got, first = time.perf_counter(), b"", 0.0
        self._socket.sendall(request)
        while not got.endswith(b"0\r\n\r\n"):
            got += self._socket.recv(1 << 16)
            if not first and re.search(rb'"content":"[^"]', got):
                first = (time.perf_counter() - began) * 1e3
        assert first, got[:500]
        return first

    def spent(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Milliseconds of processor time so far: the HTTP process, its decoders."""
        decoders = [
            one
            for one in machine.family(self.pid)
            if b"saccade.media.worker" in Path(f"/proc/{one}/cmdline").read_bytes()
        ]
        seconds = [machine.cpu_seconds(self.pid) or 0, sum(machine.cpu_seconds(one) or 0 for one in decoders)]
        return np.array(seconds) * 1e3

    def _picture(self, width: int, height: int) -> bytes:
        if (width, height) not in self._pictures:
            coarse, fine = (
                Image.fromarray(self._rng.integers(0, 255, (height // cell, width // cell, 3), dtype=np.uint8)).resize(
                    (width, height), Image.Resampling.BICUBIC
                )
                for cell in (32, 4)
            )
            file = io.BytesIO()
            Image.blend(coarse, fine, 0.15).save(file, "JPEG", quality=90)
            self._pictures[width, height] = file.getvalue()
        return self._pictures[width, height]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--src", type=Path, help="of another checkout")
    parser.add_argument("--requests", type=int, default=50, help="of each kind in a row")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sources = {"here": SRC} | ({"there": options.src.resolve()} if options.src else {})
    found: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        askers = {
            name: Asker(*stack.enter_context(server(src, options.model_dir.resolve()))) for name, src in sources.items()
        }
        for asker in askers.values():
            for _ in range(WARM):
                asker.ask("1080")
        for _ in range(options.rounds):
            for kind in KINDS:
                for name, asker in askers.items():
                    asker.ask(kind)
                    before = asker.spent()
                    firsts = [asker.ask(kind) for _ in range(options.requests)]
                    spent = (asker.spent() - before) / options.requests
                    found[kind, name].append((statistics.median(firsts), *spent.tolist()))
    for (kind, name), rows in found.items():
        first, http, decoders = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{kind:6} {name:6} first token {first:6.2f}  HTTP process {http:6.2f}  decoders {decoders:6.2f}")


if __name__ == "__main__":
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role == "serve":
        serve(sys.argv[2:])
    elif role == "engine":
        engine()
    else:
        main()
