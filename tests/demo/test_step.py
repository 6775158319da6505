"""A step is the pass, the mean of the gradients and the optimiser; captured in graphs it is the same step."""

from __future__ import annotations

import pytest
import torch
from test_learn import BUDGET, filled, tiny
from torch import nn

from saccade.demo.feed import Loaded, device_block, segments_of
from saccade.demo.learn import Learner
from saccade.demo.muon import ADAM_BETAS, Muon, adam_update, muon_update
from saccade.demo.step import Rates, Room, Step
from saccade.demo.train import initialise, optimiser, plain_ops
from saccade.model.qwen3vl import Qwen3VL

ROOM = Room(vision=BUDGET.segments, vision_longest=256, text=BUDGET.segments, text_longest=512)


def loaded(first: int, device: torch.device) -> Loaded:
    batch = filled(first)
    block, tensors = device_block(BUDGET, device)
    for name, tensor in tensors.items():
        tensor.copy_(torch.from_numpy(getattr(batch, name)))
    return Loaded(block, tensors, *segments_of(batch, tensors), batch.counts.tolist(), 0, None, None)


def student(device: torch.device) -> tuple[Learner, Muon]:
    model = Qwen3VL(tiny().config, plain_ops())
    initialise(model, seed=0)
    learner = Learner(model, compiled=False)
    torch.manual_seed(1)
    nn.init.normal_(learner.char_head.weight, std=0.02)
    nn.init.zeros_(learner.char_head.bias)
    learner.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    learner.frequencies = learner.frequencies.float()
    return learner, optimiser(learner, compiled=False)


def rates(step: int) -> Rates:
    return Rates(0.01 / (step + 1), 1e-3, 0.85 + 0.01 * step, 0.1, 0.5 - 0.1 * step, apart=step == 0)


def test_a_step_is_its_parts() -> None:
    cpu = torch.device("cpu")
    one, other = student(cpu), student(cpu)
    step = Step(*one)
    for number in range(3):
        batch, now = loaded(50 * number, cpu), rates(number)
        torch.manual_seed(number)
        figures = step(batch, now)
        learner, optim = other
        torch.manual_seed(number)
        losses = learner(batch.tensors, batch.vision, batch.text, noise=0.02, apart=now.apart)
        (losses.text + now.chars * losses.chars).backward()
        optim.step(muon_rate=now.muon, adam_rate=now.adam, beta=now.beta, decay=now.decay)
        torch.testing.assert_close(figures, torch.stack([losses.text.detach(), losses.chars_right]))
    assert step.eager == 3
    for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_flat_gradient_is_the_gradient_and_stays_in_its_place() -> None:
    learner, optim = student(torch.device("cpu"))
    place, places = optim.grad.data_ptr(), [view.data_ptr() for view in optim.grad_views]
    for first in (0, 50):
        batch = loaded(first, torch.device("cpu"))
        learner(batch.tensors, batch.vision, batch.text, noise=0.0).text.backward()
        fresh = [torch.zeros_like(p[rows]) if p.grad is None else p.grad[rows].clone() for p, rows in optim.places]
        optim.collect()
        assert torch.equal(optim.grad, torch.cat([grad.flatten() for grad in fresh]))
        assert optim.grad.abs().sum() > 0
        assert all(p.grad is None for p in learner.parameters())
    assert (optim.grad.data_ptr(), [view.data_ptr() for view in optim.grad_views]) == (place, places)


def test_the_optimiser_reads_what_it_was_told() -> None:
    torch.manual_seed(0)
    matrix, vector = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(5))
    optim = Muon([(matrix, [6])], [(vector, 0.5)], compiled=False)
    master, momentum = matrix.detach().clone()[None], torch.zeros(1, 6, 4)
    small, first, second = vector.detach().clone(), torch.zeros(5), torch.zeros(5)
    for step in range(1, 4):
        told = {"muon_rate": 0.1 / step, "adam_rate": 0.2 / step, "beta": 0.8 + 0.03 * step, "decay": 0.1 * step}
        matrix.grad, vector.grad = torch.randn(6, 4), torch.randn(5)
        big, little = matrix.grad.clone()[None], vector.grad.clone()
        optim.step(**told)
        beta, rate, decay, small_rate = (torch.tensor(told[k]) for k in ("beta", "muon_rate", "decay", "adam_rate"))
        muon_update(big, momentum, master, beta, rate, decay)
        bias = [torch.tensor(1 - b**step) for b in ADAM_BETAS]
        adam_update(little, first, second, small, torch.tensor(0.5), small_rate, *bias)
        torch.testing.assert_close(matrix.detach(), master[0])
        torch.testing.assert_close(vector.detach(), small)


@pytest.mark.gpu
def test_captured_steps_are_eager_steps() -> None:
    device = torch.device("cuda")
    batches = [loaded(first, device) for first in (0, 50, 100, 150)]
    ends = []
    for graphs in (False, True):
        learner, optim = student(device)
        step = Step(learner, optim, ROOM)
        before = optim.master.clone()
        step.prepare(batches[0], (True, False), BUDGET, graphs=graphs)
        assert torch.equal(optim.master, before)
        torch.manual_seed(7)
        seen = [step(batch, rates(number)).clone() for number, batch in enumerate(batches)]
        assert step.eager == (0 if graphs else 4)
        ends.append((torch.stack(seen), optim.master - before))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=0.02, atol=0.01)
    assert torch.cosine_similarity(ends[0][1], ends[1][1], dim=0) > 0.9


@pytest.mark.gpu
def test_each_replay_has_its_own_noise_and_a_large_batch_runs_as_it_is() -> None:
    device = torch.device("cuda")
    learner, optim = student(device)
    batch = loaded(0, device)
    step = Step(learner, optim, ROOM)
    step.prepare(batch, (False,), BUDGET, graphs=True)
    still = Rates(0.0, 0.0, 0.9, 0.0, 0.5, apart=False)
    gradients = []
    for seed in (3, 3, None):
        if seed is not None:
            torch.manual_seed(seed)
        step(batch, still)
        gradients.append(optim.grad.clone())
    assert (gradients[2] - gradients[1]).norm() > 3 * (gradients[1] - gradients[0]).norm()
    assert (gradients[2] - gradients[1]).norm() > 1e-4 * gradients[0].norm()
    step.room = Room(text=1)
    step(batch, still)
    assert step.eager == 1
    assert torch.cosine_similarity(optim.grad, gradients[0], dim=0) > 0.9
