"""The published figures of one model on one GPU: starts `saccade serve`, measures it over HTTP, writes one JSON file.

    python benchmarks/h200.py --model-dir DIR --name 2b --ruler http_load.py --out benchmarks/results

DIR needs no weights: they are random, at the shapes of its config.json. Phases (`--only` takes some of them):

    ready     a server is started and stopped; the next start is the one that counts as the second on this machine
    ruler     http_load.py against it, all scenarios
    gateway   processor time of the process that speaks HTTP and of those that decode pictures for it, user and system,
              for one request with a new 1024x1024 JPEG
    memory    another server with the smallest cache that holds one stream; the most GPU memory in use from its start on

What follows `--` are flags of `saccade serve`, for every server. The file is written again after each phase, so that a
run that is cut short leaves what it has. What the servers write to standard error is in NAME-server.log beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from saccade.bench import machine
from saccade.bench.client import Client
from saccade.bench.context import Context, good
from saccade.bench.launch import Launched, launched
from saccade.bench.plan import FULL
from saccade.engine.footprint import tokens_per_block
from saccade.errors import SaccadeError

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("ready", "ruler", "gateway", "memory")
START_SECONDS, RULER_SECONDS, REQUEST_SECONDS = 180, 300, 120
CONTEXT = 4096
"""Tokens of the one stream whose memory is measured."""
BLOCK = tokens_per_block(is_gpu=True)
"""Tokens of a block of keys and values; a whole number of a CPU's."""
FEATURES = 64 * 2**20
"""Bytes for features of pictures beside it: three pictures of 1024x1024 of the 2B model."""
QUICK_RULER = ("--small", "--n", "3", "--conc", "2,4", "--side", "448")


@dataclass(frozen=True)
class Options:
    """The command line."""

    model_dir: Path
    name: str
    out: Path
    ruler: Path
    only: tuple[str, ...]
    quick: bool
    serve: tuple[str, ...]

    @property
    def flags(self) -> list[str]:
        """Of every server. `serve` comes last and wins."""
        own = f"--model {self.model_dir} --load-format dummy --dtype bfloat16 --device cuda --served-model-name m"
        return [*shlex.split(own), *self.serve]


def parse(words: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--name", required=True, help="2b or 4b: the file is h200-NAME-http_load.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ruler", type=Path, required=True, help="http_load.py")
    parser.add_argument("--only", default=",".join(PHASES), help="phases, separated by commas")
    parser.add_argument("--quick", action="store_true", help="small pictures and few requests, to see that it runs")
    parser.add_argument("serve", nargs="*", help="flags of saccade serve, behind --")
    given = parser.parse_args(words)
    only = tuple(given.only.split(","))
    if unknown := set(only) - set(PHASES):
        parser.error(f"there is no phase {min(unknown)!r}; phases: {', '.join(PHASES)}")
    return Options(given.model_dir, given.name, given.out, given.ruler, only, given.quick, tuple(given.serve))


def beside_the_engine(pid: int) -> tuple[float, float] | None:
    """Processor time so far of the process that speaks HTTP, and of its decoders."""
    decoders = [
        one for one in machine.family(pid) if b"saccade.media.worker" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    http, *decoding = (machine.cpu_seconds(one) for one in (pid, *decoders))
    return None if http is None or None in decoding else (http, sum(seconds for seconds in decoding if seconds))


class Memory:
    """The most memory in use while it watches: of all GPUs, or where there is none, of the server's processes."""

    def __init__(self) -> None:
        self.idle = machine.gpu_memory_used()
        self.peak = 0.0
        self._pid: int | None = None

    def look(self) -> None:
        used = machine.gpu_memory_used()
        if used is not None and self.idle is not None:
            self.peak = max(self.peak, used - self.idle)
        elif self._pid is not None:
            self.peak = max(self.peak, machine.peak_memory(self._pid) or 0.0)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Memory]:
        """Looks five times a second, from before the server's start until its end."""

        async def watch() -> None:
            while True:
                await asyncio.to_thread(self.look)
                await asyncio.sleep(0.2)

        task = asyncio.create_task(watch())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def of(self, own: Launched) -> None:
        """The server there is now."""
        self._pid = own.pid


@asynccontextmanager
async def server(flags: Sequence[str], log: IO[bytes]) -> AsyncIterator[Launched]:
    """A server that is gone afterwards, with all its processes, whatever happens."""
    members: list[int] = []
    try:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(START_SECONDS):
                own = await stack.enter_async_context(launched(flags, log))
            members = machine.family(own.pid)
            yield own
    finally:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Run:
    """One model's run and its file."""

    def __init__(self, options: Options) -> None:
        self.options = options
        options.out.mkdir(parents=True, exist_ok=True)
        self.path = options.out / f"h200-{options.name}-http_load.json"
        self.failed: list[str] = []
        self.log = (options.out / f"{options.name}-server.log").open("w+b")
        here = machine.machine()
        gpus = ", ".join(here["gpus"]) or "no GPU"
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        self.data: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "hardware": f"{gpus}, {here['cores']} CPU cores ({here['cpu']})",
            "versions": {"saccade": version, **machine.versions()},
            "model": f"{options.name.upper()} shapes, random weights",
            "command": [
                shlex.join(["saccade", "serve", *options.flags]),
                shlex.join(["python", "http_load.py", "--base-url", "URL", "--model", "m", *self._ruler_words()]),
            ],
            "quick": options.quick,
        }

    def tell(self, words: str, **found: Any) -> None:
        """A line for who watches, and what was found into the file."""
        print(f"{self.options.name} {words}", flush=True)
        self.data |= found
        self.path.write_text(json.dumps(self.data, indent=1) + "\n")

    async def measure(self) -> bool:
        """All phases that are asked for. Whether none of them failed."""
        if "ready" in self.options.only:
            await self._phase("ready", self._first_start())
        if {"ready", "ruler", "gateway"} & set(self.options.only):
            await self._phase("server", self._served())
        if "memory" in self.options.only:
            await self._phase("memory", self._smallest())
        return not self.failed

    async def _phase(self, name: str, work: Awaitable[None]) -> None:
        """What goes wrong is told and kept, and the next phase is tried."""
        begun = time.perf_counter()
        try:
            await work
        except (SaccadeError, TimeoutError, OSError, RuntimeError) as error:
            said = getattr(error, "message", None) or repr(error)
            self.tell(f"{name} FAILED after {time.perf_counter() - begun:.0f} s: {said}", **{f"{name}_error": said})
            self.failed.append(name)

    async def _first_start(self) -> None:
        async with server(self.options.flags, self.log) as own:
            self.tell(f"first start: ready after {own.seconds:.1f} s", ready_first_s=round(own.seconds, 2))

    async def _served(self) -> None:
        """Everything that is measured of one server with its caches as large as they come."""
        memory = Memory()
        async with server(self.options.flags, self.log) as own:
            if "ready" in self.options.only:
                self.tell(f"second start: ready after {own.seconds:.1f} s", ready_s=round(own.seconds, 2))
            if "ruler" in self.options.only:
                await self._phase("ruler", self._ruler(own))
            if "gateway" in self.options.only:
                await self._phase("gateway", self._gateway(own))
            memory.of(own)
            await asyncio.to_thread(memory.look)
            self.tell(f"memory with default caches: {memory.peak:.1f} GB", memory_default_gb=round(memory.peak, 2))

    async def _ruler(self, own: Launched) -> None:
        options, found = self.options, self.options.out / f"{self.options.name}-ruler.json"
        words = ["--base-url", own.url.removesuffix("/v1"), "--model", "m", "--json", str(found), *self._ruler_words()]
        process = await asyncio.create_subprocess_exec(sys.executable, str(options.ruler), *words)
        try:
            async with asyncio.timeout(RULER_SECONDS):
                status = await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if status or not found.is_file():
            raise RuntimeError(f"http_load.py ended with status {status}")
        results = json.loads(found.read_text())
        found.unlink()
        self.tell("ruler done", results=results)
        if wrong := [name for name, part in results.items() if "error" in part]:
            raise RuntimeError(f"http_load.py could not measure {', '.join(wrong)}")

    def _ruler_words(self) -> tuple[str, ...]:
        return QUICK_RULER if self.options.quick else ()

    async def _gateway(self, own: Launched) -> None:
        """One request after another: few tokens, since it is the picture that costs; and as many as under load."""
        count = 5 if self.options.quick else 60
        side = 448 if self.options.quick else FULL.side
        for tokens, tail in ((2, ""), (FULL.load_tokens, f"_{FULL.load_tokens}_tokens")):
            http, decoding = await self._cpu(own, count, side, tokens)
            self.tell(
                f"gateway: {http:.2f} ms of processor time a request, {decoding:.2f} for its picture ({tokens} tokens)",
                **{f"http_cpu_ms{tail}": round(http, 3), f"gateway_cpu_ms{tail}": round(http + decoding, 3)},
            )
        self.data["gateway_requests"] = f"{count} in turn, new {side}x{side} JPEG and {FULL.words} words"
        self.data["processes"] = len(machine.family(own.pid))

    async def _cpu(self, own: Launched, count: int, side: int, tokens: int) -> tuple[float, float]:
        """Milliseconds of processor time that the process that speaks HTTP and its decoders spend on one of `count`
        requests."""
        client = Client(own.url, timeout=REQUEST_SECONDS)
        client.model = "m"
        context = Context(client, FULL, seed=time.time_ns(), context=None, advance=lambda: None)
        questions = [context.question("", [context.photo(side)], FULL.words, tokens) for _ in range(count + 3)]
        try:
            await context.warm(*questions[:3])
            before = beside_the_engine(own.pid)
            replies = await context.each(questions[3:])
            after = beside_the_engine(own.pid)
        finally:
            client.close()
        if len(good(replies)) < count or before is None or after is None:
            raise RuntimeError(f"requests failed: {next((r.error for r in replies if r.error), 'no processor time')}")
        http, decoding = (1e3 * (later - sooner) / count for sooner, later in zip(before, after, strict=True))
        return http, decoding

    async def _smallest(self) -> None:
        """One stream with a picture up to the end of its context, in the smallest cache that holds it."""
        flags = self.options.flags
        dtype = flags[len(flags) - 1 - flags[::-1].index("--dtype") + 1]  # the last one counts
        kv = kv_bytes(self.options.model_dir, CONTEXT, 4 if dtype == "float32" else 2)
        small = f"--max-context {CONTEXT} --max-running 1 --kv-cache-memory {kv} --feature-cache-memory {FEATURES}"
        flags = [*flags, *small.split()]
        memory = Memory()
        async with memory.watched(), server(flags, self.log) as own:
            memory.of(own)
            loading = memory.peak
            client = Client(own.url, timeout=REQUEST_SECONDS)
            client.model = "m"
            context = Context(client, FULL, seed=time.time_ns(), context=None, advance=lambda: None)
            side, tokens = (448, 64) if self.options.quick else (FULL.side, 512)
            questions = [context.question("", [context.photo(side)], FULL.words, tokens) for _ in range(3)]
            replies = await context.each(questions)
            client.close()
            await asyncio.to_thread(memory.look)
            if len(good(replies)) < len(questions):
                raise RuntimeError(f"a request failed: {next(r.error for r in replies if r.error)}")
            self.tell(
                f"smallest cache: {memory.peak:.2f} GB at the peak, {loading:.2f} GB of it before it was ready",
                peak_memory_gb=round(memory.peak, 3),
                peak_memory_loading_gb=round(loading, 3),
                memory_of="main memory" if memory.idle is None else "GPU, all that is in use more than before",
                memory_flags=small,
            )


def kv_bytes(model_dir: Path, tokens: int, size: int) -> int:
    """Bytes of keys and values of one stream of so many tokens, in numbers of `size` bytes, and of two blocks more."""
    text = json.loads((model_dir / "config.json").read_text())["text_config"]
    head = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    by_token = 2 * text["num_hidden_layers"] * text["num_key_value_heads"] * head * size
    return by_token * (tokens + 2 * BLOCK)


def main() -> None:
    run = Run(parse(sys.argv[1:]))
    begun = time.perf_counter()
    with run.log:
        fine = asyncio.run(run.measure())
    run.tell(f"{'done' if fine else 'done, not all of it'} in {time.perf_counter() - begun:.0f} s: {run.path}")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
