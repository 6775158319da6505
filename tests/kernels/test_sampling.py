"""The ops that choose: the twins draw what they promise, and the Triton kernels agree with them."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from interpreted import DEVICE, HAS_DEVICE, MARKS, TYPES, sampling
from torch import Tensor

from saccade.kernels import fused

pytestmark = MARKS
PAIRS = [pytest.param(fused, id="twin"), pytest.param(sampling, id="triton")]
LATEST = 1 - 2**-24
"""The highest uniform number there is."""


def numbers(rows: list[tuple[float, float, float, float]], uniform: float) -> list[Tensor]:
    """temperature, top_k, top_p, min_p of each row, and the uniform number of all."""
    return list(torch.tensor([(*row, uniform) for row in rows]).T.contiguous().to(DEVICE))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts so small that a row of a test has several: the interpreter takes milliseconds for each."""
    monkeypatch.setattr(sampling, "PART", 64)


@pytest.mark.parametrize("ops", PAIRS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("vocabulary", "num_valid"), [(40, 40), (300, 257)])
def test_greedy(vocabulary: int, num_valid: int, dtype: torch.dtype, ops: ModuleType) -> None:
    logits = torch.randn(4, vocabulary).to(DEVICE, dtype)
    logits[0, num_valid - 1] = 100
    logits[1, 3:39:5] = 50  # the first of equals
    logits[:, num_valid:] = 200
    for _ in range(2):  # tickets are put back
        ids, peaks = ops.greedy(logits, num_valid)
        assert (ids.dtype, peaks.dtype) == (torch.int64, torch.float32)
        assert ids.tolist()[:2] == [num_valid - 1, 3]
        assert torch.equal(ids, logits[:, :num_valid].argmax(1))
        assert torch.equal(peaks, logits.gather(1, ids[:, None])[:, 0].float())


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy, in the interpreter: inf - inf
@pytest.mark.parametrize("ops", PAIRS)
def test_a_row_without_a_distribution_is_told_apart_and_gives_some_valid_id(ops: ModuleType) -> None:
    logits = torch.randn(5, 200).to(DEVICE)
    logits[0, 150], logits[1, 70], logits[2], logits[3, 180] = math.nan, math.inf, -math.inf, math.nan
    ids, peaks = ops.greedy(logits, 170)
    assert peaks.isfinite().tolist() == [False, False, False, True, True]
    drawn = ops.draw(logits, 170, *numbers([(1.0, 8.0, 0.9, 0.1)] * 5, 0.9), 8)
    for chosen in (ids, drawn):
        assert ((chosen >= 0) & (chosen < 170)).all()


def shares(logits: Tensor, temperature: float, top_k: int, top_p: float, min_p: float) -> dict[int, float]:
    """The probability of each id that may be drawn, in plain Python."""
    weights = {i: math.exp((x - max(logits.tolist())) / temperature) for i, x in enumerate(logits.tolist())}
    ranked = sorted((i for i in weights if weights[i] >= min_p), key=lambda i: -weights[i])[:top_k]
    total, before, kept = sum(weights[i] for i in ranked), 0.0, []
    for i in ranked:
        if before < top_p * total:
            kept.append(i)
        before += weights[i]
    total = sum(weights[i] for i in kept)
    return {i: weights[i] / total for i in kept}


CUTS = [
    (1.0, 8, 1.0, 0.0),
    (0.4, 8, 1.0, 0.0),
    (2.5, 5, 1.0, 0.0),
    (1.0, 1, 1.0, 0.0),
    (1.0, 8, 0.7, 0.0),
    (1.0, 8, 1e-6, 0.0),
    (1.0, 8, 1.0, 0.2),
    (1.0, 8, 1.0, 1.0),
    (1.3, 6, 0.8, 0.1),
]


@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_draws_have_the_shares_of_the_definition(cuts: tuple[float, int, float, float]) -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(3)) * 2
    n = 5000
    uniform = (torch.arange(n) + 0.5) / n
    args = [torch.full((n,), float(value)) for value in cuts]
    ids = fused.draw(logits.repeat(n, 1), 20, *args, uniform, 8)
    expected = shares(logits, *cuts)
    counts = ids.bincount(minlength=20).tolist()
    for i in range(20):
        assert counts[i] / n == pytest.approx(expected.get(i, 0.0), abs=2 / n)


@pytest.mark.parametrize("ops", PAIRS)
@pytest.mark.parametrize("uniform", [0.0, LATEST])
def test_the_ends_of_the_numbers_draw_what_stays(uniform: float, ops: ModuleType) -> None:
    logits = torch.randn(len(CUTS), 150).to(DEVICE) * 3
    rows = [(temperature, float(top_k), top_p, min_p) for temperature, top_k, top_p, min_p in CUTS]
    ids = ops.draw(logits, 140, *numbers(rows, uniform), 8)
    for row, (cut, id) in enumerate(zip(CUTS, ids.tolist(), strict=True)):
        kept = list(shares(logits[row, :140].cpu(), *cut))
        assert id in kept
        assert uniform or id == kept[0]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("vocabulary", "num_valid", "most"), [(30, 30, 32), (150, 140, 8), (100, 90, 64)])
def test_draws_agree(vocabulary: int, num_valid: int, most: int, dtype: torch.dtype) -> None:
    cuts = [(temperature, min(3 * top_k, most), top_p, min_p) for temperature, top_k, top_p, min_p in CUTS]
    logits = torch.stack([torch.randperm(vocabulary) for _ in cuts]).to(DEVICE, dtype) / 8  # no two are equal
    columns = numbers(cuts, 0.0)
    columns[4] += torch.arange(len(cuts), device=DEVICE) / len(cuts) + 0.01
    for _ in range(2 if most == 8 else 1):  # tickets are put back
        ids = sampling.draw(logits, num_valid, *columns, most)
    assert torch.equal(ids, fused.draw(logits, num_valid, *columns, most))


@pytest.mark.skipif(not HAS_DEVICE, reason="the interpreter is too slow")
@pytest.mark.parametrize("rows", [1, 7, 128])
def test_at_the_size_of_a_released_vocabulary(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    vocabulary, num_valid = 151936, 151669
    logits = torch.randn(rows, vocabulary).to(DEVICE) * 3
    cuts = [(0.7, 20.0, 0.8, 0.0), (1.0, 64.0, 1.0, 0.0), (1.3, 50.0, 0.95, 0.05)]
    columns = numbers([cuts[row % 3] for row in range(rows)], 0.0)
    columns[4] += torch.rand(rows, device=DEVICE)
    for _ in range(2):
        ids, peaks = sampling.greedy(logits, num_valid)
        assert torch.equal(ids, logits[:, :num_valid].argmax(1))
        assert torch.equal(peaks, logits[:, :num_valid].amax(1))
        drawn = sampling.draw(logits, num_valid, *columns, 64)
        assert torch.equal(drawn, fused.draw(logits, num_valid, *columns, 64))
    bias, uses = (
        torch.randn_like(logits[:, :num_valid]),
        torch.randint_like(logits[:, :num_valid], 9, dtype=torch.int32),
    )
    penalties = [torch.rand(rows, device=DEVICE) + 0.5 for _ in range(3)]
    args = logits.bfloat16(), bias.contiguous(), uses.contiguous(), *penalties
    torch.testing.assert_close(sampling.penalize(*args), fused.penalize(*args))


def test_of_equal_logits_the_kernel_ranks_the_lower_id_first() -> None:
    logits = torch.zeros(1, 150).to(DEVICE)
    logits[0, 100:104] = torch.tensor([-0.0, 1.0, -1.0, 1.0])
    for uniform, id in ((0.0, 101), (0.3, 103), (0.7, 0), (0.95, 1)):
        weights = numbers([(1e3, 4.0, 1.0, 0.0)], uniform)
        assert sampling.draw(logits, 150, *weights, 4).tolist() == [id]


@pytest.mark.parametrize("ops", PAIRS)
@pytest.mark.parametrize("dtype", TYPES)
def test_penalties_are_those_of_plain_python(dtype: torch.dtype, ops: ModuleType) -> None:
    logits = torch.randn(3, 90).to(dtype)
    bias, uses = torch.randn(3, 80), torch.randint(0, 7, (3, 80), dtype=torch.int32)
    bias[1, 5], bias[2, 9] = -math.inf, 100.0
    repetition, frequency, presence = torch.tensor([1.0, 1.3, 0.7]), torch.tensor([0.0, 0.5, -1.0]), torch.randn(3)
    expected = torch.empty(3, 80)
    for row in range(3):
        for i in range(80):
            value = float(logits[row, i]) + float(bias[row, i])
            if uses[row, i]:
                value = value / float(repetition[row]) if value > 0 else value * float(repetition[row])
            count = int(uses[row, i]) // 2
            expected[row, i] = value - count * float(frequency[row]) - (float(presence[row]) if count else 0.0)
    args = [x.to(DEVICE) for x in (logits, bias, uses, repetition, frequency, presence)]
    edited = ops.penalize(*args)
    assert edited.dtype == torch.float32
    torch.testing.assert_close(edited.cpu(), expected)
