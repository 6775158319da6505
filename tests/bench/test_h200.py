"""benchmarks/h200.py against servers that only seem to start: what it writes, and that it leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import pytest

from saccade.backends.base import Backend, Echo
from saccade.bench import machine
from saccade.bench.launch import Launched
from saccade.errors import SaccadeError
from saccade.types import ModelCard

DEMO = Path(__file__).resolve().parents[2] / "src" / "saccade" / "demo" / "checkpoint"
RULER = """
import json, sys
words = sys.argv[1:]
assert words[words.index("--model") + 1] == "m" and words[words.index("--base-url") + 1].startswith("http://")
json.dump({"decode": %s}, open(words[words.index("--json") + 1], "w"))
"""


class Servers:
    """In place of those that would be started. Each has a process of its own, which does not end by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.flags: list[tuple[str, ...]] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.broken = "--nothing"

    @asynccontextmanager
    async def launched(self, flags: Sequence[str], log: IO[bytes]) -> AsyncIterator[Launched]:
        self.flags.append(tuple(flags))
        if self.broken in flags:
            raise SaccadeError("The server did not start: no memory.")
        log.write(b"started\n")
        self.processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        yield Launched(f"{self.url}/v1", self.processes[-1].pid, time.perf_counter(), float(len(self.flags)))


@pytest.fixture
def h200(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("h200")


@pytest.fixture
def servers(
    h200: ModuleType, serve: Callable[[Backend], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Servers]:
    echo = Echo(name="m")
    echo._card = ModelCard("m", 100_000)
    found = Servers(serve(echo))
    monkeypatch.setattr(h200, "launched", found.launched)
    used = iter(range(10, 10_000))
    monkeypatch.setattr(machine, "gpu_memory_used", lambda: float(next(used)))
    (tmp_path / "ruler.py").write_text(RULER % '{"decode_tok_s": 5.0}')
    yield found
    assert [process.wait(10) for process in found.processes] == [-9] * len(found.processes), "all were ended"


def run(h200: ModuleType, monkeypatch: pytest.MonkeyPatch, place: Path, *more: str) -> tuple[int, dict[str, Any]]:
    words = ["--model-dir", str(DEMO), "--name", "2b", "--out", str(place / "out"), "--ruler", str(place / "ruler.py")]
    monkeypatch.setattr("sys.argv", ["h200.py", *words, "--quick", *more])
    with pytest.raises(SystemExit) as ended:
        h200.main()
    return int(ended.value.code or 0), json.loads((place / "out" / "h200-2b-http_load.json").read_text())


def test_everything(h200: ModuleType, servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status, told = run(h200, monkeypatch, tmp_path, "--", "--max-running", "256")
    assert status == 0
    assert told["results"] == {"decode": {"decode_tok_s": 5.0}}
    assert (told["ready_first_s"], told["ready_s"]) == (1.0, 2.0)
    assert told["gateway_cpu_ms"] >= 0
    assert told["gateway_cpu_ms_64_tokens"] >= 0
    assert 0 <= told["peak_memory_loading_gb"] <= told["peak_memory_gb"]
    assert told["peak_memory_gb"] > 0
    assert {"date", "hardware", "versions", "command"} <= set(told)
    assert told["versions"]["saccade"]
    assert "--max-running 256" in told["command"][0]
    common = ("--model", str(DEMO), "--load-format", "dummy", "--dtype", "bfloat16", "--device", "cuda")
    assert all(flags[:8] == common for flags in servers.flags)
    # 4,096 tokens and two blocks, each token 2 * 6 layers * 2 heads * 64 numbers of 2 bytes.
    small = ("--max-context", "4096", "--max-running", "1", "--kv-cache-memory", str(3072 * (4096 + 128)))
    assert servers.flags[2][12:18] == small
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["2b-server.log", "h200-2b-http_load.json"]
    assert (tmp_path / "out" / "2b-server.log").read_text() == "started\n" * 3


def test_phases(h200: ModuleType, servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, told = run(h200, monkeypatch, tmp_path, "--only", "ruler")
    assert len(servers.flags) == 1
    assert told["results"]
    assert not {"ready_s", "gateway_cpu_ms", "peak_memory_gb"} & set(told)
    run(h200, monkeypatch, tmp_path, "--only", "memory", "--", "--dtype", "float32")
    assert servers.flags[1][servers.flags[1].index("--kv-cache-memory") + 1] == str(2 * 3072 * (4096 + 128))
    with pytest.raises(SystemExit) as ended:
        h200.parse(["--model-dir", "x", "--name", "2b", "--out", "x", "--ruler", "x", "--only", "rular"])
    assert ended.value.code == 2


def test_what_fails_does_not_stop_the_rest(
    h200: ModuleType, servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    servers.broken = "--max-context"
    (tmp_path / "ruler.py").write_text(RULER % '{"error": "RuntimeError()"}')
    status, told = run(h200, monkeypatch, tmp_path)
    assert status == 1
    assert told["memory_error"] == "The server did not start: no memory."
    assert "could not measure decode" in told["ruler_error"]
    assert told["results"] == {"decode": {"error": "RuntimeError()"}}
    assert "gateway_cpu_ms" in told
    assert "peak_memory_gb" not in told
