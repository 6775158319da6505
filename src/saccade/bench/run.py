"""Options come in, the workloads run one after another against one server, a report comes out; knows no terminal."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from saccade.bench import machine
from saccade.bench.client import Client, Reply
from saccade.bench.context import Context
from saccade.bench.figures import Figure
from saccade.bench.launch import Launched, launched
from saccade.bench.plan import FULL, Plan
from saccade.bench.report import FORMAT, Report
from saccade.bench.workloads import WORKLOADS, Workload
from saccade.errors import SaccadeError, SettingsError

FIRST_SECONDS = 120.0
"""How long a server that says it is ready may take for its first answer before a run is given up."""


class Listener(Protocol):
    """Hears how far a run is."""

    def begin(self, title: str, count: int) -> Callable[[], None]:
        """A workload of about `count` replies starts; what is given back is called at each of them."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """`url` None: start a server with the flags `serve`. `model` None: the one the server lists first."""

    url: str | None = None
    model: str | None = None
    api_key: str | None = None
    only: tuple[str, ...] = ()
    plan: Plan = FULL
    serve: tuple[str, ...] = ()
    command: str = ""
    """As typed, for the report."""
    seed: int = field(default_factory=time.time_ns)
    """Of pictures and words: another one for each run, so that no run finds the last one's pictures in a cache."""


def chosen(names: Iterable[str]) -> list[Workload]:
    """The workloads of these names, all when there are none. Raises SettingsError for a name that is none."""
    known = {workload.name: workload for workload in WORKLOADS}
    wanted = list(dict.fromkeys(names)) or list(known)
    for name in wanted:
        if name not in known:
            raise SettingsError(f"There is no workload {name!r}.", param="only", hint=f"Workloads: {', '.join(known)}.")
    return [known[name] for name in wanted]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one workload gave."""

    name: str
    figures: dict[str, Figure]
    replies: list[Reply]
    notes: list[str]
    cpu_ms: float | None
    """Processor time of the server's own process for one request, where that means something."""


async def measure(options: Options, listener: Listener) -> Report:
    """Run the workloads and report. Raises SaccadeError when there is no server to measure."""
    workloads = chosen(options.only)
    begun, date = time.perf_counter(), datetime.now(UTC)
    async with AsyncExitStack() as stack:
        idle = machine.gpu_memory_used() if options.url is None else None
        own = await stack.enter_async_context(launched(options.serve)) if options.url is None else None
        client = Client(own.url if own else str(options.url), api_key=options.api_key)
        stack.callback(client.close)
        card = await _choose_model(client, None if own else options.model)
        first = await _first_answer(client, options)
        limit = card.get("max_model_len")
        outcomes = []
        for number, workload in enumerate(workloads):
            context = Context(
                client,
                options.plan,
                seed=options.seed + number * 7919,
                context=limit if isinstance(limit, int) else None,
                advance=listener.begin(workload.title, workload.count(options.plan)),
            )
            outcomes.append(await _run(workload, context, own))
        served = _of_server(own, first, outcomes, idle) if own else {}
    figures = served | {f"{one.name}.{name}": figure for one in outcomes for name, figure in one.figures.items()}
    return Report(
        format=FORMAT,
        date=date.isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - begun, 1),
        command=options.command,
        machine=machine.machine(),
        versions=machine.versions(),
        server={
            "url": client.url,
            "on_this_machine": client.where.is_local,
            "model": client.model,
            "card": card,
            "started_with": list(options.serve) if own else None,
        },
        plan=asdict(options.plan),
        seed=options.seed,
        figures={name: figure.to_json() for name, figure in figures.items()},
        stages={f"{one.name}.{name}": times for one in outcomes for name, times in _stages(one.replies).items()},
        problems=[problem for one in outcomes for problem in _problems(one.name, one.replies)],
        notes=[f"{one.name}: {note}" for one in outcomes for note in one.notes + _doubts(one.replies)],
        raw={one.name: [reply.row() for reply in one.replies] for one in outcomes},
    )


async def _run(workload: Workload, context: Context, own: Launched | None) -> _Outcome:
    """One workload, undisturbed."""
    before = machine.cpu_seconds(own.pid) if own else None
    gc.collect()
    gc.disable()  # A collection would be measured as a gap of the server.
    try:
        figures = await workload.run(context)
    finally:
        gc.enable()
    after = machine.cpu_seconds(own.pid) if own else None
    cpu_ms = None
    if workload.uniform and before is not None and after is not None and context.asked:
        cpu_ms = 1e3 * (after - before) / context.asked
    return _Outcome(workload.name, figures, context.replies, context.notes, cpu_ms)


def _of_server(own: Launched, first: Reply, outcomes: list[_Outcome], idle: float | None) -> dict[str, Figure]:
    """Figures of a server that we started; called while it runs. `idle`: GB of GPU memory in use before its start."""
    used = machine.gpu_memory_used()
    grown = None if used is None or idle is None or used <= idle else used - idle
    found: dict[str, tuple[float | None, str]] = {
        "ready": (own.seconds, "s"),
        "first_token": (first.facts.stamps[0] - own.started, "s"),
        "memory": (machine.peak_memory(own.pid), "GB"),
        "gpu_memory": (machine.gpu_memory(own.pid) or grown, "GB"),
        **{f"cpu_{one.name}": (one.cpu_ms, "ms/req") for one in outcomes},
    }
    return {f"server.{name}": Figure(value, unit) for name, (value, unit) in found.items() if value is not None}


async def _choose_model(client: Client, name: str | None) -> dict[str, Any]:
    """What the server says of the model that is asked from now on."""
    cards = await client.models()
    names = [card["id"] for card in cards]
    if not names:
        raise SaccadeError(f"{client.url} lists no model.")
    if name is not None and name not in names:
        raise SettingsError(
            f"The server has no model {name!r}.", param="model", hint=f"It has: {', '.join(names[:20])}."
        )
    client.model = name or names[0]
    return cards[names.index(client.model)]


async def _first_answer(client: Client, options: Options) -> Reply:
    """One short answer about a small picture, so that a server that can answer nothing is told at once."""
    context = Context(client, options.plan, seed=options.seed - 1, context=None, advance=lambda: None)
    question = context.question("first", [context.photo(224)], 8, 2)
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            reply = await client.ask(question)
    except TimeoutError:
        raise SaccadeError(f"{client.url} gives no answer within {FIRST_SECONDS:.0f} s.") from None
    if reply.error is not None:
        raise SaccadeError(f"{client.url} cannot answer about a small picture: {reply.error}.")
    return reply


def _stages(replies: list[Reply]) -> dict[str, dict[str, float]]:
    """Median milliseconds of each stage by label, where the server tells its `timings`."""
    by_label: dict[str, list[dict[str, float]]] = {}
    for reply in replies:
        if reply.error is None and reply.facts.timings:
            by_label.setdefault(reply.label, []).append(reply.facts.timings)
    return {
        label: {
            name: round(statistics.median(row.get(name, 0.0) for row in rows), 3)
            for name in rows[0]
            if name.endswith("_ms")
        }
        for label, rows in by_label.items()
    }


def _problems(name: str, replies: list[Reply]) -> list[dict[str, Any]]:
    """What went wrong and how often: replies that are not counted, and answers shorter than asked."""
    wrong = Counter(reply.error for reply in replies if reply.error is not None)
    wrong.update(
        f"{reply.counted} tokens instead of the {reply.asked} asked for"
        for reply in replies
        if reply.error is None and reply.counted is not None and reply.counted < reply.asked
    )
    return [{"workload": name, "count": count, "message": message} for message, count in wrong.most_common()]


def _doubts(replies: list[Reply]) -> list[str]:
    if any(reply.error is None and reply.counted is None for reply in replies):
        return ["The server does not count its tokens (usage); pieces of text were counted instead."]
    return []
