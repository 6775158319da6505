"""The sampler chooses from the distribution it promises, and tells the raw one."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from saccade.engine.sampler import Choice, Sampler, choose
from saccade.types import SamplingParams


class One:
    """A sampler that is asked and read for one row at a time."""

    def __init__(self, params: SamplingParams, *, num_valid_ids: int = 1 << 20, **others: Any) -> None:
        self.sampler = Sampler(params, num_valid_ids=num_valid_ids, **others)

    def choose(self, logits: torch.Tensor) -> Choice:
        (choice,) = choose([self.sampler], logits[None]).read()
        assert choice is not None
        return choice


def draws(params: SamplingParams, logits: torch.Tensor, n: int) -> Counter[int]:
    sampler = One(params)
    return Counter(sampler.choose(logits).token for _ in range(n))


def test_greedy_takes_the_highest() -> None:
    logits = torch.randn(1000)
    for temperature in (0.0, 1e-9):
        assert One(SamplingParams(temperature=temperature)).choose(logits).token == int(logits.argmax())
    assert One(SamplingParams(temperature=1.0, top_k=1)).choose(logits).token == int(logits.argmax())
    assert One(SamplingParams(temperature=1.0, top_p=0.0)).choose(logits).token == int(logits.argmax())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_frequencies_follow_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    n = 20_000
    seen = draws(SamplingParams(temperature=temperature, seed=1), logits, n)
    for token, p in enumerate((logits / temperature).softmax(0).tolist()):
        assert abs(seen[token] / n - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_truncation_keeps_what_transformers_keeps() -> None:
    # Probabilities .5 .25 .125 .0625 .0625 in shuffled order.
    logits = torch.tensor([0.125, 0.5, 0.0625, 0.25, 0.0625]).log()
    kept = lambda **params: set(draws(SamplingParams(temperature=1.0, seed=2, **params), logits, 3000))  # noqa: E731
    assert kept(top_k=2) == {1, 3}
    assert kept(top_k=99) == {0, 1, 2, 3, 4}
    assert kept(top_p=0.49) == {1}
    assert kept(top_p=0.51) == {1, 3}
    assert kept(top_p=0.80) == {0, 1, 3}
    # top_p acts on what top_k left: .5 and .25 become 2/3 and 1/3.
    assert kept(top_k=2, top_p=0.66) == {1}
    assert kept(top_k=2, top_p=0.67) == {1, 3}
    # and both on what temperature made of it.
    assert set(draws(SamplingParams(temperature=0.01, top_p=0.999, seed=3), logits, 1000)) == {1}


def test_the_seed_decides_and_nothing_else() -> None:
    steps = torch.randn(50, 300)

    def story(seed: int | None) -> list[int]:
        sampler = One(SamplingParams(temperature=1.5, seed=seed))
        torch.rand(3)  # others draw too
        return [sampler.choose(logits).token for logits in steps]

    assert story(7) == story(7) != story(8)
    assert story(None) != story(None)
    assert story(-1) == story(-1)
    assert story(2**80) == story(2**80)


def test_min_tokens_holds_stop_ids_back_and_no_longer() -> None:
    logits = torch.tensor([0.0, 9.0, 1.0, 8.0])
    sampler = One(SamplingParams(temperature=0.0, min_tokens=2), stop_ids=(1, 3))
    assert [sampler.choose(logits).token for _ in range(4)] == [2, 2, 1, 1]


def test_padding_ids_are_never_chosen_nor_told_but_have_their_mass() -> None:
    logits = torch.tensor([1.0, 0.0, 9.0, 9.0])
    sampler = One(SamplingParams(temperature=2.0, logprobs=20), num_valid_ids=2)
    for _ in range(50):
        choice = sampler.choose(logits)
        assert choice.token in (0, 1)
        assert [alternative.token for alternative in choice.top] == [0, 1]
        assert choice.logprob == pytest.approx(float(logits.log_softmax(0)[choice.token]), abs=1e-5)


@pytest.mark.parametrize("num", [0, 1, 5, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logprobs_are_those_of_the_raw_distribution(num: int, dtype: torch.dtype) -> None:
    logits = (torch.randn(500) * 4).to(dtype)
    reference = logits.float().log_softmax(0)
    # Temperature, truncation and held-back stop ids change the choice, not what is told of it.
    params = SamplingParams(temperature=0.3, top_k=9, top_p=0.9, min_tokens=4, logprobs=num)
    sampler = One(params, stop_ids=(int(logits.argmax()),))
    choice = sampler.choose(logits)
    assert choice.logprob == pytest.approx(float(reference[choice.token]), abs=1e-5)
    best = reference.topk(num)
    assert [a.logprob for a in choice.top] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert [reference[a.token].item() for a in choice.top] == best.values.tolist()


def test_without_logprobs_there_are_none() -> None:
    choice = One(SamplingParams(temperature=0.0)).choose(torch.randn(9))
    assert choice.logprob is None
    assert choice.top == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=1.0, top_k=5, top_p=0.5),
        SamplingParams(temperature=0.0, logprobs=3),
    ],
)
def test_no_distribution_is_an_error(bad: float, params: SamplingParams) -> None:
    logits = torch.randn(40)
    logits[17] = bad
    assert choose([Sampler(params, num_valid_ids=40)], logits[None]).read() == [None]


def test_rows_of_all_kinds_choose_together_as_they_do_alone() -> None:
    kinds = [
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=1.2, seed=4),
        SamplingParams(temperature=0.0, logprobs=3),
        SamplingParams(temperature=0.0, min_tokens=3),
        SamplingParams(temperature=0.7, top_k=9, top_p=0.8, seed=1, logprobs=0),
    ]
    make = lambda params: Sampler(params, num_valid_ids=50, stop_ids=(3, 4))  # noqa: E731
    steps = torch.randn(6, len(kinds), 60)
    steps[:, 3, 3] = 99.0
    alone = [
        [choose([sampler], step[row : row + 1]).read() for step in steps]
        for row, sampler in enumerate(map(make, kinds))
    ]
    samplers = [make(params) for params in kinds]
    for number, step in enumerate(steps):
        broken = step.clone()
        broken[0, 7] = math.nan
        got = choose(samplers, broken).read()
        assert got[0] is None
        assert got[1:] == [choice for row in alone[1:] for choice in row[number]]
    assert [row[0].token == 3 for row in alone[3] if row[0]] == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    "params", [SamplingParams(temperature=1.2, seed=4), SamplingParams(temperature=1.0, top_k=5, seed=2)]
)
def test_a_sampler_goes_on_where_another_was(params: SamplingParams) -> None:
    steps = torch.randn(20, 60)
    sampler = One(params, num_valid_ids=50)
    story = [sampler.choose(logits).token for logits in steps]
    later = One(params, num_valid_ids=50, chosen=12)
    assert [later.choose(logits).token for logits in steps[12:]] == story[12:]
