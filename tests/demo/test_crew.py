"""Ranks act as one: averaged gradients, equal weights, one clock; and end as one."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from saccade.demo.crew import ALONE, Clock, Crew, launch, share_cores
from saccade.demo.muon import Muon

STEPS = 4


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 8))


def muon(model: nn.Sequential, crew: Crew = ALONE) -> Muon:
    matrices = [(model[0].weight, [12, 12]), (model[2].weight, [8])]
    return Muon(matrices, [(model[0].bias, 1.0), (model[2].bias, 0.5)], compiled=False, crew=crew)


def examples(step: int, rank: int) -> Tensor:
    return torch.randn(6, 16, generator=torch.Generator().manual_seed(10 * step + rank))


def steps(model: nn.Sequential, optim: Muon, ranks: tuple[int, ...], clock: Clock | None = None) -> None:
    for step in range(STEPS):
        share = clock.share(step) if clock else step / 10
        for rank in ranks:
            (model(examples(step, rank)).square().mean() / len(ranks)).backward()
        optim.step(muon_rate=0.02 * (1 - share), adam_rate=0.01, beta=0.9, decay=0.1)


def learn(out: Path, crew: Crew, clock: Clock, meet: Callable[[], None]) -> None:
    meet()
    if crew.rank == 0:
        for step in range(STEPS):
            clock.tell(step, step / 10)
    model = small()
    optim = muon(model, crew)
    steps(model, optim, (crew.rank,), clock)
    crew.compare(optim.state)
    assert crew.total([1, crew.rank], torch.device("cpu")) == [2, 1]
    torch.save([p.detach() for p in model.parameters()], out / f"{crew.rank}.pt")
    # A rank that went its own way is found out by all.
    if crew.rank == 1:
        optim.master[3] += 1e-6
    try:
        crew.compare(optim.state)
    except RuntimeError as error:
        (out / f"{crew.rank}.json").write_text(json.dumps(str(error)))


def fail(crew: Crew, clock: Clock, meet: Callable[[], None]) -> None:
    meet()
    if crew.rank == 1:
        os._exit(3)
    crew.total([1], torch.device("cpu"))
    clock.share(10**6)


def test_two_ranks_learn_what_one_does_with_both_batches(tmp_path: Path) -> None:
    launch(partial(learn, tmp_path), 2, "gloo")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    model = small()
    untouched = [p.detach().clone() for p in model.parameters()]
    steps(model, muon(model), (0, 1))
    for a, b, alone, before in zip(first, second, model.parameters(), untouched, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, alone.detach(), rtol=0.02, atol=2e-4)  # Muon's products are bf16
        assert (alone - before).abs().max() > 2e-3
    for rank in (0, 1):
        assert "1 of 3" in json.loads((tmp_path / f"{rank}.json").read_text())


def test_one_dead_rank_ends_all() -> None:
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=r"rank [01] ended"):
        launch(fail, 2, "gloo")
    assert time.monotonic() - begin < 60
    assert mp.active_children() == []


def test_cores_are_shared_out_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(56)), raising=False)
    parts = [share_cores(rank, 3) for rank in range(3)]
    assert [len(part) for part in parts] == [18, 18, 18]
    assert len({core for part in parts for core in part}) == 54
    assert all(part[0] % 2 == 0 for part in parts)
