"""`saccade bench` as people type it, and the server it starts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from saccade import cli
from saccade.backends.base import Backend, Echo
from saccade.bench import launch, machine, main
from saccade.bench import run as bench_run
from saccade.bench.client import Client
from saccade.bench.plan import QUICK
from saccade.bench.report import read
from saccade.errors import SaccadeError
from saccade.settings import Settings, as_flags

Serve = Callable[[Backend], str]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["bench", *map(str, words)])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "QUICK", replace(QUICK, side=64, samples=2, frames=2, screens=2))


def test_a_measurement(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, out = serve(Echo()), tmp_path / "a.json"
    monkeypatch.setattr("sys.argv", ["saccade", "bench", "--api-key", "hush", "--api-key=hush", "--quick"])
    done = run("--url", url, "--api-key", "hush", "--quick", "--only", "ttft,frames", "--json", out)
    assert done.exit_code == 0, done.output
    assert f"echo at {url}" in done.stdout
    assert "Time to first token" in done.stdout
    assert "new picture" in done.stdout
    assert "Closed loop" not in done.stdout
    report = read(out)
    assert report.command == "saccade bench --api-key ... --api-key=... --quick"
    assert "hush" not in out.read_text()
    assert report.value("ttft.new_picture") is not None
    assert report.server["started_with"] is None
    assert {"saccade", "python"} <= set(report.versions)
    assert report.machine["cores"] > 0
    assert set(report.raw) == {"ttft", "frames"}
    assert all(row["pieces_ms"] for row in report.raw["ttft"])


def test_failures_end_with_a_status(serve: Serve, tmp_path: Path) -> None:
    class Short(Echo):
        def _answer(self, request: object, prompt: int) -> tuple[str, str, None]:  # type: ignore[override]
            return "x", "stop", None

    done = run("--url", serve(Short()), "--quick", "--only", "frames", "--json", tmp_path / "a.json")
    assert done.exit_code == 1
    assert "frames: 4 x 1 tokens instead of the 8 asked for" in done.stdout
    assert read(tmp_path / "a.json").problems


def test_a_comparison(serve: Serve, tmp_path: Path) -> None:
    url = serve(Echo())
    for name in "ab":
        assert run("--url", url, "--quick", "--only", "frames", "--json", tmp_path / f"{name}.json").exit_code == 0
    table = run("--compare", tmp_path / "a.json", tmp_path / "b.json")
    assert table.exit_code == 0
    assert "frames.f1.rate" in table.stdout
    page = run("--compare", tmp_path / "a.json", tmp_path / "b.json", "--markdown")
    assert page.stdout.startswith("| figure | a | b |\n|---|---:|---:|\n| frames.f1.rate |")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "tftt"], "There is no workload 'tftt'"),
        (["--url", "http://127.0.0.1:9", "--dtype", "float32"], "--dtype is for a server that bench starts"),
        (["--url", "ftp://x"], "is no http(s) address"),
        (["--api-key", "k"], "--api-key is for the server at --url"),
        (["--floors", "f.json"], "--floors is for the plots"),
        (["a.json"], "Files are for --compare"),
        (["--compare", "a.json"], "needs two or more"),
        (["--markdown"], "Files are for --compare"),
        (["--compare", "a.json", "b.json"], "a.json cannot be read"),
        (["--compare", "a.json", "b.json", "--json", "c.json"], "--json is for a measurement"),
        (["--json", "/dev/null/x/a.json"], "cannot be made"),
        (["--dtype", "float7"], "--dtype:"),
    ],
)
def test_wrong_words(words: list[str], message: str) -> None:
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.split())


def test_nobody_is_there() -> None:
    done = run("--url", "http://127.0.0.1:9", "--quick")
    assert done.exit_code == 1
    assert "does not list its models" in done.stderr


# --- a server of our own ---------------------------------------------------------------------------------------------


def test_settings_are_passed_on_as_flags() -> None:
    settings = Settings(model="a b", offline=True, max_running=3, max_file_bytes="2MiB", port=9)  # type: ignore[arg-type]
    words = as_flags(settings, ["model", "dtype", "offline", "max_running", "max_file_bytes"])
    assert words == ["--model", "a b", "--offline", "--max-running", "3", "--max-file-bytes", str(2 * 2**20)]


def test_a_server_is_started_and_stopped() -> None:
    async def live() -> tuple[launch.Launched, str]:
        async with launch.launched(["--load-format", "dummy", "--served-model-name", "mine"]) as own:
            client = Client(own.url)
            names = [card["id"] for card in await client.models()]
            client.close()
            assert (machine.peak_memory(own.pid) or 0) > 0.05
            assert (machine.cpu_seconds(own.pid) or 0) > 0.1
            assert own.pid in machine.family(os.getpid())
            return own, names[0]

    own, name = asyncio.run(live())
    assert name == "mine"
    assert own.seconds > 0
    with pytest.raises(ProcessLookupError):
        os.kill(own.pid, 0)


@pytest.mark.parametrize(("processes", "held"), [(["{pid}, 2048", "1, 4096"], 2048), (["1, 4096"], 300), ([], 300)])
def test_gpu_memory_of_a_server(monkeypatch: pytest.MonkeyPatch, processes: list[str], held: int) -> None:
    """Of its process where the driver names it, else what the whole GPU holds more than before."""

    def nvidia(query: str, *_: str) -> list[str]:
        apps = [row.format(pid=os.getpid()) for row in processes]
        return apps if query.startswith("--query-compute-apps") else ["700", "800"]

    monkeypatch.setattr(machine, "_nvidia", nvidia)
    assert machine.gpu_memory_used() == pytest.approx(1500 * 2**20 / 1e9)
    own = launch.Launched("http://x", os.getpid(), 0.0, 1.0)
    first = SimpleNamespace(facts=SimpleNamespace(stamps=[2.0]))
    figures = bench_run._of_server(own, first, [], idle=1200 * 2**20 / 1e9)  # type: ignore[arg-type]
    assert figures["server.gpu_memory"].value == pytest.approx(held * 2**20 / 1e9)
    alone = bench_run._of_server(own, first, [], idle=None)  # type: ignore[arg-type]
    assert ("server.gpu_memory" in alone) == (held == 2048)


def test_a_server_that_does_not_start() -> None:
    async def live() -> None:
        async with launch.launched(["--model", "/nowhere/at/all"]):
            pass

    with pytest.raises(SaccadeError, match=r"The server did not start: .*/nowhere/at/all"):
        asyncio.run(live())
