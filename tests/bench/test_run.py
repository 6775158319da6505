"""Whole runs against servers whose speed and faults are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest
from wire_samples import DONE, MODELS, chunked, piece, plain, usage

from saccade.backends.base import Backend, Echo
from saccade.bench.plan import FULL, QUICK, Plan
from saccade.bench.report import Report
from saccade.bench.run import Options, chosen, measure
from saccade.bench.workloads import WORKLOADS
from saccade.errors import EngineError, SaccadeError, SettingsError
from saccade.types import Delta, Request

Serve = Callable[[Backend], str]
Scripted = Callable[[Any], str]

TINY = Plan(
    side=64,
    words=8,
    short_words=4,
    samples=3,
    few_samples=2,
    warmup=1,
    decode_tokens=12,
    decode_runs=2,
    streams=3,
    stream_tokens=60,
    arrivals=2,
    arrival_seconds=0.01,
    settle_seconds=0.02,
    concurrency=(2, 4),
    rounds=2,
    load_tokens=5,
    sides=(32, 64),
    turns=3,
    turn_tokens=4,
    screen=(160, 96),
    screens=4,
    frame=(64, 64),
    frames=4,
    frame_tokens=3,
    frames_in_flight=(1, 2),
    prompts=(256, 100_000),
)


class Listener:
    """Counts."""

    def __init__(self) -> None:
        self.announced: dict[str, int] = {}
        self.heard: dict[str, int] = {}

    def begin(self, title: str, count: int) -> Callable[[], None]:
        self.announced[title], self.heard[title] = count, 0

        def advance() -> None:
            self.heard[title] += 1

        return advance


def run(url: str, *only: str, plan: Plan = TINY, listener: Listener | None = None, **more: Any) -> Report:
    return asyncio.run(measure(Options(url=url, only=only, plan=plan, **more), listener or Listener()))


# --- the ruler measures right ----------------------------------------------------------------------------------------


def test_everything_is_measured(serve: Serve) -> None:
    listener = Listener()
    report = run(serve(Echo(delay=0.001)), listener=listener)
    assert report.problems == []
    assert all(figure["value"] is not None for figure in report.figures.values())
    assert {name.partition(".")[0] for name in report.figures} == {workload.name for workload in WORKLOADS}
    assert {
        "ttft.new_picture", "ttft.same_picture", "ttft.text", "ttft.1080p", "decode.token", "decode.rate",
        "ttft.moved_picture",
        "stall.quiet.p99", "stall.pictures.p50", "stall.pictures.arrival_ttft", "load.c4.unique.rate",
        "load.c2.repeat60.ttft_p99", "load.c4.repeat60.gap_p99", "sizes.32", "turns.first", "turns.later",
        "screens.new", "screens.same", "frames.f2.rate", "frames.f1.answer_p99", "prompts.256.ttft",
    } <= set(report.figures)  # fmt: skip
    assert report.notes == ["prompts: 100000 tokens left out: the context is 8192 tokens."]
    assert report.server["model"] == "echo"
    assert report.server["card"]["max_model_len"] == 8192
    assert {name: len(rows) for name, rows in report.raw.items()} == {
        workload.name: listener.heard[workload.title] for workload in WORKLOADS
    }
    for workload in WORKLOADS:  # Only the prompts that do not fit were announced and not asked.
        missing = TINY.few_samples if workload.name == "prompts" else 0
        assert listener.heard[workload.title] == listener.announced[workload.title] - missing


def test_a_known_delay_is_measured(serve: Serve) -> None:
    delay = 0.04
    report = run(serve(Echo(delay=delay)), "ttft", "decode", "stall", plan=replace(TINY, stream_tokens=20))
    for name in ("ttft.new_picture", "ttft.text", "decode.token", "stall.quiet.p50", "stall.pictures.p50"):
        value = report.value(name)
        assert value is not None
        assert 0.98 * 1e3 * delay < value < 1.5e3 * delay  # Other work on this machine can only make it longer.
    assert report.value("decode.rate") == pytest.approx(1 / delay, rel=0.4)
    rows = [row for row in report.raw["decode"] if row["error"] is None]
    assert [len(row["pieces_ms"]) for row in rows] == [12, 12]


def test_load_is_a_closed_loop(serve: Serve) -> None:
    delay = 0.02
    report = run(serve(Echo(delay=delay)), "load")
    for workers in (2, 4):  # Each worker is busy for 5 tokens of 20 ms each.
        rate, tokens = (report.value(f"load.c{workers}.unique.{key}") for key in ("rate", "tokens"))
        assert rate is not None
        assert 0.4 * workers / (5 * delay) < rate < 1.02 * workers / (5 * delay)
        assert tokens == pytest.approx(5 * rate, rel=1e-4)


def test_pictures_are_new_unless_they_should_not_be(serve: Serve) -> None:
    seen: list[tuple[str, ...]] = []

    class Listening(Echo):
        def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            seen.append(tuple(str(media.url) for media in request.media))
            return super().generate(request)

    run(serve(Listening()), "ttft")
    shown = [one[0] for one in seen if one]
    same = max(shown, key=shown.count)
    assert shown.count(same) == 2 * TINY.samples + 1  # Once to be known, then measured, behind other words too.
    assert len(set(shown)) == len(shown) - 2 * TINY.samples
    assert sum(not one for one in seen) == TINY.samples


def test_another_run_shows_other_pictures(serve: Serve) -> None:
    assert Options().seed != Options().seed


def test_the_same_seed_asks_the_same(serve: Serve) -> None:
    asked: list[list[str]] = []

    class Listening(Echo):
        def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            asked[-1].append(str(request.messages))
            return super().generate(request)

    url = serve(Listening())
    for _ in range(2):
        asked.append([])
        run(url, "ttft", "turns", "screens", seed=5)
    assert asked[0] == asked[1]


def test_turns_hold_all_that_was_said(serve: Serve) -> None:
    lengths: list[int] = []

    class Listening(Echo):
        def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            lengths.append(len(request.messages))
            return super().generate(request)

    run(serve(Listening()), "turns")
    assert lengths[1:] == [1, 3, 5] * TINY.few_samples


# --- what goes wrong is told -----------------------------------------------------------------------------------------


def test_failures_are_counted_and_not_measured(serve: Serve) -> None:
    class Flaky(Echo):
        calls = 0

        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            self.calls += 1
            turn = self.calls % 3 if self.calls > 2 else None
            if turn == 0:
                raise EngineError("Out of luck.")
            async for delta in super().generate(request):
                yield delta
                if turn == 1:
                    raise EngineError("Broke off.")

    report = run(serve(Flaky()), "load")
    asked = 2 * 2 * (2 + 4)
    wrong = {problem["message"]: problem["count"] for problem in report.problems}
    assert set(wrong) == {"status 500: Out of luck.", "error event: Broke off."}
    assert sum(wrong.values()) == pytest.approx(asked * 2 / 3, abs=1)
    assert sum(row["error"] is not None for row in report.raw["load"]) == sum(wrong.values())
    whole = run(serve(Echo()), "load").value("load.c4.unique.rate")
    part = report.value("load.c4.unique.rate")
    assert whole is not None
    assert part is not None
    assert part < whole  # A request that failed is none that was served.


def test_a_server_that_answers_nothing_after_the_first(scripted: Scripted) -> None:
    posts = 0

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        posts += not request.startswith(b"GET")
        good = chunked(piece("a"), piece("b"), usage(4, 2), DONE)
        writer.write(MODELS if request.startswith(b"GET") else good if posts == 1 else plain(b"", "500 Oh"))

    report = run(scripted(script))
    assert {figure["value"] for figure in report.figures.values()} == {None}
    assert {problem["message"] for problem in report.problems} == {"status 500: nothing"}


def test_pictures_that_never_met_the_streams_are_told(serve: Serve) -> None:
    class Polite(Echo):
        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            if request.media and request.sampling.max_tokens == 8:
                await asyncio.sleep(0.4)
            async for delta in super().generate(request):
                yield delta

    report = run(serve(Polite(delay=0.001)), "stall", plan=replace(TINY, settle_seconds=0.0))
    assert any("of 2 pictures were answered only after all streams" in note for note in report.notes)


def test_fewer_tokens_than_asked_are_told(scripted: Scripted) -> None:
    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        answer = chunked(piece("a"), piece("b", "stop"), usage(4, 2), DONE)
        writer.write(MODELS if request.startswith(b"GET") else answer)

    report = run(scripted(script), "decode")
    assert report.problems == [{"workload": "decode", "count": 2, "message": "2 tokens instead of the 12 asked for"}]


def test_a_server_that_does_not_count(scripted: Scripted) -> None:
    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(MODELS if request.startswith(b"GET") else chunked(piece("a"), piece("b"), DONE))

    report = run(scripted(script), "decode", "prompts")
    assert report.problems == []
    assert any("pieces of text were counted" in note for note in report.notes)
    assert "prompts: Left out: the server does not tell how long prompts are." in report.notes
    assert not any(name.startswith("prompts") for name in report.figures)


def test_a_server_quicker_than_the_clock(scripted: Scripted) -> None:
    """All pieces in one packet: no time passes between them, and nothing is divided by it."""

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        answer = chunked(*[piece("x")] * 12, usage(4, 60), DONE)
        writer.write(MODELS if request.startswith(b"GET") else answer)

    report = run(scripted(script), "decode", "stall", "load")
    assert report.value("decode.token") == 0
    assert report.value("decode.rate") is None
    assert report.value("stall.quiet.max") == 0
    assert report.problems == []


@pytest.mark.parametrize(
    ("post", "message"),
    [
        (plain(b'{"error": {"message": "No pictures here."}}', "400 Bad"), "No pictures here"),
        (chunked(piece("a")), "ended without its last event"),
    ],
)
def test_a_server_that_cannot_answer_at_all(scripted: Scripted, post: bytes, message: str) -> None:
    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(MODELS if request.startswith(b"GET") else post)

    with pytest.raises(SaccadeError, match=f"cannot answer about a small picture: .*{message}"):
        run(scripted(script))


def test_nobody_is_there() -> None:
    with pytest.raises(SaccadeError, match="does not list its models: no connection"):
        run("http://127.0.0.1:9")


def test_names(serve: Serve) -> None:
    with pytest.raises(SettingsError, match="no workload 'tftt'"):
        chosen(["tftt"])
    assert [workload.name for workload in chosen(["load", "ttft", "load"])] == ["load", "ttft"]
    assert chosen([]) == list(WORKLOADS)
    with pytest.raises(SettingsError, match="no model 'other'"):
        run(serve(Echo()), model="other")


# --- plans -----------------------------------------------------------------------------------------------------------


def test_the_full_plan_holds_the_workloads_of_the_published_figures() -> None:
    assert (FULL.side, FULL.words, FULL.short_words, FULL.samples, FULL.few_samples) == (1024, 512, 64, 11, 5)
    assert (FULL.decode_tokens, FULL.decode_runs) == (512, 3)
    assert (FULL.streams, FULL.stream_tokens, FULL.arrivals, FULL.arrival_seconds) == (8, 1500, 24, 0.15)
    assert (FULL.concurrency, FULL.rounds, FULL.load_tokens) == ((8, 32, 128), 3, 64)


def test_every_workload_of_both_plans_asks_something() -> None:
    for plan in (FULL, QUICK):
        assert all(workload.count(plan) > 0 for workload in WORKLOADS)
