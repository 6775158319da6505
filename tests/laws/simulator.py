"""A device without arithmetic, a crowd of requests and a seed: they drive scheduler and ledgers, and every law is
checked on the way.

The fake model folds the ids, the tenant and the features of a sequence into one number per token, which lies in the
fake KV memory; the next token is a function of that number. So a token that comes out right proves that every row read
the right block, the right features and the right ids, and one that comes out wrong shows the first moment of a mix-up.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from saccade.cache.blocks import BlockLedger, chain_keys
from saccade.cache.features import FeatureLedger, salted
from saccade.engine.plan import EncodeSlice, Event, Limits, Rows, SequenceRequest, StepOutput, StepPlan, Visual
from saccade.engine.scheduler import Scheduler
from saccade.errors import ContextLengthError

VOCABULARY = 50
PAD = 50
STOP = 7
MASK = (1 << 61) - 1

Place = tuple[int, int, int, int, int]
"""First row, rows, picture, temporal patch, and what is to be seen there."""


def fold(history: int, token: int, feature: int = 0) -> int:
    """What a token leaves behind, given what came before and what is seen at its place."""
    return ((history ^ (token + 1)) * 0x9E3779B97F4A7C15 + feature) & MASK


def choose(history: int) -> int:
    return (history >> 20) % VOCABULARY


def look(content: int, row: int) -> int:
    """Features of a picture at one of its rows."""
    return (content * 1_000_003 + row * 7919 + 1) & MASK


@dataclass(slots=True, eq=False)
class Caller:
    """A request, what it must be answered, and what it has been answered."""

    request: SequenceRequest
    contents: dict[tuple[int, int], int]
    """(picture, patch) -> what is to be seen there."""
    base: int
    trail: list[int] = field(default_factory=list)
    """The fake KV of every token, running alone."""
    answer: list[int] = field(default_factory=list)
    reason: str = ""
    got: list[int] = field(default_factory=list)
    ends: int = 0
    aborted: bool = False
    poisoned: bool = False
    """Its pictures cannot be encoded."""
    nan_after: int = -1
    """Tokens after which its logits are not finite."""

    def run_alone(self, limit: int) -> None:
        """Fill in trail, answer and reason."""
        seen = {}
        for visual in self.request.visuals:
            content = self.contents[visual.picture, visual.patch]
            seen.update({visual.start + row: look(content, row) for row in range(visual.length)})
        history = self.base
        for position, token in enumerate(self.request.ids):
            history = fold(history, token, seen.get(position, 0))
            self.trail.append(history)
        while True:
            token = choose(history)
            self.answer.append(token)
            if token in self.request.stop_ids:
                self.reason = "stop"
                return
            if len(self.trail) + 1 >= limit:
                self.reason = "length"
                return
            history = fold(history, token)
            self.trail.append(history)


@dataclass(slots=True, eq=False)
class Seat:
    """What the device keeps for one slot."""

    caller: Caller
    length: int
    num_generated: int
    table: list[int] = field(default_factory=list)
    last: int = -1
    blind: bool = False
    """It has read features that were not there: what it computes means nothing."""
    is_late: bool = False
    """Nothing was chosen for its last row but `num_astray`: that row is to come again."""
    num_astray: int = 0
    """Rows behind it, which went on from a token that never was."""


class Device:
    """Obeys plans, as the runner does, and trusts nothing in them."""

    def __init__(self, limits: Limits, block_size: int, rng: random.Random, callers: dict[str, Caller]) -> None:
        self.limits = limits
        self.block_size = block_size
        self.rng = rng
        self.callers = callers
        self.kv = [-1] * (limits.num_blocks * block_size)
        self.seats: dict[int, Seat] = {}
        self.gpu: dict[bytes, int] = {}
        self.host: dict[bytes, int] = {}
        self.jobs: dict[int, tuple[int, list[int]]] = {}
        self.failed_jobs: set[int] = set()
        self.lost: set[bytes] = set()
        """Keys whose job failed: moves of them may come all the same."""
        self.oom_rate = 0.0
        self.late_rate = 0.0
        self.late: set[str] = set()
        self.refused: dict[str, str] = {}
        self.num_rows = 0

    def run(self, plan: StepPlan) -> StepOutput:
        for left in plan.left:
            assert self.seats.pop(left.slot).caller.request.id == left.id
        for new in plan.admitted:
            assert new.slot not in self.seats
            assert 0 <= new.slot < self.limits.max_running
            caller = self.callers[new.id]
            assert list(new.generated) == caller.answer[: len(new.generated)]
            self.seats[new.slot] = Seat(caller, new.num_cached, len(new.generated))
        for kind, key in plan.moves:
            self.move(kind, key)
        for job in plan.cancelled:
            assert self.jobs.pop(job, None) is not None or job in self.failed_jobs
        failed_jobs: dict[int, str] = {}
        for piece in plan.encodes:
            if piece.job not in self.failed_jobs:
                self.encode(piece, failed_jobs)
        tokens: list[int] = []
        failed: dict[str, str] = {}
        self.refused, self.late = {}, set[str]()
        assert len({rows.id for rows in plan.rows}) == len(plan.rows)
        for number, rows in enumerate(plan.rows):
            assert (number < plan.num_decodes) == (rows.length == 1 and not rows.ids)
            self.compute(rows, tokens, failed)
        assert plan.num_rows == sum(rows.length for rows in plan.rows)
        self.num_rows += plan.num_rows
        return StepOutput(plan.step, tokens, failed, failed_jobs, self.refused, frozenset(self.late))

    def move(self, kind: str, key: bytes) -> None:
        source = self.host if kind in ("promote", "drop_host") else self.gpu
        value = source.pop(key, None)
        assert value is not None or key in self.lost, f"{kind} of a key that is not there"
        if value is not None and kind == "demote":
            self.host[key] = value
        elif value is not None and kind == "promote":
            self.gpu[key] = value

    def encode(self, piece: EncodeSlice, failed: dict[int, str]) -> None:
        if piece.first == 0:
            owners = [self.callers[unit.id] for unit in piece.units]
            seated = {seat.caller.request.id for seat in self.seats.values()}
            assert {unit.id for unit in piece.units} <= seated, "pixels are gone"
            for unit, owner in zip(piece.units, owners, strict=True):
                assert unit.key not in self.gpu, "encoded twice"
                assert unit.key not in self.host, "encoded although it is in host memory"
                assert (unit.picture, unit.patch) in owner.contents
            pixels = [c.contents[u.picture, u.patch] for c, u in zip(owners, piece.units, strict=True)]
            self.jobs[piece.job] = (0, pixels)
        done, contents = self.jobs[piece.job]
        assert piece.first == done < piece.last <= self.limits.vision_blocks
        poisoned = any(self.callers[unit.id].poisoned for unit in piece.units)
        if poisoned or self.rng.random() < self.oom_rate:
            del self.jobs[piece.job]
            self.failed_jobs.add(piece.job)
            self.lost.update(unit.key for unit in piece.units)
            failed[piece.job] = "no room for the picture"
            return
        self.jobs[piece.job] = (piece.last, contents)
        if piece.last == self.limits.vision_blocks:
            del self.jobs[piece.job]
            for unit, content in zip(piece.units, contents, strict=True):
                self.gpu[unit.key] = content
                self.lost.discard(unit.key)

    def compute(self, rows: Rows, tokens: list[int], failed: dict[str, str]) -> None:
        seat = self.seats[rows.slot]
        caller, kv = seat.caller, self.kv
        assert caller.request.id == rows.id
        if seat.is_late and rows.ids:  # its last row comes once more, with what is known of it
            seat.length, seat.is_late = seat.length - 1 - seat.num_astray, False
            seat.num_astray = 0
        assert rows.start == seat.length, "rows are missing or come twice"
        assert rows.first_block == len(seat.table)
        seat.table += rows.blocks
        assert 0 not in rows.blocks
        table, trail = seat.table, caller.trail
        features = {}
        for run in rows.features:
            content = self.gpu.get(run.key)
            if content is None:
                assert run.key in self.lost, "features that are not there"
                seat.blind = True
            for row in range(run.length):
                features[run.row + row] = look(content, run.offset + row) if content is not None else 0
        ids = rows.ids or (seat.last,)
        assert len(ids) == rows.length

        def place(position: int) -> int:
            return table[position // self.block_size] * self.block_size + position % self.block_size

        history = kv[place(rows.start - 1)] if rows.start else caller.base
        if rows.start and not seat.blind and rows.start <= len(trail):
            at = self.rng.randrange(rows.start)  # attention reads all of them; one at random finds a thief in time
            assert kv[place(at)] == trail[at], "somebody wrote into its block"
            assert history == trail[rows.start - 1]
        for row, token in enumerate(ids):
            history = fold(history, token, features.get(row, 0))
            kv[place(rows.start + row)] = history
        seat.length += rows.length
        if rows.samples and (seat.is_late or self.rng.random() < self.late_rate):
            # A row behind one that was late goes on from a token that never was.
            seat.num_astray += seat.is_late
            seat.is_late = True
            seat.last = self.rng.randrange(VOCABULARY)
            self.late.add(rows.id)
            tokens.append(seat.last)
        elif rows.samples:
            seat.last = choose(history)
            if seat.num_generated == caller.nan_after:
                (failed if caller.nan_after % 2 else self.refused)[rows.id] = "not finite, or not allowed"
                seat.blind = True
            seat.num_generated += 1
            tokens.append(seat.last)


@dataclass(frozen=True, slots=True)
class Weather:
    """What one episode is like."""

    limits: Limits
    block_size: int
    gpu_tokens: int
    host_tokens: int
    keep: bool
    prefix_cache: bool
    ahead: bool
    arrivals: float
    aborts: float
    faults: float
    max_prompt: int
    max_answer: int
    pictures: int
    tenants: int
    lateness: float
    """Share of rows for which nothing is chosen in time."""

    @staticmethod
    def draw(rng: random.Random) -> Weather:
        limits = Limits(
            num_blocks=rng.choice((8, 12, 20, 40, 200)),
            max_running=rng.choice((1, 2, 4, 8)),
            max_context=rng.choice((60, 180, 400)),
            max_rows=rng.choice((3, 17, 64, 1000)),
            mixed_rows=rng.choice((1, 8, 33)),
            vision_blocks=rng.choice((2, 5, 24)),
            vision_work=rng.choice((1, 100, 3000)),
            vision_square=64,
            job_patches=rng.choice((1, 100, 400)),
            relief=rng.choice((1, 4)),
            vision_ahead=rng.choice((0, 20, 1000)),
            max_passes=rng.choice((0, 1, 4)),
        )
        return Weather(
            limits=limits,
            block_size=rng.choice((16, 16, 64)),
            gpu_tokens=rng.choice((1, 30, 60, 500)),
            host_tokens=rng.choice((0, 0, 40, 300)),
            keep=rng.random() < 0.8,
            prefix_cache=rng.random() < 0.8,
            ahead=rng.random() < 0.6,
            arrivals=rng.choice((0.04, 0.15, 0.5)),
            aborts=rng.choice((0.0, 0.005, 0.05)),
            faults=rng.choice((0.0, 0.1, 0.5)),
            max_prompt=rng.choice((20, 60, 150)),
            max_answer=rng.choice((3, 30, 80)),
            pictures=rng.choice((2, 10, 1000)),
            tenants=rng.choice((1, 2)),
            lateness=rng.choice((0, 0, 0.05, 0.5)),
        )


class Simulation:
    """One episode: `run` lets requests come for a while, waits until all are gone and checks that nothing is left."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.weather = weather = Weather.draw(rng)
        self.blocks = BlockLedger(weather.limits.num_blocks, weather.block_size, prefix_cache=weather.prefix_cache)
        self.features = FeatureLedger(
            bytes_per_token=3, gpu_bytes=3 * weather.gpu_tokens, host_bytes=3 * weather.host_tokens, keep=weather.keep
        )
        self.scheduler = Scheduler(weather.limits, self.blocks, self.features)
        self.callers: dict[str, Caller] = {}
        self.device = Device(weather.limits, weather.block_size, rng, self.callers)
        self.device.oom_rate = weather.faults / 20
        self.device.late_rate = weather.lateness
        self.outputs: deque[StepOutput] = deque()
        self.passed: dict[int, int] = {}
        """Arrival number -> later ones that were admitted while it waited."""
        self.prompts: list[list[int]] = []
        self.earlier: deque[Caller] = deque(maxlen=8)
        self.steps = 0
        self.finished = 0
        self.count = 0
        self.seen: dict[str, int] = {}
        """How often what happened."""

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.disturb()
            self.step()
        patience = 200_000
        while self.scheduler.has_work:
            patience -= 1
            assert patience, "it never ends"
            self.step()
        self.finish()

    def disturb(self) -> None:
        rng, weather = self.rng, self.weather
        if rng.random() < weather.arrivals and self.scheduler.num_waiting < 20:
            self.arrive()
        if weather.aborts and rng.random() < weather.aborts and self.callers:
            caller = rng.choice(list(self.callers.values())[-12:])
            alive = not caller.ends
            assert self.scheduler.abort(caller.request.id) == alive
            if alive:
                caller.aborted, caller.ends = True, 1
                self.tally("abort")

    def arrive(self) -> None:
        rng, weather = self.rng, self.weather
        self.count += 1
        salt = b"tenant %d" % rng.randrange(weather.tenants)
        if self.earlier and rng.random() < 0.2:
            ids, places = self.again(rng.choice(self.earlier))
        else:
            ids, places = self.compose()
        contents = {(picture, patch): what + hash_of(salt) for _, _, picture, patch, what in places}
        visuals = [
            Visual(salted(str(what), salt), start, tokens, picture, patch)
            for start, tokens, picture, patch, what in places
        ]
        name = f"r{self.count}"
        rows = [(v.key, v.start, v.length) for v in visuals]
        request = SequenceRequest(
            id=name,
            ids=tuple(ids),
            visuals=tuple(visuals),
            block_keys=chain_keys(ids, rows, salt, block_size=weather.block_size),
            salt=salt,
            max_tokens=rng.randrange(1, weather.max_answer + 1),
            stop_ids=frozenset({STOP} if rng.random() < 0.7 else ()),
        )
        if len(ids) >= self.scheduler.max_context:
            self.refuse(request)
            return
        caller = Caller(request, contents, hash_of(salt))
        caller.run_alone(min(len(ids) + request.max_tokens, self.scheduler.max_context))
        if rng.random() < weather.faults / 3:
            caller.poisoned = bool(visuals)
        elif rng.random() < weather.faults / 3:
            caller.nan_after = rng.randrange(request.max_tokens)
        self.callers[name] = caller
        self.earlier.append(caller)
        self.scheduler.submit(request)

    def compose(self) -> tuple[list[int], list[Place]]:
        """A prompt, and which picture stands where in it."""
        rng, weather = self.rng, self.weather
        ids: list[int] = []
        places: list[Place] = []
        if self.prompts and rng.random() < 0.4:  # what others have begun
            base = rng.choice(self.prompts)
            ids = base[: rng.randrange(len(base) + 1)]
        ids += [rng.randrange(VOCABULARY) for _ in range(rng.randrange(1, 1 + weather.max_prompt // 3))]
        self.prompts = [*self.prompts[-5:], ids[:]]
        for picture in range(rng.choice((0, 0, 0, 1, 1, 2))):
            what = rng.randrange(weather.pictures)
            tokens = 1 + what * 7 % 40
            for patch in range(rng.choice((1, 1, 1, 3))):
                places.append((len(ids), tokens, picture, patch, what * 8 + patch))
                ids += [PAD] * tokens
                ids += [rng.randrange(VOCABULARY) for _ in range(rng.choice((0, 1, 3)))]
        ids += [rng.randrange(VOCABULARY) for _ in range(rng.choice((1, 1, 4, weather.max_prompt)))]
        return ids, places

    def again(self, caller: Caller) -> tuple[list[int], list[Place]]:
        """The prompt of an earlier one: as it was, cut at a block, or as the next turn behind its answer."""
        request = caller.request
        places = [
            (v.start, v.length, v.picture, v.patch, caller.contents[v.picture, v.patch] - caller.base)
            for v in request.visuals
        ]
        ids, kind = list(request.ids), self.rng.randrange(3)
        last = max((v.end for v in request.visuals), default=0)
        full = len(ids) - len(ids) % self.weather.block_size
        if kind == 1 and full >= max(last, 1):
            ids = ids[:full]
        elif kind == 2:
            ids += [*caller.got, self.rng.randrange(VOCABULARY)]
        return ids, places

    def refuse(self, request: SequenceRequest) -> None:
        with pytest.raises(ContextLengthError, match=str(len(request.ids))):
            self.scheduler.submit(request)
        self.tally("refused")

    def step(self) -> None:
        self.steps += 1
        plan = self.scheduler.plan()
        self.check_passes(plan)
        self.outputs.append(self.device.run(plan))
        if not self.weather.ahead or len(self.outputs) == 2 or (plan.is_empty and self.outputs):
            while self.outputs:
                self.settle(self.outputs.popleft())
                if self.weather.ahead and not plan.is_empty:
                    break
        if plan.encodes:
            self.tally("slice")
        self.check(plan)

    def settle(self, output: StepOutput) -> None:
        for event in self.scheduler.commit(output):
            self.hear(event, output)

    def hear(self, event: Event, output: StepOutput) -> None:
        caller = self.callers[event.id]
        assert not caller.ends, "a word after the end"
        if event.token is not None:
            assert output.tokens[event.sample] == event.token
            assert event.token == caller.answer[len(caller.got)], "not what it gets when it runs alone"
            caller.got.append(event.token)
        if event.finish is None:
            return
        caller.ends += 1
        self.finished += 1
        self.tally(event.finish)
        if event.finish == "error":
            assert event.error
            poisoned = caller.poisoned or self.device.oom_rate
            assert caller.nan_after == len(caller.got) or (poisoned and caller.request.visuals), "an innocent failed"
        else:
            assert event.finish == caller.reason
            assert caller.got == caller.answer
            assert caller.nan_after < 0 or len(caller.got) <= caller.nan_after, "what is not finite came out"

    def check(self, plan: StepPlan) -> None:
        blocks, features, limits = self.blocks, self.features, self.weather.limits
        assert blocks.num_used + blocks.available == blocks.total
        assert features.gpu_used <= features.gpu_bytes or features.counters.oversized
        assert plan.num_rows - plan.num_decodes <= limits.max_rows
        scheduler = self.scheduler
        if plan.num_decodes < len(plan.rows):
            self.check_fairness(plan)
        if self.steps % 64 == 0:
            self.check_books()
        if len(self.callers) > 400:
            gone = [name for name, c in self.callers.items() if c.ends and name not in self.device_names()]
            for name in gone[:200]:
                del self.callers[name]
        assert scheduler.num_running <= limits.max_running

    def check_passes(self, plan: StepPlan) -> None:
        """Later ones that come in while an older one waits are counted."""
        for new in plan.admitted:
            order = self.scheduler._sequences[new.id].order
            self.passed.pop(order, None)
            for waiting in self.scheduler._waiting:
                left_now = any(left.id == waiting.request.id for left in plan.left)
                if waiting.order < order and not left_now:
                    self.passed[waiting.order] = self.passed.get(waiting.order, 0) + 1
                    assert self.passed[waiting.order] <= self.weather.limits.max_passes, "passed too often"

    def device_names(self) -> set[str]:
        return {seat.caller.request.id for seat in self.device.seats.values()}

    def check_fairness(self, plan: StepPlan) -> None:
        """The first prompt rows are the oldest's, and half of the budget unless it wants less or must wait to see."""
        limits = self.weather.limits
        first = plan.rows[plan.num_decodes]
        oldest = self.device.callers[first.id]
        budget = limits.mixed_rows if plan.num_decodes else limits.max_rows
        prompt = len(oldest.request.ids)
        waits_to_see = any(v.end > first.start for v in oldest.request.visuals)
        if first.start < prompt and not waits_to_see:
            assert first.length >= min(prompt - first.start, (min(budget, limits.max_rows) + 1) // 2)

    def check_books(self) -> None:
        self.blocks.check()
        self.features.check()
        scheduler, limits = self.scheduler, self.weather.limits
        holders: dict[int, int] = {}
        pins = dict(scheduler.encoder.held())
        running = scheduler._running
        for sequence in running:
            assert not sequence.ended
            for block in sequence.blocks:
                holders[block] = holders.get(block, 0) + 1
            assert sequence.consumed <= sequence.ready <= sequence.held <= len(sequence.visuals)
            for visual in sequence.visuals[sequence.consumed : sequence.held]:
                pins[visual.key] = pins.get(visual.key, 0) + 1
        assert self.blocks.held() == holders, "references"
        entries = self.features.entries()
        assert {key: count for key, (_, count) in entries.items() if count} == pins, "pins"
        assert [s.order for s in running] == sorted(s.order for s in running)
        waiting = scheduler._waiting
        assert [s.order for s in waiting] == sorted(s.order for s in waiting)
        assert all(s.passes <= limits.max_passes for s in (*waiting, *running)), "passed too often"
        slots = [s.slot for s in running]
        assert sorted([*slots, *scheduler._free_slots]) == list(range(limits.max_running)), "slots"

    def finish(self) -> None:
        self.check_books()
        assert not self.outputs
        assert not self.device.seats
        assert not self.device.jobs
        assert self.scheduler.encoder.is_idle
        assert not self.scheduler.encoder._jobs
        assert self.scheduler.num_running == self.scheduler.num_waiting == 0
        assert self.blocks.num_used == 0
        entries = self.features.entries()
        assert all(pins == 0 and tier != "promised" for tier, pins in entries.values())
        for name, there in (("gpu", self.device.gpu), ("host", self.device.host)):
            books = {key for key, (tier, _) in entries.items() if tier == name}
            assert books == there.keys(), f"what is in {name} memory is not what the ledger says"
        assert all(caller.ends == 1 for caller in self.callers.values()), "each ends exactly once"
        if self.scheduler.num_preemptions:
            self.tally("preempted", self.scheduler.num_preemptions)
        self.tally("hit", self.blocks.counters.hits)
        self.tally("feature hit", self.features.counters.hits)
        self.tally("feature wait", self.features.counters.waits)
        self.tally("promotion", self.features.counters.promotions)
        self.tally("oversized", self.features.counters.oversized)

    def tally(self, what: str, times: int = 1) -> None:
        self.seen[what] = self.seen.get(what, 0) + times


def hash_of(salt: bytes) -> int:
    """Something of the tenant in everything it computes: what leaks to another shows."""
    return int.from_bytes(salt[-4:], "little") * 977
