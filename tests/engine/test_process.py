"""The engine in a process of its own: it answers as the engine here does, whatever happens to the process."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import faulty
import numpy as np
import pytest

from saccade.engine import dispatch, supervisor
from saccade.engine.build import build
from saccade.engine.core import Engine
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.engine.spec import EngineSpec
from saccade.engine.supervisor import EngineProcess
from saccade.errors import CheckpointError, EngineError, MediaError, SaccadeError, SettingsError
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.weights import save
from saccade.text.positions import lay_out
from saccade.types import MediaSpan, Picture, Prompt, SamplingParams, TokenOut

SIDE = 64
PIXELS = SIDE * SIDE * 3


@pytest.fixture(scope="session")
def spec(model: Qwen3VL, tmp_path_factory: pytest.TempPathFactory) -> EngineSpec:
    directory = tmp_path_factory.mktemp("tiny")
    save(model, directory)
    return EngineSpec(directory, device="cpu", stop_ids=frozenset([5]), options=EngineOptions(max_running=4))


class Stage:
    """An engine process whose words are kept."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spec: EngineSpec, fault: str | None = None, **more: Any
    ) -> None:
        if timeout := more.pop("step_timeout", None):
            spec = dataclasses.replace(spec, options=dataclasses.replace(spec.options, step_timeout=timeout))
        if fault:
            more["program"] = [faulty.__file__, fault]
        self.outs: Queue[TokenOut] = Queue()
        self.causes: list[BaseException | None] = []
        self.host = EngineProcess(**more)
        self.host.load(spec)
        self.host.start(loop, emit=lambda outs: [self.outs.put(out) for out in outs], ended=self.causes.append)

    def ready(self) -> Stage:
        self.host.facts()
        return self

    @property
    def pid(self) -> int:
        assert self.host._serving
        return self.host._serving.process.pid

    def submit(self, *requests: EngineRequest) -> None:
        for request in requests:
            self.host.submit(request)

    def until_all_end(self, *requests: EngineRequest, timeout: float = 30) -> dict[str, list[TokenOut]]:
        """What comes of each of these requests, whichever is told first."""
        told: dict[str, list[TokenOut]] = {request.id: [] for request in requests}
        while not all(outs and outs[-1].finish_reason for outs in told.values()):
            out = self.outs.get(timeout=timeout)
            told[out.request_id].append(out)
        return told

    def ask(self, *requests: EngineRequest) -> dict[str, list[TokenOut]]:
        self.submit(*requests)
        return self.until_all_end(*requests)

    def first(self) -> TokenOut:
        return self.outs.get(timeout=20)


@pytest.fixture
def stage(loop: asyncio.AbstractEventLoop, spec: EngineSpec) -> Iterator[Callable[..., Stage]]:
    """Makes stages that are closed in the end."""
    made: list[Stage] = []

    def make(fault: str | None = None, **more: Any) -> Stage:
        made.append(Stage(loop, spec, fault, **more))
        return made[-1]

    yield make
    for one in made:
        one.host.close()


@pytest.fixture(scope="module")
def sound(loop: asyncio.AbstractEventLoop, spec: EngineSpec) -> Iterator[Stage]:
    """A process without a fault, for tests that leave it as it was."""
    stage = Stage(loop, spec).ready()
    yield stage
    stage.host.close()


def picture(seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    return Picture("image", pixels, (1, SIDE // 16, SIDE // 16), (), (SIDE, SIDE), str(seed))


def request(id: str, *pictures: Picture, first: int = 20, length: int = 7, **sampling: Any) -> EngineRequest:
    """Greedy, 12 tokens. `first` is the first id of the prompt."""
    ids, spans = [first, *range(20, 19 + length)], []
    for number, shown in enumerate(pictures):
        spans.append(MediaSpan(len(ids), shown.num_tokens, number, 0))
        ids += [60] * shown.num_tokens + [30]
    positions, delta = lay_out(len(ids), spans, [shown.grid for shown in pictures])
    params = SamplingParams(**({"temperature": 0.0, "max_tokens": 12, "ignore_eos": True} | sampling))
    return EngineRequest(id, Prompt(tuple(ids), tuple(spans), positions, delta), pictures, params)


def answers(engine: Engine, *requests: EngineRequest) -> dict[str, list[TokenOut]]:
    """What an engine in this process makes of them."""
    told: dict[str, list[TokenOut]] = {request.id: [] for request in requests}
    for one in requests:
        engine.submit(one)
    while engine.has_work:
        for out in engine.step():
            told[out.request_id].append(out)
    return told


def plain(told: dict[str, list[TokenOut]]) -> dict[str, list[TokenOut]]:
    """Without times."""
    return {id: [dataclasses.replace(out, times=None) for out in outs] for id, outs in told.items()}


def tokens(outs: list[TokenOut]) -> list[int | None]:
    return [out.token for out in outs]


def eventually(true: Callable[[], object], timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def children() -> set[int]:
    """Processes that this one has started and that are not dead."""
    found = {int(word) for path in Path("/proc/self/task").glob("*/children") for word in path.read_text().split()}
    return {pid for pid in found if not gone(pid)}


def gone(pid: int) -> bool:
    """Whether a process is no more, or only waits for somebody to ask how it ended."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def left_clean(stage: Stage) -> bool:
    """Whether nothing of any request is left on either side."""
    stats, dispatch = stage.host.stats(), stage.host._dispatch
    there = stats is not None and (stats.running, stats.waiting, stats.kv_blocks_used) == (0, 0, 0)
    return there and (dispatch.num_open, dispatch.num_sent, dispatch.bytes_used) == (0, 0, 0)


# --- it answers ------------------------------------------------------------------------------------------------------


def test_the_answers_are_those_of_an_engine_here(spec: EngineSpec, sound: Stage) -> None:
    requests = [
        request("text", max_tokens=30),
        request("one", picture(1), length=9),
        request("more", picture(2), picture(1), picture(3), logprobs=3),
        request("drawn", picture(4), temperature=1.5, seed=7, max_tokens=40),
        request("stopped", picture(5), length=3, ignore_eos=False, max_tokens=100),
    ]
    engine, _ = build(spec)
    for one in requests:  # alone: the last bits of sums differ in company
        assert plain(sound.ask(one)) == plain(answers(engine, one))
    told = plain(sound.ask(*requests, too_long := request("too long", length=600)))
    (refused,) = told.pop(too_long.id)
    assert refused.finish_reason == "error"
    assert "600" in (refused.error or "")
    assert {id: tokens(outs) for id, outs in told.items()} == {
        id: tokens(outs) for id, outs in answers(engine, *requests).items()
    }
    assert len(set(tokens(told["drawn"]))) > 10, "a story of few words would prove little"


def test_the_first_token_carries_times(sound: Stage) -> None:
    (told,) = sound.ask(request("timed", picture(11))).values()
    assert [out.times is None for out in told] == [False] + [True] * 11
    assert told[0].times
    assert told[0].times.vision > 0


def test_two_hundred_pictures_leave_nothing(sound: Stage) -> None:
    requests = [request(f"p{n}", picture(100 + n), max_tokens=2) for n in range(200)]
    told = sound.ask(*requests)
    assert {out.finish_reason for outs in told.values() for out in outs[-1:]} == {"length"}
    eventually(lambda: left_clean(sound))


def test_facts(spec: EngineSpec, sound: Stage) -> None:
    assert sound.host.facts() == build(spec)[1]


def test_signals_are_for_the_gateway(sound: Stage) -> None:
    asked = request("signalled", max_tokens=300)
    sound.submit(asked)
    sound.first()
    pid = sound.pid
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert os.getpgid(pid) != os.getpgid(0), "Ctrl-C in a terminal does not even reach it"
    (told,) = sound.until_all_end(asked).values()
    assert told[-1].finish_reason == "length"
    assert sound.pid == pid


# --- it is aborted ---------------------------------------------------------------------------------------------------


def test_aborts_in_every_state_free_everything(stage: Callable[..., Stage]) -> None:
    early, late = request("early", picture(1)), request("late", picture(2))
    slow = stage("slow", arena_bytes=3 * PIXELS)
    slow.submit(early, late)
    slow.host.abort("early")  # before the model is loaded
    slow.host.abort("unknown")
    assert [out.finish_reason for out in slow.until_all_end(early)["early"]] == ["abort"]
    slow.until_all_end(late)
    slow.host.abort("late")  # after its end
    requests = [request(f"r{n}", picture(n), max_tokens=100) for n in range(6)]  # half of them find no room
    slow.submit(*requests)
    slow.first()
    for one in requests:
        slow.host.abort(one.id)
    requests.remove(next(one for one in requests if one.id == "r0"))
    told = slow.until_all_end(*requests, request("r0"))
    assert {outs[-1].finish_reason for outs in told.values()} == {"abort"}
    eventually(lambda: left_clean(slow))
    assert len(tokens(slow.ask(request("after", picture(9), max_tokens=2))["after"])) == 2


# --- the arena is full -----------------------------------------------------------------------------------------------


def test_pictures_wait_for_room_and_text_does_not(stage: Callable[..., Stage]) -> None:
    slow = stage("slow", arena_bytes=2 * PIXELS).ready()
    pictures = [request(f"r{n}", picture(n), picture(n + 1), max_tokens=3) for n in range(3)]
    text = request("text", max_tokens=1)
    slow.submit(*pictures, text)
    told: dict[str, list[TokenOut]] = {one.id: [] for one in (*pictures, text)}
    ends = []
    while len(ends) < 4:
        out = slow.first()
        told[out.request_id].append(out)
        if out.finish_reason:
            ends.append(out.request_id)
    assert ends == ["text", "r0", "r1", "r2"]
    assert {outs[-1].finish_reason for outs in told.values()} == {"length"}
    with pytest.raises(MediaError, match=f"{2 * PIXELS:,}"):
        slow.submit(request("large", picture(1), picture(2), picture(3)))
    eventually(lambda: left_clean(slow))


# --- it dies ---------------------------------------------------------------------------------------------------------


def test_a_kill_ends_streams_and_keeps_the_others(spec: EngineSpec, stage: Callable[..., Stage]) -> None:
    slow = stage("slow").ready()
    streams = [request(f"s{n}", picture(n), max_tokens=400) for n in range(4)]
    queued = [request(f"q{n}", picture(10 + n), first=20 + n, max_tokens=3) for n in range(3)]
    slow.submit(*streams)
    begun: set[str] = set()
    while len(begun) < 4:
        begun.add(slow.first().request_id)
    slow.submit(*queued)
    time.sleep(0.2)  # two of the engine's steps; it runs four at once
    killed = slow.pid
    os.kill(killed, signal.SIGKILL)
    at = time.monotonic()
    told: dict[str, list[TokenOut]] = {one.id: [] for one in (*streams, *queued)}
    while not all(told[one.id] and told[one.id][-1].finish_reason for one in streams):
        out = slow.first()
        told[out.request_id].append(out)
    assert time.monotonic() - at < 3
    assert {told[one.id][-1].error for one in streams} == {dispatch.BROKEN}
    assert not slow.host.ready
    assert slow.host.alive
    order = []
    while not all(told[one.id] and told[one.id][-1].finish_reason for one in queued):
        out = slow.first()
        told[out.request_id].append(out)
        order += [out.request_id] if out.times else []
    assert order == ["q0", "q1", "q2"]
    expected = answers(build(spec)[0], *queued)
    assert {one.id: tokens(told[one.id]) for one in queued} == {id: tokens(outs) for id, outs in expected.items()}
    assert slow.pid != killed
    eventually(lambda: left_clean(slow))


def test_a_kill_while_idle_is_mended_each_time(stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MAX_FAILURES", 2)
    idle = stage().ready()
    for number in range(3):
        assert len(idle.ask(asked := request(f"r{number}", picture(1)))[asked.id]) == 12
        os.kill(idle.pid, signal.SIGKILL)
        eventually(lambda: not idle.host.ready)
    assert len(idle.ask(request("last"))["last"]) == 12


def test_poison_harms_none_that_has_not_begun(stage: Callable[..., Stage]) -> None:
    poisoned = stage("poison")
    poison = request("poison", picture(1), first=faulty.POISON)
    others = [request(f"r{n}", picture(2 + n)) for n in range(3)]
    poisoned.submit(poison, *others)
    told = poisoned.until_all_end(poison, *others)
    assert [(out.finish_reason, out.error) for out in told.pop("poison")] == [("error", dispatch.POISON)]
    assert [len(outs) for outs in told.values()] == [12, 12, 12]
    eventually(lambda: left_clean(poisoned))


def test_what_hangs_is_killed(stage: Callable[..., Stage], capfd: pytest.CaptureFixture[str]) -> None:
    sleepy = stage("sleep", step_timeout=0.5)
    asked = request("sleepy", first=faulty.SLEEP)
    told = sleepy.ask(asked)["sleepy"]
    assert [(out.finish_reason, out.error) for out in told] == [("error", dispatch.POISON)]
    assert "in faulty_step" in capfd.readouterr().err, "it says where it was"


def test_an_abort_is_not_forgotten_with_the_process(stage: Callable[..., Stage]) -> None:
    sleepy = stage("sleep", step_timeout=1.0).ready()
    asked = request("sleepy", first=faulty.SLEEP)
    sleepy.submit(asked)
    eventually(lambda: sleepy.host._dispatch.num_sent)
    sleepy.host.abort("sleepy")
    assert [out.finish_reason for out in sleepy.until_all_end(asked)["sleepy"]] == ["abort"]


def test_one_that_dies_again_and_again_is_given_up(
    stage: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "MAX_FAILURES", 2)
    doomed = stage(f"once:{tmp_path / 'used'}").ready()
    doomed.ask(request("before"))
    os.kill(doomed.pid, signal.SIGKILL)
    eventually(lambda: doomed.causes)
    assert [type(cause) for cause in doomed.causes] == [EngineError]
    assert "ended with code 3" in str(doomed.causes[0])
    assert not doomed.host.alive
    doomed.host.close()
    assert len(doomed.causes) == 1


# --- it cannot be loaded ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"directory": Path("nowhere")},
        {"device": "cuda:99"},
    ],
)
def test_an_error_at_load_is_the_same_error(
    loop: asyncio.AbstractEventLoop, spec: EngineSpec, change: dict[str, Any]
) -> None:
    wrong = dataclasses.replace(spec, **change)
    with pytest.raises(SaccadeError) as expected:
        build(wrong)
    stage = Stage(loop, wrong)
    for _ in range(2):
        with pytest.raises(SaccadeError) as found:
            stage.host.facts()
        assert type(found.value) in (CheckpointError, SettingsError)
        assert type(found.value) is type(expected.value)
        assert vars(found.value) == vars(expected.value)
    assert not stage.host.alive
    stage.host.close()


@pytest.mark.parametrize(("fault", "said"), [("broken", "ZeroDivisionError: planted"), ("killed", "SIGKILL")])
def test_an_unknown_error_at_load(stage: Callable[..., Stage], fault: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        stage(fault).host.facts()


def test_closing_while_it_loads(stage: Callable[..., Stage]) -> None:
    before = children()
    loading = stage()
    (pid,) = children() - before
    loading.host.close()
    assert gone(pid)
    with pytest.raises(EngineError, match="closed"):
        loading.host.facts()


# --- its parent dies -------------------------------------------------------------------------------------------------

PARENT = """
import os, sys
from pathlib import Path
from saccade.engine.spec import EngineSpec
from saccade.engine.supervisor import EngineProcess
engine = EngineProcess()
engine.load(EngineSpec(Path(sys.argv[1]), device="cpu"))
engine.facts()
print(*(child for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="not Linux")
def test_the_death_of_the_gateway_leaves_nothing(spec: EngineSpec) -> None:
    before = set(os.listdir("/dev/shm"))
    done = subprocess.run([sys.executable, "-c", PARENT, spec.directory], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    eventually(lambda: gone(int(done.stdout)), timeout=3)
    assert set(os.listdir("/dev/shm")) == before


def test_the_engine_process_knows_no_server() -> None:
    code = "import sys, saccade.engine.process, saccade.engine.build; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    rooms = {name.split(".")[1] for name in done.stdout.split() if name.startswith("saccade.")}
    assert rooms == {"engine", "cache", "model", "kernels", "types", "errors", "logs"}


def test_a_gateway_needs_no_torch() -> None:
    code = "import sys, saccade.backends.native; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
