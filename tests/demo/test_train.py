"""A whole training run in small: two ranks go on from a checkpoint, and what they write can be loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from test_learn import tiny

from saccade.demo import bundle
from saccade.demo.pack import Budget
from saccade.demo.train import HEAD, Schedule, TrainOptions, train
from saccade.model.weights import load, save

BUDGET = Budget(patches=2200, second=1600, tokens=3000, segments=256, answers=64)


def checkpoint(out: Path) -> Path:
    """A thin model as a checkpoint directory."""
    out.mkdir()
    for source in bundle.companions():
        shutil.copyfile(source, out / source.name)
    raw = json.loads((out / "config.json").read_text())
    model = tiny()
    for part in ("text", "vision"):
        config = getattr(model.config, part)
        raw[f"{part}_config"] = {key: getattr(config, key, value) for key, value in raw[f"{part}_config"].items()}
    (out / "config.json").write_text(json.dumps(raw))
    save(model, out)
    return out


def test_two_ranks_train_on_from_a_checkpoint(tmp_path: Path) -> None:
    start, out = checkpoint(tmp_path / "start"), tmp_path / "out"
    options = TrainOptions(
        out, start=start, seconds=600, max_steps=2, seed=5, workers=1, slots=2, device="cpu", devices=2,
        budget=BUDGET, evaluations=1, warmup_steps=1, head_steps=1,
    )  # fmt: skip
    assert train(options) == out
    facts = json.loads((out / "train.json").read_text())
    first, last = facts["curve"]
    assert (first["steps"], last["steps"]) == (0, 2)
    assert last["patches"] > 2 * BUDGET.patches  # of both ranks
    assert facts["options"]["devices"] == 2
    before, after = (load(at, dtype=torch.float32, device="cpu") for at in (start, out))
    moved = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert all(moved)
    assert (out / HEAD).exists()


def test_the_rates_end_at_zero(tmp_path: Path) -> None:
    fresh = Schedule(TrainOptions(tmp_path), fresh_head=True)
    on = Schedule(TrainOptions(tmp_path, start=tmp_path, peak=0.8), fresh_head=True)
    assert (fresh.rate(0.05, 1000), on.rate(0.0, 1000)) == (1.0, 0.8)
    assert on.rate(0.5, 1000) == 0.4
    assert fresh.rate(1.0, 1000) == on.rate(1.0, 1000) == 0.0
    assert on.rate(0.0, 0) == 0.8 / 100
