"""The sampler chooses from the distribution it promises, each sequence as if it were alone, and tells the raw one."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from saccade.engine.sampler import FEW, TOGETHER, Choice, Kind, Sampler, _draw_from_many, _mixed, choose, warm_up
from saccade.kernels import select
from saccade.types import SamplingParams

OPS = select("cpu")
GREEDY = SamplingParams(temperature=0.0)
RANDOM = SamplingParams(temperature=1.0)
STOPS = (3, 7)
PROMPT = (2, 5, 5, 9, 40)


def named(params: SamplingParams) -> str:
    """What is not as by default."""
    told, default = asdict(params), asdict(SamplingParams())
    return ",".join(f"{name}={value}" for name, value in told.items() if value != default[name])


class One:
    """A sampler that is asked and read for one row at a time."""

    def __init__(self, params: SamplingParams, *, num_valid_ids: int, **others: Any) -> None:
        self.sampler = Sampler(params, num_valid_ids=num_valid_ids, **others)

    def choose(self, logits: torch.Tensor) -> Choice:
        (choice,) = choose([self.sampler], logits[None], OPS).read()
        assert choice is not None
        return choice


def story(params: SamplingParams, steps: torch.Tensor, *, generated: tuple[int, ...] = ()) -> list[int]:
    """The tokens of one sequence from logits [steps, V], of which as many are over as it has tokens."""
    sampler = One(params, num_valid_ids=50, stop_ids=STOPS, prompt_ids=PROMPT, generated_ids=generated)
    return [sampler.choose(logits).token for logits in steps[len(generated) :]]


# --- the definition, in plain Python ----------------------------------------------------------------------------------


def edited(params: SamplingParams, logits: list[float], answer: tuple[int, ...] = ()) -> list[float]:
    """What is left of raw logits after bias, stop ids held back, and penalties."""
    held = STOPS if len(answer) < params.min_tokens and not params.ignore_eos else ()
    repetition = params.repetition_penalty or 1.0
    out = []
    for id, value in enumerate(logits):
        value += dict(params.logit_bias).get(id, 0.0)
        if id in held:
            value = -math.inf
        if id in PROMPT or id in answer:
            value = value / repetition if value > 0 else value * repetition
        value -= params.frequency_penalty * answer.count(id) + params.presence_penalty * (id in answer)
        out.append(value)
    return out


def distribution(params: SamplingParams, logits: list[float], answer: tuple[int, ...] = ()) -> dict[int, float]:
    """The probability of each id that may be chosen."""
    values = edited(params, logits, answer)
    heat = 1.0 if params.temperature is None else params.temperature
    weights = [math.exp((value - max(values)) / heat) for value in values]
    ranked = sorted(range(len(weights)), key=lambda id: -weights[id])
    ranked = [id for id in ranked if weights[id] >= (params.min_p or 0.0)][: params.top_k or None]
    total, before, kept = sum(weights[id] for id in ranked), 0.0, []
    for id in ranked:
        if before < (1.0 if params.top_p is None else params.top_p) * total:
            kept.append(id)
        before += weights[id]
    total = sum(weights[id] for id in kept)
    return {id: weights[id] / total for id in kept}


def fits(counts: Counter[int], expected: dict[int, float]) -> bool:
    """Pearson's chi-square at 5 sigma (Wilson and Hilferty), with rare ids in one cell."""
    n = counts.total()
    if set(counts) - {id for id, p in expected.items() if p > 0}:
        return False
    common = {id: p for id, p in expected.items() if n * p >= 5}
    rare = 1 - sum(common.values())
    cells = [(counts[id], n * p) for id, p in common.items()]
    if n * rare > 1:
        cells.append((n - sum(seen for seen, _ in cells), n * rare))
    freedom = max(len(cells) - 1, 1)
    limit = freedom * (1 - 2 / (9 * freedom) + 5 * math.sqrt(2 / (9 * freedom))) ** 3
    return sum((seen - wanted) ** 2 / wanted for seen, wanted in cells) < limit


def draws(params: SamplingParams, logits: torch.Tensor, n: int, *, answer: tuple[int, ...] = ()) -> Counter[int]:
    """What n sequences with seeds of their own choose."""
    samplers = [
        Sampler(
            replace(params, seed=seed),
            num_valid_ids=len(logits),
            stop_ids=STOPS,
            prompt_ids=PROMPT,
            generated_ids=answer,
        )
        for seed in range(n)
    ]
    return Counter(choice.token for choice in choose(samplers, logits.repeat(n, 1), OPS).read() if choice)


# --- which id ---------------------------------------------------------------------------------------------------------

CASES = [
    SamplingParams(temperature=0.5),
    SamplingParams(temperature=3.0),
    SamplingParams(temperature=1.0, top_k=5),
    SamplingParams(temperature=1.0, top_k=49),
    SamplingParams(temperature=1.5, top_k=FEW + 6),
    SamplingParams(temperature=1.0, top_k=999),
    SamplingParams(temperature=1.0, top_p=0.6),
    SamplingParams(temperature=1.0, min_p=0.1),
    SamplingParams(temperature=1.3, top_k=20, top_p=0.8),
    SamplingParams(temperature=1.3, top_k=20, top_p=0.8, min_p=0.2),
    SamplingParams(temperature=1.3, top_p=0.9, min_p=0.05),
    SamplingParams(temperature=1.0, repetition_penalty=1.7),
    SamplingParams(temperature=1.0, presence_penalty=1.5),
    SamplingParams(temperature=1.0, frequency_penalty=-0.7),
    SamplingParams(temperature=1.0, logit_bias=((1, 2.0), (4, -1.0), (6, -100.0))),
    SamplingParams(temperature=1.0, min_tokens=8),
    SamplingParams(
        temperature=0.8, top_k=12, top_p=0.9, min_p=0.02, repetition_penalty=1.2, presence_penalty=0.5,
        frequency_penalty=0.3, logit_bias=((1, 1.0), (5, 2.0), (8, 3.0)), min_tokens=8,
    ),
    SamplingParams(temperature=0.8, top_p=0.8, repetition_penalty=0.8, presence_penalty=-1.0, frequency_penalty=0.3),
]  # fmt: skip


@pytest.mark.parametrize("params", CASES, ids=named)
def test_draws_follow_the_definition(params: SamplingParams) -> None:
    size, answer = 80, (1, 5, 1, 8, 1)
    logits = torch.randn(size, generator=torch.Generator().manual_seed(2)) * 1.5
    expected = distribution(params, logits.tolist(), answer)
    seen = draws(params, logits, 6000, answer=answer)
    assert fits(seen, expected)
    hotter = replace(params, temperature=1.5 * (params.temperature or 1))
    assert not fits(seen, distribution(hotter, logits.tolist(), answer))


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_among_the_cases(kind: Kind) -> None:
    kinds = {Sampler(params, num_valid_ids=80).kind for params in [*CASES, GREEDY]}
    assert kind in kinds


def test_greedy_takes_the_highest() -> None:
    logits = torch.randn(1000)
    logits[[700, 300, 900]] = 9.0
    for params in (
        GREEDY,
        SamplingParams(temperature=1e-9),
        SamplingParams(temperature=1.0, top_k=1),
        SamplingParams(temperature=1.0, top_p=0.0),
        SamplingParams(temperature=0.0, top_k=5, top_p=0.1, min_p=0.5),
    ):
        assert One(params, num_valid_ids=1000).choose(logits).token == 300
        assert Sampler(params, num_valid_ids=1000).is_plain


def test_truncation_keeps_what_transformers_keeps() -> None:
    # Probabilities .5 .25 .125 .0625 .0625 in shuffled order.
    logits = torch.tensor([0.125, 0.5, 0.0625, 0.25, 0.0625]).log()
    kept = lambda **params: set(draws(SamplingParams(**{"temperature": 1.0} | params), logits, 3000))  # noqa: E731
    assert kept(top_k=2) == {1, 3}
    assert kept(top_k=99) == {0, 1, 2, 3, 4}
    assert kept(top_p=0.49) == {1}
    assert kept(top_p=0.51) == {1, 3}
    assert kept(top_p=0.80) == {0, 1, 3}
    assert kept(min_p=0.49) == {1, 3}
    assert kept(min_p=1.0) == {1}
    # top_p acts on what top_k left: .5 and .25 become 2/3 and 1/3.
    assert kept(top_k=2, top_p=0.66) == {1}
    assert kept(top_k=2, top_p=0.67) == {1, 3}
    # and on what min_p left: without the two of .0625, the first three are 4/7, 2/7 and 1/7.
    assert kept(min_p=0.2, top_p=0.86) == {0, 1, 3}
    assert kept(min_p=0.2, top_p=0.85) == {1, 3}
    # and all on what temperature made of it.
    assert kept(temperature=0.01, top_p=0.999) == {1}
    assert kept(temperature=0.01, min_p=0.001) == {1}


STORIES = [
    SamplingParams(temperature=0.0, repetition_penalty=1.5),
    SamplingParams(temperature=0.0, presence_penalty=2.0),
    SamplingParams(temperature=0.0, frequency_penalty=0.4),
    SamplingParams(temperature=0.0, frequency_penalty=-2.0, repetition_penalty=0.5),
    SamplingParams(
        temperature=0.0, repetition_penalty=1.3, presence_penalty=1.0, frequency_penalty=0.5, min_tokens=9,
        logit_bias=((3, 4.0), (20, -3.0)),
    ),
]  # fmt: skip


@pytest.mark.parametrize("params", STORIES, ids=named)
def test_penalties_of_a_growing_answer_are_those_of_plain_python(params: SamplingParams) -> None:
    same = torch.randn(50, generator=torch.Generator().manual_seed(5))
    steps = same + torch.randn(40, 50, generator=torch.Generator().manual_seed(6)) / 4
    answer: tuple[int, ...] = ()
    for logits in steps:
        values = edited(params, logits.tolist(), answer)
        answer += (values.index(max(values)),)
    assert story(params, steps) == list(answer)
    assert story(GREEDY, steps) != list(answer)


def test_a_bias_forces_and_bans() -> None:
    logits = torch.randn(50) * 3
    best = int(logits.argmax())
    other = (best + 1) % 50
    forced, banned = ((other, 100.0),), ((best, -100.0),)
    for temperature in (0.0, 1.0):
        params = SamplingParams(temperature=temperature)
        assert set(draws(replace(params, logit_bias=forced), logits, 200)) == {other}
        assert best not in draws(replace(params, logit_bias=banned), logits, 200)
    assert best in draws(RANDOM, logits, 200)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_min_tokens_holds_stop_ids_back_and_no_longer(temperature: float) -> None:
    logits = torch.zeros(12)
    logits[3], logits[7], logits[5] = 90.0, 70.0, 40.0
    tell = lambda **params: [One(SamplingParams(temperature=temperature, **params), num_valid_ids=12, stop_ids=STOPS)]  # noqa: E731
    for (sampler,), expected in (
        (tell(min_tokens=2), [5, 5, 3, 3]),
        (tell(min_tokens=2, logit_bias=((7, 50.0),)), [5, 5, 7, 7]),
        (tell(min_tokens=2, logit_bias=((7, -99.0), (3, -99.0), (5, -99.0), (8, 25.0))), [8, 8, 8, 8]),
        (tell(min_tokens=2, ignore_eos=True), [3, 3, 3, 3]),
    ):
        assert [sampler.choose(logits).token for _ in range(4)] == expected
    assert Sampler(GREEDY, num_valid_ids=12, stop_ids=STOPS, generated_ids=(1, 1)).is_plain
    (held,) = tell(min_tokens=1)
    assert not held.sampler.is_plain
    held.choose(logits)
    assert held.sampler.is_plain == (temperature == 0)


def test_padding_ids_are_never_chosen_nor_told_but_have_their_mass() -> None:
    logits = torch.tensor([1.0, 0.0, 9.0, 9.0])
    for params in (
        RANDOM,
        replace(RANDOM, top_k=2),
        replace(RANDOM, top_p=0.99),
        replace(RANDOM, presence_penalty=1.0),
    ):
        sampler = One(replace(params, temperature=2.0, logprobs=20), num_valid_ids=2)
        for _ in range(50):
            choice = sampler.choose(logits)
            assert choice.token in (0, 1)
            assert [alternative.token for alternative in choice.top] == [0, 1]
            assert choice.logprob == pytest.approx(float(logits.log_softmax(0)[choice.token]), abs=1e-5)


# --- random numbers ---------------------------------------------------------------------------------------------------


def numbers(sampler: Sampler, count: int) -> list[float]:
    """The next ones of a sequence."""
    told = []
    for _ in range(count):
        told.append(sampler.numbers()[-1])
        sampler.passed()
    return told


@pytest.mark.parametrize("params", [RANDOM, replace(RANDOM, top_k=4)], ids=named)
def test_the_numbers_of_a_sequence_are_even_and_do_not_follow_from_each_other(params: SamplingParams) -> None:
    make = lambda seed: Sampler(replace(params, seed=seed), num_valid_ids=9)  # noqa: E731
    along, across = numbers(make(1), 20_000), [numbers(make(seed), 1)[0] for seed in range(20_000)]
    for series in (along, across):
        assert all(0 <= u < 1 and torch.tensor(u, dtype=torch.float64) < 1 for u in series)
        assert fits(Counter(int(16 * u) for u in series), dict.fromkeys(range(16), 1 / 16))
        pairs = Counter(4 * int(4 * a) + int(4 * b) for a, b in zip(series[::2], series[1::2], strict=True))
        assert fits(pairs, dict.fromkeys(range(16), 1 / 16))
    assert len({*along, *across}) > 39_900


def test_a_number_never_rounds_to_one() -> None:
    sampler = Sampler(replace(RANDOM, top_k=4, seed=0), num_valid_ids=9)
    highest = max(numbers(sampler, 100_000))
    assert torch.tensor(highest, dtype=torch.float32) < 1
    assert highest > 0.9999


def test_the_seed_decides_and_nothing_else() -> None:
    steps = torch.randn(50, 50)
    tell = lambda seed: story(SamplingParams(temperature=1.5, seed=seed), steps)  # noqa: E731
    first = tell(7)
    torch.rand(3)  # others draw too
    torch.manual_seed(1)
    assert tell(7) == first != tell(8)
    assert tell(None) != tell(None)
    assert tell(-1) == tell(-1) == tell(2**64 - 1)
    assert tell(2**80) == tell(2**80)


def test_a_seed_means_the_same_forever() -> None:
    """Stories that were told before can be told again. The first two outputs of splitmix64 for 1234567 are those of
    https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64."""
    assert _mixed(1234567) == 6457827717110365317
    assert _mixed(1234567 + 0x9E3779B97F4A7C15) == 3203168211198807973
    sampler = Sampler(replace(RANDOM, seed=1234), num_valid_ids=9)
    assert numbers(sampler, 3) == pytest.approx([0.6175520046213671, 0.6981341974772763, 0.3929745381517564])


# --- each as if it were alone -----------------------------------------------------------------------------------------

MIXED = [
    GREEDY,
    replace(GREEDY, logprobs=3),
    replace(GREEDY, min_tokens=12),
    replace(GREEDY, presence_penalty=1.0),
    replace(GREEDY, repetition_penalty=1.4, logprobs=0, min_tokens=5),
    SamplingParams(temperature=0.7, top_k=9, top_p=0.8, seed=1, logprobs=20),
    SamplingParams(temperature=1.7, top_k=40, min_p=0.1, seed=2),
    SamplingParams(temperature=1.7, top_k=40, frequency_penalty=0.8, seed=3),
    SamplingParams(temperature=1.2, seed=4),
    SamplingParams(temperature=1.2, min_p=0.1, logit_bias=((4, 3.0), (3, 5.0)), min_tokens=6, seed=5),
    SamplingParams(temperature=1.2, top_p=0.9, seed=6, logprobs=1),
    SamplingParams(temperature=1.2, top_p=0.9, presence_penalty=2.0, repetition_penalty=1.1, seed=7),
]


def make(params: SamplingParams, device: str = "cpu") -> Sampler:
    return Sampler(params, num_valid_ids=50, stop_ids=STOPS, prompt_ids=PROMPT, device=device)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_what_kernels_are_given_begins_at_16_bytes_however_many_rows(count: int) -> None:
    asked = []

    def watched(op: Any) -> Any:
        def run(*args: Any) -> Any:
            asked.append(all(arg.data_ptr() % 16 == 0 for arg in args if isinstance(arg, torch.Tensor)))
            return op(*args)

        return run

    ops = replace(OPS, draw=watched(OPS.draw), penalize=watched(OPS.penalize))
    params = SamplingParams(temperature=1.0, top_k=4, presence_penalty=1.0)
    choose([Sampler(params, num_valid_ids=48) for _ in range(count)], torch.randn(count, 48), ops)
    assert asked == [True, True]


def test_warm_up_runs_each_op() -> None:
    ran = set()

    def watched(name: str, op: Any) -> Any:
        return lambda *args: (ran.add(name), op(*args))[1]

    names = ("greedy", "draw", "penalize")
    warm_up(replace(OPS, **{name: watched(name, getattr(OPS, name)) for name in names}), torch.randn(1, 200), 190)
    assert ran == set(names)


def test_many_rows_take_no_more_memory_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(2 * TOGETHER + 3, 200, generator=torch.Generator().manual_seed(8))
    params = [SamplingParams(temperature=1.0, top_p=0.9, seed=seed) for seed in range(len(logits))]
    alone = [One(one, num_valid_ids=200).choose(row).token for one, row in zip(params, logits, strict=True)]
    drawn = []

    def watched(logits: torch.Tensor, numbers: torch.Tensor, *, is_cut: bool) -> torch.Tensor:
        drawn.append(len(logits))
        return _draw_from_many(logits, numbers, is_cut=is_cut)

    monkeypatch.setattr("saccade.engine.sampler._draw_from_many", watched)
    together = choose([Sampler(one, num_valid_ids=200) for one in params], logits, OPS)
    assert together.ids.tolist() == alone
    assert drawn == [TOGETHER, TOGETHER, 3]


def test_rows_of_all_kinds_choose_together_as_they_do_alone() -> None:
    steps = torch.randn(30, len(MIXED), 60) * 2
    alone = []
    for row, params in enumerate(MIXED):
        sampler = make(params)
        alone.append([choose([sampler], step[row : row + 1], OPS).read()[0] for step in steps])
    samplers, at = [make(params) for params in MIXED], [0] * len(MIXED)
    generator = torch.Generator().manual_seed(0)
    while min(at) < 20:  # any of them in any order, each at its own step
        count = int(torch.randint(1, len(MIXED) + 1, (1,), generator=generator))
        rows = [row for row in torch.randperm(len(MIXED), generator=generator)[:count].tolist() if at[row] < 30]
        if not rows:
            continue
        logits = torch.stack([steps[at[row], row] for row in rows])
        for row, choice in zip(rows, choose([samplers[row] for row in rows], logits, OPS).read(), strict=True):
            assert choice == alone[row][at[row]]
            at[row] += 1


@pytest.mark.parametrize("params", MIXED, ids=named)
@pytest.mark.parametrize("at", [1, 8, 12])
def test_a_sampler_goes_on_where_another_was(params: SamplingParams, at: int) -> None:
    steps = torch.randn(30, 60, generator=torch.Generator().manual_seed(at)) * 2
    told = story(params, steps)
    assert story(params, steps, generated=tuple(told[:at])) == told[at:]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_without_a_distribution_fails_alone(bad: float) -> None:
    steps = torch.randn(4, len(MIXED), 60)
    twins, samplers = ([make(params) for params in MIXED] for _ in range(2))
    for failing, step in enumerate(steps):
        expected = choose(twins, step, OPS).read()
        broken = step.clone()
        broken[3 * failing, slice(None) if bad == -math.inf else 17] = bad
        got = choose(samplers, broken, OPS).read()
        assert got[3 * failing] is None
        assert None not in expected
        # Those that have failed are of no interest any more.
        assert all(got[row] == expected[row] for row in range(len(MIXED)) if row % 3 or row > 3 * failing)


class Watch(TorchDispatchMode):
    """Counts what torch is asked to do, and fails where the host would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "unique"), (
            func
        )
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device_and_rows_of_a_kind_go_together() -> None:
    counts = []
    for times in (1, 5):
        samplers = [make(params) for params in MIXED * times]
        logits = torch.randn(len(samplers), 60)
        for _ in range(15):  # until no more stop ids are held back
            with Watch() as watch:
                choices = choose(samplers, logits, OPS)
        assert None not in choices.read()
        counts.append(watch.count)
    assert counts[0] == counts[1]
    with Watch() as watch:
        choose([make(GREEDY)] * 8, logits[:8], OPS)
    assert watch.count <= 5


@pytest.mark.gpu
@pytest.mark.parametrize("fused", [True, False])
def test_a_device_chooses_as_the_cpu_does_and_nobody_waits_for_it(fused: bool) -> None:
    steps = torch.randn(30, len(MIXED), 60, generator=torch.Generator().manual_seed(3)) * 2
    ops = select("cuda", fused=fused)
    choose([make(params, "cuda") for params in MIXED], steps[0].cuda(), ops).read()  # what the first launch makes
    on_device = steps.cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        samplers = [make(params, "cuda") for params in MIXED]
        choices = [choose(samplers, step, ops) for step in on_device]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    samplers = [make(params) for params in MIXED]
    for step, chosen in zip(steps, choices, strict=True):
        for expected, got in zip(choose(samplers, step, OPS).read(), chosen.read(), strict=True):
            assert expected is not None
            assert got is not None
            assert got.token == expected.token
            assert got.logprob == pytest.approx(expected.logprob, abs=1e-5)
            assert [one.token for one in got.top] == [one.token for one in expected.top]


def test_what_is_known_of_greedy_rows_is_taken() -> None:
    logits = torch.randn(4, 60)
    known = torch.tensor([9, 8, 7, 6]), torch.tensor([1.0, 2.0, math.nan, 4.0])
    samplers = [make(params) for params in (GREEDY, replace(RANDOM, top_k=2), GREEDY, replace(GREEDY, logprobs=0))]
    first, second, third, fourth = choose(samplers, logits, OPS, greedy=known).read()
    assert first == Choice(9, None, ())
    assert second is not None
    assert second.token in logits[1, :50].topk(2).indices
    assert third is None
    assert fourth is not None
    assert (fourth.token, fourth.logprob) == (6, pytest.approx(float(logits[3].log_softmax(0)[6]), abs=1e-5))


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num", [0, 1, 5, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logprobs_are_those_of_the_raw_distribution(num: int, dtype: torch.dtype) -> None:
    logits = (torch.randn(500) * 4).to(dtype)
    reference = logits.float().log_softmax(0)
    # Temperature, truncation, penalties and held-back stop ids change the choice, not what is told of it.
    best = int(logits.argmax())
    params = SamplingParams(
        temperature=0.3, top_k=9, top_p=0.9, min_tokens=4, logprobs=num, repetition_penalty=2.0, logit_bias=((4, 30.0),)
    )
    choice = One(params, num_valid_ids=500, stop_ids=(best,), prompt_ids=(4, best)).choose(logits)
    assert choice.logprob == pytest.approx(float(reference[choice.token]), abs=1e-5)
    top = reference.topk(num)
    assert [a.logprob for a in choice.top] == pytest.approx(top.values.tolist(), abs=1e-5)
    assert [reference[a.token].item() for a in choice.top] == top.values.tolist()


def test_without_logprobs_there_are_none() -> None:
    choice = One(GREEDY, num_valid_ids=9).choose(torch.randn(9))
    assert choice.logprob is None
    assert choice.top == ()
