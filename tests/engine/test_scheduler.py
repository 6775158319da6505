"""Plans as values: what a step does, for whom and in which order; laws/test_simulator has the laws under a crowd."""

from __future__ import annotations

import dataclasses

import pytest

from saccade.cache.blocks import BlockLedger, chain_keys
from saccade.cache.features import FeatureLedger, salted
from saccade.engine.plan import Event, Limits, SequenceRequest, StepOutput, StepPlan, Visual
from saccade.engine.scheduler import WORTH_WAITING, Scheduler
from saccade.errors import ContextLengthError, RequestError

STOP = 9
TOKEN = 5
SIZE = 16
LIMITS = Limits(
    num_blocks=101, max_running=8, max_rows=256, mixed_rows=32, vision_blocks=10, vision_work=4000, relief=99
)


def scheduler(*, gpu_tokens: int = 10_000, keep: bool = True, block_size: int = SIZE, **changes: int) -> Scheduler:
    limits = dataclasses.replace(LIMITS, **changes)
    features = FeatureLedger(bytes_per_token=1, gpu_bytes=gpu_tokens, keep=keep)
    return Scheduler(limits, BlockLedger(limits.num_blocks, block_size), features)


def request(
    name: str,
    length: int,
    *pictures: tuple[str, int, int],
    max_tokens: int = 100,
    salt: bytes = b"",
    first_id: int = 0,
    block_size: int = SIZE,
) -> SequenceRequest:
    """A prompt of `length` tokens with pictures (name, first row, rows)."""
    ids = tuple(first_id + i for i in range(length))
    visuals = tuple(
        Visual(salted(what, salt), start, rows, index, 0) for index, (what, start, rows) in enumerate(pictures)
    )
    keys = chain_keys(ids, [(v.key, v.start, v.length) for v in visuals], salt, block_size=block_size)
    return SequenceRequest(name, ids, visuals, keys, salt, max_tokens, frozenset({STOP}))


def output(plan: StepPlan, **tokens: int) -> StepOutput:
    return StepOutput(plan.step, [tokens.get(rows.id, TOKEN) for rows in plan.rows if rows.samples])


def step(this: Scheduler, **tokens: int) -> tuple[StepPlan, list[Event]]:
    plan = this.plan()
    return plan, this.commit(output(plan, **tokens))


def lengths(plan: StepPlan) -> dict[str, int]:
    return {rows.id: rows.length for rows in plan.rows}


def idle(this: Scheduler) -> bool:
    """Nothing is held for anybody, once what left has been told."""
    while this.has_work:
        plan, _ = step(this)
        assert plan.is_empty
    this.blocks.check()
    this.encoder.features.check()
    pins = [pins for _, pins in this.encoder.features.entries().values()]
    return not (this.blocks.num_used or this.blocks.num_expected or this.num_running or this.num_waiting or any(pins))


# --- tokens catch up ---


def test_a_prompt_is_cut_by_the_budget_and_then_decodes() -> None:
    this = scheduler(max_rows=30)
    this.submit(request("a", 70, max_tokens=3))
    seen = []
    while this.num_running or this.num_waiting:
        plan, events = step(this)
        rows = plan.rows[0]
        seen.append((rows.start, rows.length, len(rows.ids), rows.first_block, len(rows.blocks), rows.samples))
    assert seen == [
        (0, 30, 30, 0, 5, False),
        (30, 30, 30, 5, 0, False),
        (60, 10, 10, 5, 0, True),
        (70, 1, 0, 5, 0, True),
        (71, 1, 0, 5, 0, True),
    ]
    assert events == [Event("a", TOKEN, "length", None, 0)]
    assert idle(this)


def test_a_stop_id_ends_and_the_event_says_which_sample_it_was() -> None:
    this = scheduler()
    this.submit(request("a", 5, first_id=100))
    this.submit(request("b", 5, first_id=200))
    step(this)
    _, events = step(this, b=STOP)
    assert events == [Event("a", TOKEN, None, None, 0), Event("b", STOP, "stop", None, 1)]
    plan, _ = step(this)
    assert [left.id for left in plan.left] == ["b"]
    assert list(lengths(plan)) == ["a"]


def test_running_streams_come_before_prompts_and_prompts_get_the_small_budget() -> None:
    this = scheduler()
    this.submit(request("a", 20))
    step(this)
    this.submit(request("b", 200, first_id=500))
    plan, _ = step(this)
    assert lengths(plan) == {"a": 1, "b": 32}
    assert (plan.num_decodes, plan.num_rows) == (1, 33)


def test_a_backlog_widens_the_budget() -> None:
    this = scheduler(relief=2, max_running=4)
    this.submit(request("a", 20))
    step(this)
    for name in "bcdef":
        this.submit(request(name, 200, first_id=1000 * ord(name)))
    plan, _ = step(this)
    assert plan.num_rows - plan.num_decodes == 32 * (1 + 5 // 2)


def test_one_plan_ahead_wastes_one_row_of_a_sequence_that_has_ended() -> None:
    this = scheduler()
    this.submit(request("a", 5))
    first = this.plan()
    second = this.plan()
    assert (second.rows[0].start, second.rows[0].ids) == (5, ())
    assert this.commit(output(first, a=STOP)) == [Event("a", STOP, "stop", None, 0)]
    third = this.plan()
    assert [left.id for left in third.left] == ["a"]
    assert this.commit(output(second)) == []
    assert this.commit(output(third)) == []
    assert idle(this)


def test_one_plan_ahead_never_plans_beyond_the_last_token() -> None:
    this = scheduler()
    this.submit(request("a", 5, max_tokens=2))
    plans = [this.plan(), this.plan()]
    assert this.commit(output(plans[0]))[0].finish is None
    assert this.plan().is_empty
    assert this.commit(output(plans[1]))[0].finish == "length"


def test_a_third_plan_needs_a_commit() -> None:
    this = scheduler()
    this.plan()
    this.plan()
    with pytest.raises(AssertionError):
        this.plan()


# --- who may come in ---


def test_what_can_never_fit_is_refused_with_the_numbers() -> None:
    this = scheduler(num_blocks=11)
    with pytest.raises(ContextLengthError, match=r"160 tokens .* keys and values holds 160"):
        this.submit(request("a", 160))
    small = scheduler(max_context=100)
    with pytest.raises(ContextLengthError, match=r"100 tokens .* the context holds 100"):
        small.submit(request("a", 100))
    with pytest.raises(RequestError, match="max_tokens"):
        small.submit(request("a", 10, max_tokens=0))
    assert not small.has_work


def test_an_answer_ends_where_the_memory_ends() -> None:
    this = scheduler(num_blocks=3)
    this.submit(request("a", 30, max_tokens=1000))
    tokens = 0
    while this.has_work:
        _, events = step(this)
        tokens += len(events)
    assert tokens == 2 * SIZE - 30


def test_blocks_decide_who_comes_in_and_the_oldest_waits_a_bounded_time() -> None:
    """A huge prompt waits for blocks; short ones pass it, `max_passes` times and no more."""
    this = scheduler(num_blocks=13, max_passes=3)
    this.submit(request("runs", 64, first_id=0))
    step(this)
    this.submit(request("huge", 160, first_id=1000))
    for number in range(6):
        this.submit(request(f"chat {number}", 10, max_tokens=50, first_id=2000 + 100 * number))
    admitted = []
    for _ in range(20):
        plan, _ = step(this)
        admitted += [new.id for new in plan.admitted]
    assert admitted == ["chat 0", "chat 1", "chat 2"]
    for name in ("runs", *admitted):
        this.abort(name)
    plan, _ = step(this)
    assert plan.admitted[0].id == "huge"


def test_a_short_chat_passes_a_huge_prompt_and_the_huge_one_keeps_half() -> None:
    this = scheduler(num_blocks=1001)
    this.submit(request("stream", 5, max_tokens=900, first_id=9000))
    step(this)
    this.submit(request("huge", 5000, first_id=10_000))
    step(this)
    for number in range(300):  # a new chat in every step, for longer than the huge one should take
        this.submit(request(f"chat {number}", 16, max_tokens=1, first_id=100_000 + 100 * number))
        plan, _ = step(this)
        assert lengths(plan)["stream"] == 1
        assert lengths(plan)[f"chat {number}"] == 16
        assert lengths(plan)["huge"] == 16
    # The bound of the constitution: 2 / budget steps for each row, so 2 * 5000 / 32.
    for _ in range(2 * 5000 // 32 - 300 + 1):
        plan, _ = step(this)
    assert "huge" not in {rows.id for rows in plan.rows[plan.num_decodes :]}


def test_the_latest_gives_its_blocks_back_and_goes_on_where_it_was() -> None:
    this = scheduler(num_blocks=6)
    this.submit(request("old", 32, max_tokens=30))
    this.submit(request("new", 30, max_tokens=30, first_id=100))
    answers: dict[str, list[int]] = {"old": [], "new": []}
    admitted: list[tuple[str, int, int]] = []
    number = 0
    while this.has_work:
        plan = this.plan()
        admitted += [(a.id, len(a.generated), a.num_cached) for a in plan.admitted]
        tokens = [100 * (rows.id == "new") + rows.start + rows.length for rows in plan.rows if rows.samples]
        for event in this.commit(StepOutput(plan.step, tokens)):
            assert event.token is not None
            answers[event.id].append(event.token)
        number += 1
    assert this.num_preemptions == 1
    assert admitted[:2] == [("old", 0, 0), ("new", 0, 0)]
    (name, generated, cached) = admitted[2]
    assert name == "new"
    assert 0 < generated < 30
    assert cached % SIZE == 0
    assert answers == {"old": list(range(32, 62)), "new": list(range(130, 160))}
    assert idle(this)


# --- what is shared ---


def test_a_prefix_is_found_again_but_never_the_whole_prompt() -> None:
    this = scheduler()
    for name, cached in (("a", 0), ("b", 48)):
        this.submit(request(name, 64, max_tokens=1))
        plan, _ = step(this)
        assert plan.admitted[0].num_cached == cached
        assert plan.rows[0].start == cached
        assert len(plan.rows[0].blocks) == 4
    this.submit(request("c", 64, max_tokens=1, salt=b"another tenant"))
    assert step(this)[0].admitted[0].num_cached == 0


@pytest.mark.parametrize("size", [16, 64])
def test_what_another_is_computing_is_waited_for_if_it_is_much(size: int) -> None:
    this = scheduler(max_rows=64, block_size=size)
    for name, length in (("a", 200), ("b", 200), ("c", 100)):
        this.submit(request(name, length, max_tokens=1, block_size=size))
    assert [a.id for a in step(this)[0].admitted] == ["a", "c"]  # c has fewer than 128 in common: too few to wait for
    planned: dict[str, int] = {}
    while "b" not in planned:
        plan, _ = step(this)
        planned |= {a.id: a.num_cached for a in plan.admitted}
    assert planned["b"] >= 200 - WORTH_WAITING - size
    while this.num_running:
        step(this)
    assert idle(this)


def test_who_waits_for_what_another_computes_goes_on_when_that_one_leaves() -> None:
    this = scheduler(max_rows=64)
    for name in ("a", "b", "c"):
        this.submit(request(name, 200))
    step(this)
    this.abort("a")
    plan, _ = step(this)
    assert [(a.id, a.num_cached) for a in plan.admitted] == [("b", 64)]
    assert lengths(plan) == {"b": 64}
    for name in ("b", "c"):
        this.abort(name)
    assert idle(this)


@pytest.mark.parametrize(("turn", "cached"), [("cat", 32), ("dog", 0)])
def test_what_was_generated_is_found_by_the_next_turn_if_it_saw_the_same(turn: str, cached: int) -> None:
    this = scheduler()
    this.submit(request("a", 10, ("cat", 2, 6), max_tokens=30))
    while this.num_running or this.num_waiting:
        step(this)
    ids = (*range(10), *[TOKEN] * 30, 1, 2, 3)
    seen = Visual(salted(turn, b""), 2, 6, 0, 0)
    keys = chain_keys(ids, [(seen.key, 2, 6)], b"", block_size=SIZE)
    this.submit(SequenceRequest("b", ids, (seen,), keys, b"", 1, frozenset()))
    assert step(this)[0].admitted[0].num_cached == cached  # 39 rows were computed: 2 full blocks


def test_a_hit_may_end_inside_a_picture() -> None:
    this = scheduler()
    this.submit(request("a", 60, ("cat", 10, 40), max_tokens=1))
    plan, _ = step(this)
    assert [(f.row, f.offset, f.length) for f in plan.rows[0].features] == [(10, 0, 40)]
    ids = (*range(40), *range(900, 920))
    cat = Visual(salted("cat", b""), 10, 40, 0, 0)
    keys = chain_keys(ids, [(cat.key, 10, 40)], b"", block_size=SIZE)
    again = SequenceRequest("b", ids, (cat,), keys, b"", 1, frozenset())
    this.submit(again)
    plan, _ = step(this)
    assert plan.admitted[0].num_cached == 32
    assert not plan.encodes
    assert [(f.row, f.offset, f.length) for f in plan.rows[0].features] == [(0, 22, 18)]


# --- pictures ---


def test_alone_a_picture_is_encoded_and_read_in_one_step() -> None:
    this = scheduler()
    this.submit(request("a", 60, ("cat", 10, 40)))
    plan, events = step(this)
    assert [(e.first, e.last, e.units[0].num_patches) for e in plan.encodes] == [(0, 10, 160)]
    assert lengths(plan) == {"a": 60}
    assert len(events) == 1


def test_beside_a_stream_a_picture_goes_in_slices_and_the_text_before_it_does_not_wait() -> None:
    this = scheduler(vision_work=400)
    this.submit(request("stream", 5))
    step(this)
    this.submit(request("a", 60, ("cat", 10, 40), first_id=500))
    seen = []
    for _ in range(6):
        plan, _ = step(this)
        assert lengths(plan)["stream"] == 1
        seen.append(([(e.first, e.last) for e in plan.encodes], lengths(plan).get("a", 0)))
    # One block of 160 patches costs 160 + 160 * 160 / 4096 = 166.
    assert seen == [([(0, 2)], 10), ([(2, 4)], 0), ([(4, 6)], 0), ([(6, 8)], 0), ([(8, 10)], 32), ([], 18)]


def test_a_slice_has_at_least_one_block() -> None:
    this = scheduler(vision_work=1)
    this.submit(request("stream", 5))
    step(this)
    this.submit(request("a", 60, ("cat", 10, 40), first_id=500))
    assert [[(e.first, e.last) for e in step(this)[0].encodes] for _ in range(2)] == [[(0, 1)], [(1, 2)]]


def test_a_chat_with_a_picture_passes_a_long_video() -> None:
    this = scheduler(num_blocks=1001, vision_work=2000, max_rows=4096, job_patches=400)
    this.submit(request("stream", 5, max_tokens=900, first_id=9000))
    step(this)
    frames = [(f"frame {i}", 10 + 110 * i, 100) for i in range(60)]
    this.submit(request("video", 7000, *frames, first_id=10_000))
    for _ in range(3):
        step(this)
    this.submit(request("chat", 60, ("cat", 10, 40), first_id=50_000))
    answered = next(n for n in range(1, 100) if "chat" in [event.id for event in step(this)[1]])
    assert answered <= 5
    before = this._sequences["video"].ready
    for _ in range(20):
        step(this)
    assert this._sequences["video"].ready > before


def test_the_same_picture_is_encoded_once_for_two_that_want_it_at_once() -> None:
    this = scheduler(vision_work=1)
    this.submit(request("stream", 5, first_id=900))
    step(this)
    for name in ("a", "b"):
        this.submit(request(name, 60, ("cat", 10, 40), first_id=10 + ord(name)))
    jobs: set[int] = set()
    answered: set[str] = set()
    for _ in range(30):
        plan, events = step(this)
        jobs |= {piece.job for piece in plan.encodes}
        answered |= {event.id for event in events}
    assert len(jobs) == 1
    assert answered == {"stream", "a", "b"}
    assert this.encoder.features.counters.waits == 40


def test_tenants_do_not_share_pictures() -> None:
    this = scheduler()
    for name, salt in (("a", b"one"), ("b", b"two")):
        this.submit(request(name, 60, ("cat", 10, 40), salt=salt, max_tokens=1))
    plan, _ = step(this)
    keys = [unit.key for piece in plan.encodes for unit in piece.units]
    assert len(set(keys)) == len(keys) == 2


def test_features_are_pinned_only_until_they_are_read() -> None:
    this = scheduler(max_rows=30)
    this.submit(request("a", 60, ("cat", 5, 20), ("dog", 30, 20)))
    cat, dog = salted("cat", b""), salted("dog", b"")
    step(this)
    this.plan()
    entries = this.encoder.features.entries()
    assert entries[cat] == ("gpu", 0)
    assert entries[dog][1] > 0


def test_a_picture_larger_than_the_cache_is_used_once_and_not_kept() -> None:
    this = scheduler(gpu_tokens=10)
    this.submit(request("a", 60, ("cat", 10, 40), max_tokens=2))
    assert lengths(step(this)[0]) == {"a": 60}
    plan, _ = step(this)
    assert [move.kind for move in plan.moves] == ["drop"]
    assert idle(this)


def test_the_oldest_takes_room_from_the_younger() -> None:
    """Each of two videos holds half of the room and wants more: the older one goes on."""
    this = scheduler(gpu_tokens=60, vision_work=1, mixed_rows=8)
    this.submit(request("stream", 5, max_tokens=400, first_id=900))
    step(this)
    for name in ("a", "b"):
        frames = [(f"{name} {i}", 5 + 30 * i, 30) for i in range(6)]
        this.submit(request(name, 200, *frames, first_id=1000 * ord(name), max_tokens=1))
    order = []
    for _ in range(900):
        order += [event.id for event in step(this)[1] if event.id != "stream"]
    assert order == ["a", "b"]


def test_a_picture_larger_than_the_cache_does_not_wait_for_ever() -> None:
    """It needs all of the room, and there is always somebody younger who has some of it."""
    this = scheduler(gpu_tokens=65, vision_work=200, job_patches=1, mixed_rows=16, num_blocks=1001, max_running=16)
    this.submit(request("stream", 5, max_tokens=900, first_id=90_000))
    step(this)
    answered: list[str] = []
    for number in range(100):
        this.submit(request(f"small {number}", 40, (f"small {number}", 10, 20), first_id=100 * number, max_tokens=1))
        if number == 5:
            this.submit(request("large", 100, ("large", 10, 80), first_id=50_000, max_tokens=1))
        for _ in range(2):
            answered += [event.id for event in step(this)[1]]
    assert "large" in answered


# --- faults ---


@pytest.mark.parametrize("when", ["waiting", "slices", "prompt", "decode", "ahead", "ended"])
def test_an_abort_frees_everything_at_once(when: str) -> None:
    this = scheduler(vision_work=1, mixed_rows=8)
    this.submit(request("stream", 5, first_id=900))
    step(this)
    if when != "waiting":
        this.submit(request("a", 60, ("cat", 10, 40)))
        steps = {"slices": 4, "prompt": 12, "decode": 40, "ahead": 40, "ended": 40}[when]
        for _ in range(steps):
            step(this, a=STOP if when == "ended" else TOKEN)
        plans = [this.plan(), this.plan()] if when == "ahead" else []
    else:
        this.submit(request("a", 60, ("cat", 10, 40)))
        plans = []
    assert this.abort("a") == (when != "ended")
    assert not this.abort("a")
    assert this.blocks.num_used <= 3  # the stream's
    for plan in plans:
        assert "a" not in [event.id for event in this.commit(output(plan))]
    plan, _ = step(this)
    assert all(rows.id == "stream" for rows in plan.rows)
    assert not plan.encodes
    if when == "slices":
        assert plan.cancelled
    this.abort("stream")
    assert idle(this)


def test_one_of_several_pictures_that_cannot_be_encoded_fails_its_own_request_alone() -> None:
    this = scheduler()
    for name in ("a", "bad", "c"):
        this.submit(request(name, 60, (name, 10, 40), first_id=1000 * ord(name[0]), max_tokens=1))
    ended: dict[str, str | None] = {}
    for _ in range(10):
        plan = this.plan()
        failed = {e.job: "no room" for e in plan.encodes if "bad" in [unit.id for unit in e.units]}
        for event in this.commit(StepOutput(plan.step, output(plan).tokens, failed_jobs=failed)):
            ended[event.id] = event.finish
            assert event.error == ("no room" if event.id == "bad" else None)
    assert ended == {"a": "length", "bad": "error", "c": "length"}
    assert idle(this)


@pytest.mark.parametrize("ahead", [False, True])
def test_what_was_read_from_a_failed_job_is_computed_again(ahead: bool) -> None:
    """The second request shares the picture of the first, whose encoding fails: it encodes it itself."""
    this = scheduler()
    for name in ("a", "b"):
        this.submit(request(name, 60, ("cat", 10, 40), first_id=1000 * ord(name), max_tokens=5))
    first = this.plan()
    assert lengths(first) == {"a": 60, "b": 60}
    second = this.plan() if ahead else None
    failed = {first.encodes[0].job: "no room"}
    events = this.commit(StepOutput(first.step, [TOKEN, TOKEN], failed_jobs=failed))
    assert events == [Event("a", None, "error", "no room", -1)]
    third = this.plan()
    assert [new.num_cached for new in third.admitted] == [0]
    assert third.encodes[0].units[0].id == "b"
    if second is not None:
        assert this.commit(output(second)) == []
    assert this.commit(output(third)) == [Event("b", TOKEN, None, None, 0)]
    this.abort("b")
    assert idle(this)


def test_logits_that_are_not_finite_end_their_request_alone_and_leave_no_trace() -> None:
    this = scheduler()
    this.submit(request("bad", 60, ("cat", 10, 40)))
    this.submit(request("good", 60, first_id=500))
    step(this)
    plan = this.plan()
    events = this.commit(StepOutput(plan.step, output(plan).tokens, failed={"bad": "not finite"}))
    assert [(event.id, event.finish) for event in events] == [("bad", "error"), ("good", None)]
    this.submit(request("again", 60, ("cat", 10, 40)))
    plan, _ = step(this)
    assert plan.admitted[0].num_cached == 0
    assert plan.encodes
    assert [move.key for move in plan.moves] == [salted("cat", b"")]
    for name in ("good", "again"):
        this.abort(name)
    assert idle(this)


def test_outputs_come_back_in_order() -> None:
    this = scheduler()
    first, second = this.plan(), this.plan()
    with pytest.raises(AssertionError):
        this.commit(output(second))
    assert first.step + 1 == second.step
