"""One part of the server after another is switched off and the same short workloads run again: what each part is worth;
knows the server by its flags and its HTTP interface alone.

The first and the last run have everything on: the others are held against their mean, and what those two differ by is
what the figures of this machine scatter by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from saccade.bench import machine
from saccade.bench.figures import Figure, times_better
from saccade.bench.plan import Plan
from saccade.bench.report import Report, write_json
from saccade.bench.run import Listener, Options, chosen, measure
from saccade.errors import SaccadeError, SettingsError

FORMAT = "saccade-ablation/1"
ALL_ON, AGAIN = "all on", "all on, again"
WORKLOADS = ("ttft", "decode", "stall", "load")
FIXED_MEMORY = ("--kv-cache-memory", "4GiB", "--feature-cache-memory", "512MiB")
"""On a GPU the caches take what is left, so that memory would be the same whatever is switched off; with caches of a
fixed size the rest shows. Enough for eight requests of 1,600 tokens of the 4B model in fp32."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something of the server that can be switched off. `needs` tells where it is at all: "gpu": not on a CPU, "half":
    where the model runs in 16 bits."""

    name: str
    flags: tuple[str, ...]
    needs: Literal["", "gpu", "half"] = ""

    def absent(self, base: Report) -> str | None:
        """Why this part cannot be switched off in the server that `base` is about, if so."""
        facts = base.server["card"]["facts"]
        started = base.server["started_with"]
        if any(flag in started for flag in self.flags if flag.startswith("--no-")):
            return "off already"
        if self.needs == "gpu" and facts["device"].startswith("cpu"):
            return "not on this device"
        if self.needs == "half" and facts["dtype"] == "float32":
            return "not on this device: the model runs in float32"
        return None


@dataclass(frozen=True, slots=True)
class Run:
    """A server with `without` switched off, and what was measured of it."""

    name: str
    without: tuple[str, ...]
    report: Report


@dataclass(frozen=True, slots=True)
class Column:
    """A figure that tells what a part is worth: its name in a report, and words for people."""

    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Ablation:
    """All runs, the first and the last with everything on."""

    date: str
    seconds: float
    command: str
    seed: int
    plan: Plan
    runs: list[Run]
    left_out: dict[str, str] = field(default_factory=dict)
    """Parts that were not switched off, and why."""
    failed: dict[str, str] = field(default_factory=dict)
    """Parts without which the server could not be measured, and what it said."""

    def base(self, name: str) -> Figure | None:
        """A figure with everything on: the mean of both runs."""
        first, last = (self.runs[at].report.figure(name) for at in (0, -1))
        if first is None or last is None or first.value is None or last.value is None:
            return None
        return Figure((first.value + last.value) / 2, first.unit)

    @property
    def columns(self) -> dict[str, list[Column]]:
        """The figures that were measured, by the title of their group."""
        groups = {
            title: [column for column in columns if self.base(column.name)]
            for title, columns in _columns(self.plan).items()
        }
        return {title: columns for title, columns in groups.items() if columns}

    def worth(self, run: Run, name: str) -> float | None:
        """How many times better a figure is with everything on than in this run."""
        return times_better(self.base(name), run.report.figure(name))

    def scatter(self, name: str) -> float:
        """How many times better a figure may be for no reason: as many as between the two runs with everything on, and
        at least 1.02."""
        ratio = times_better(self.runs[0].report.figure(name), self.runs[-1].report.figure(name)) or 1.0
        return max(1.02, ratio, 1 / ratio)

    def verdict(self, run: Run, name: str) -> int:
        """1: the figure is worse in this run than scatter explains, -1: better, 0: neither."""
        ratio, scatter = self.worth(run, name), self.scatter(name)
        return 0 if ratio is None else (ratio > scatter) - (ratio < 1 / scatter)

    @property
    def good(self) -> bool:
        """Whether every server came up and every request was answered as asked."""
        return not self.failed and not any(run.report.problems for run in self.runs)


async def ablate(options: Options, listener: Listener) -> Ablation:
    """Measure the server with everything on, then without each part that it has, then with everything on again.

    `options.serve` are the flags that all servers have in common. Raises SaccadeError when the first cannot be
    measured; one that cannot be measured without some part is told in `failed`.
    """
    begun, date = time.perf_counter(), datetime.now(UTC)
    names = options.only or WORKLOADS
    if unfit := [name for name in names if name not in WORKLOADS]:
        raise SettingsError(
            f"--ablate does not run {unfit[0]!r}.", param="only", hint=f"It runs {', '.join(WORKLOADS)}."
        )
    count = sum(workload.count(options.plan) for workload in chosen(names))
    common = (*_fixed_memory(options.serve), *options.serve)

    async def run(name: str, without: tuple[str, ...] = ()) -> Run:
        advance = listener.begin(name, count)
        asked = replace(options, only=tuple(names), serve=(*common, *without))
        return Run(name, without, await measure(asked, _OneBar(advance)))

    runs = [await run(ALL_ON)]
    left_out, failed = {}, {}
    for part in PARTS:
        if reason := part.absent(runs[0].report):
            left_out[part.name] = reason
            continue
        try:
            runs.append(await run(f"no {part.name}", part.flags))
        except SaccadeError as error:
            failed[part.name] = error.message
    runs.append(await run(AGAIN))
    return Ablation(
        date=date.isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - begun, 1),
        command=options.command,
        seed=options.seed,
        plan=options.plan,
        runs=runs,
        left_out=left_out,
        failed=failed,
    )


def write(found: Ablation, path: Path) -> None:
    """As JSON: what all runs have in common once, then each run with its figures, their worth, and every request."""
    names = [column.name for columns in found.columns.values() for column in columns]
    runs = {}
    for run in found.runs:
        worth = {name: round(ratio, 3) for name in names if (ratio := found.worth(run, name)) is not None}
        report = asdict(run.report)
        runs[run.name] = {"without": run.without, "worth": worth, **{name: report[name] for name in _OWN}}
    told = {name: getattr(found, name) for name in ("date", "seconds", "command", "seed", "left_out", "failed")}
    base = asdict(found.runs[0].report)
    common = {name: base[name] for name in ("machine", "versions", "server", "plan")}
    write_json({"format": FORMAT, **told, **common, "runs": runs}, path, 4)


_OWN = ("seconds", "figures", "stages", "problems", "notes", "raw")
"""What a run does not have in common with the others."""


class _OneBar:
    """All workloads of a run move one bar."""

    def __init__(self, advance: Callable[[], None]) -> None:
        self._advance = advance

    def begin(self, title: str, count: int) -> Callable[[], None]:
        return self._advance


def _fixed_memory(serve: Sequence[str]) -> tuple[str, ...]:
    """Sizes of the caches for a server on a GPU; what `serve` says of them comes later and wins."""
    on_cpu = "--device" in serve and serve[list(serve).index("--device") + 1] == "cpu"
    return () if on_cpu or machine.gpu_memory_used() is None else FIXED_MEMORY


def _columns(plan: Plan) -> dict[str, list[Column]]:
    load = [
        Column(f"load.c{workers}.{mix}.rate", f"{workers} at once, {words}")
        for workers in plan.concurrency
        for mix, words in (("unique", "new pictures"), ("repeat60", "60 % one"))
    ]
    return {
        "Latency": [
            Column("ttft.new_picture", "TTFT, new picture"),
            Column("ttft.same_picture", "TTFT, same picture"),
            Column("ttft.moved_picture", "TTFT, same, moved"),
            Column("ttft.text", "TTFT, text"),
            Column("decode.rate", "one stream"),
            Column("stall.pictures.p99", "gap p99, pictures"),
        ],
        "Throughput, start and memory": [
            *load,
            Column("server.ready", "start to ready"),
            Column("server.gpu_memory", "GPU memory"),
            Column("server.memory", "main memory"),
        ],
    }


def shares(times: dict[str, float]) -> dict[str, float]:
    """Stages of the time to the first token as parts of it; "rest" is what no stage accounts for."""
    first = times.get("first_token_ms", 0.0)
    if first <= 0:
        return {}
    inner = {
        name.removesuffix("_ms"): spent / first
        for name, spent in times.items()
        if name.endswith("_ms") and name not in ("first_token_ms", "decode_ms")
    }
    return {**inner, "rest": max(0.0, 1 - sum(inner.values()))}


PARTS = (
    Part("feature cache", ("--no-feature-cache",)),
    Part("prefix cache", ("--no-prefix-cache",)),
    Part("cache at all", ("--no-feature-cache", "--no-prefix-cache")),
    Part("slices", ("--no-slices",)),
    Part("overlap", ("--no-overlap",), "gpu"),
    Part("CUDA graphs", ("--no-cuda-graphs",), "gpu"),
    Part("fused kernels", ("--no-fused-kernels",), "gpu"),
    Part("half precision", ("--dtype", "float32"), "half"),
)
"""Each cache saves some of what the other does, so that they are switched off together, too."""
