"""What a part is worth, measured on servers that are known to be slower without it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from typer.testing import CliRunner, Result

from saccade import cli
from saccade.backends.base import Backend, Echo
from saccade.bench import ablate, machine, main, show
from saccade.bench import run as bench_run
from saccade.bench.ablate import FIXED_MEMORY, PARTS, Ablation, Run, shares
from saccade.bench.figures import Figure
from saccade.bench.launch import Launched
from saccade.bench.plan import ABLATION, QUICK_ABLATION, Plan
from saccade.bench.report import FORMAT, Report
from saccade.errors import SaccadeError, SettingsError
from saccade.types import ModelCard

Serve = Callable[[Backend], str]
CPU = {"device": "cpu, 2 threads", "dtype": "float32"}
GPU = {"device": "NVIDIA H200", "dtype": "bfloat16"}
TINY = Plan(
    side=32, words=6, short_words=3, samples=2, few_samples=0, warmup=1, decode_tokens=12, decode_runs=2, streams=2,
    stream_tokens=30, arrivals=1, arrival_seconds=0.01, settle_seconds=0.01, concurrency=(2,), rounds=1, load_tokens=3,
)  # fmt: skip


class Slow(Echo):
    """Says which device it is on."""

    def __init__(self, facts: dict[str, str], delay: float) -> None:
        super().__init__(delay=delay)
        self._card = ModelCard("echo", 8192, facts)


class Servers:
    """In place of those that would be started: what each was started with, and how slow it is."""

    def __init__(self, serve: Serve, facts: dict[str, str]) -> None:
        self._serve, self._facts = serve, facts
        self.started: list[tuple[str, ...]] = []
        self.delays: dict[str, float] = {}
        self.broken = "--nothing"

    @asynccontextmanager
    async def launched(self, flags: Sequence[str], log: IO[bytes] | None = None) -> AsyncIterator[Launched]:
        self.started.append(tuple(flags))
        if self.broken in flags:
            raise SaccadeError("The server did not start: no.")
        delay = max([0.001, *(seconds for flag, seconds in self.delays.items() if flag in flags)])
        url = self._serve(Slow(self._facts, delay))
        yield Launched(url, os.getpid(), time.perf_counter(), 0.5)


@pytest.fixture
def servers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Servers]:
    def of(facts: dict[str, str]) -> Servers:
        found = Servers(serve, facts)
        monkeypatch.setattr(bench_run, "launched", found.launched)
        monkeypatch.setattr(main, "QUICK_ABLATION", TINY)
        monkeypatch.setattr(machine, "gpu_memory_used", lambda: None if facts is CPU else 1.0)
        return found

    return of


class Quiet:
    """Hears which runs there are."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def begin(self, title: str, count: int) -> Callable[[], None]:
        self.heard.append(f"{title} {count}")
        return lambda: None


def measured(*serve: str, only: tuple[str, ...] = ()) -> Ablation:
    options = bench_run.Options(plan=TINY, serve=serve, only=only)
    return asyncio.run(ablate.ablate(options, Quiet()))


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["bench", "--ablate", "--quick", *map(str, words)])


def test_a_cpu_switches_off_what_it_has(servers: Callable[[dict[str, str]], Servers]) -> None:
    there = servers(CPU)
    there.delays = {"--no-slices": 0.03}
    found = measured("--max-running", "4")
    assert there.started == [
        ("--max-running", "4", *flags)
        for flags in (
            (),
            ("--no-feature-cache",),
            ("--no-prefix-cache",),
            ("--no-feature-cache", "--no-prefix-cache"),
            ("--no-slices",),
            (),
        )
    ]
    assert [one.name for one in found.runs] == [
        "all on", "no feature cache", "no prefix cache", "no cache at all", "no slices", "all on, again"
    ]  # fmt: skip
    assert found.left_out == {
        "overlap": "not on this device",
        "CUDA graphs": "not on this device",
        "fused kernels": "not on this device",
        "half precision": "not on this device: the model runs in float32",
    }
    assert found.good
    slow = found.runs[4]
    for name in ("ttft.new_picture", "ttft.moved_picture", "decode.rate", "stall.pictures.p99", "load.c2.unique.rate"):
        worth = found.worth(slow, name)
        assert worth is not None
        assert worth > 1.5, name
        assert found.verdict(slow, name) == 1
    assert {report.seed for report in (one.report for one in found.runs)} == {found.seed}


def test_a_gpu_has_all_parts_and_caches_of_a_fixed_size(servers: Callable[[dict[str, str]], Servers]) -> None:
    there = servers(GPU)
    found = measured("--kv-cache-memory", "1GiB", only=("decode",))
    assert found.left_out == {}
    assert [one.without for one in found.runs] == [(), *(part.flags for part in PARTS), ()]
    common = (*FIXED_MEMORY, "--kv-cache-memory", "1GiB")  # The last one counts.
    assert all(flags[: len(common)] == common for flags in there.started)
    there.started.clear()
    measured("--device", "cpu", only=("decode",))
    assert all(FIXED_MEMORY[0] not in flags for flags in there.started)


def test_what_is_off_already_is_told(servers: Callable[[dict[str, str]], Servers]) -> None:
    servers(CPU)
    found = measured("--no-prefix-cache", "--no-slices", only=("decode",))
    assert {name for name, reason in found.left_out.items() if reason == "off already"} == {
        "prefix cache", "cache at all", "slices"
    }  # fmt: skip
    assert [one.name for one in found.runs] == ["all on", "no feature cache", "all on, again"]


def test_one_that_does_not_come_up_is_told_and_the_others_measured(
    servers: Callable[[dict[str, str]], Servers], tmp_path: Path
) -> None:
    servers(CPU).broken = "--no-slices"
    done = run("--only", "decode", "--json", tmp_path / "a.json")
    assert done.exit_code == 1
    assert "without slices: The server did not start: no." in done.stdout
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["failed"] == {"slices": "The server did not start: no."}
    assert list(told["runs"]) == [
        "all on", "no feature cache", "no prefix cache", "no cache at all", "all on, again"
    ]  # fmt: skip


def test_the_command(servers: Callable[[dict[str, str]], Servers], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    there = servers(CPU)
    there.delays = {"--no-prefix-cache": 0.02}
    done = run("--json", tmp_path / "a.json", "--plots", tmp_path, "--dtype", "float32")
    assert done.exit_code == 0, done.output
    assert "What each part is worth: echo at" in done.stdout
    for words in ("Latency", "Throughput, start and memory", "CUDA graphs: not on this device", "2 at once, new"):
        assert words in " ".join(done.stdout.split())
    assert there.started[0] == ("--dtype", "float32")
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["format"] == "saccade-ablation/1"
    one = told["runs"]["no prefix cache"]
    assert one["without"] == ["--no-prefix-cache"]
    assert one["worth"]["ttft.text"] > 2
    assert one["figures"]["decode.rate"]["value"] < told["runs"]["all on"]["figures"]["decode.rate"]["value"]
    assert len(one["raw"]["ttft"]) == 4 * TINY.samples
    names = ["ablation.png", "ablation.svg", "ablation_stages.png", "ablation_stages.svg"]
    assert done.stdout.splitlines()[-4:] == [str(tmp_path / name) for name in names]
    assert "no prefix cache" in (tmp_path / "ablation.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--url", "http://127.0.0.1:9"], "--ablate starts its servers itself"),
        (["--floors", "f.json", "--plots", "p"], "--floors is not for --ablate"),
        (["--only", "decode,sizes"], "--ablate does not run 'sizes'"),
        (["a.json"], "Files are for --compare"),
        (["--compare", "a.json", "b.json"], "Files are for --compare"),
    ],
)
def test_words_that_do_not_go_with_it(words: list[str], message: str) -> None:
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.split())


# --- from figures ----------------------------------------------------------------------------------------------------


def ablation(*values: float, name: str = "ttft.text", unit: str = "ms") -> Ablation:
    """Runs in which one figure has these values; the first and the last have everything on."""
    runs = [
        Run(str(number), (), Report(FORMAT, figures={name: Figure(value, unit).to_json()}))
        for number, value in enumerate(values)
    ]
    return Ablation("", 0.0, "", 0, TINY, runs)


def test_runs_are_held_against_the_mean_of_both_with_all_on() -> None:
    found = ablation(10.0, 24.0, 6.0, 13.0, 14.0)
    assert found.base("ttft.text") == Figure(12.0, "ms")
    assert [found.worth(one, "ttft.text") for one in found.runs[1:4]] == [2.0, 0.5, pytest.approx(13 / 12)]
    assert found.scatter("ttft.text") == pytest.approx(1.4)
    assert [found.verdict(one, "ttft.text") for one in found.runs] == [0, 1, -1, 0, 0]


def test_more_is_better_where_it_is() -> None:
    found = ablation(10.0, 5.0, 20.0, 10.0, name="decode.rate", unit="tok/s")
    assert [found.worth(one, "decode.rate") for one in found.runs[1:3]] == [2.0, 0.5]
    assert [found.verdict(one, "decode.rate") for one in found.runs] == [0, 1, -1, 0]
    assert found.scatter("decode.rate") == 1.02


def test_what_was_not_measured_has_no_column() -> None:
    found = ablation(1.0, 2.0, 1.0)
    assert [column.name for columns in found.columns.values() for column in columns] == ["ttft.text"]
    assert found.worth(found.runs[1], "decode.rate") is None
    assert found.verdict(found.runs[1], "decode.rate") == 0
    gone = replace(found, runs=[*found.runs[:2], Run("last", (), Report(FORMAT))])
    assert gone.columns == {}


def test_a_figure_that_only_one_run_lacks_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    found = ablation(1.0, 2.0, 3.0, 1.0)
    found.runs[2] = Run("gone", (), Report(FORMAT))
    show.console().print(show._worth(found, found.columns["Latency"]))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["1", "2.00", "2.00x"] for line in lines)
    assert any(line.split() == ["gone", "-"] for line in lines)


def test_shares_of_stages() -> None:
    times: dict[str, Any] = {"vision_ms": 5.0, "prefill_ms": 3.0, "first_token_ms": 10.0, "decode_ms": 400.0}
    assert shares(times) == {"vision": 0.5, "prefill": 0.3, "rest": pytest.approx(0.2)}
    assert shares({"vision_ms": 1.0}) == {}


def test_plans_are_short_and_hold_no_large_picture() -> None:
    for plan in (ABLATION, QUICK_ABLATION):
        assert plan.few_samples == 0
        assert len(plan.concurrency) == 1
    with pytest.raises(SettingsError):
        measured(only=("prompts",))
