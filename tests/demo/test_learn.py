"""The training pass is the served model: same logits, a loss that falls, gradients everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import tiny as kv
from saccade.demo import bundle, pack
from saccade.demo.feed import segments_of, to_device
from saccade.demo.learn import Learner
from saccade.demo.step import Room
from saccade.demo.train import initialise, optimiser
from saccade.demo.world.sample import Sample, Turn, no_letters
from saccade.kernels import select
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL

BUDGET = pack.Budget(patches=256, second=64, tokens=512, segments=256, answers=64)
CPU = torch.device("cpu")


def tiny() -> Qwen3VL:
    """The bundled architecture, thinner and shallower."""
    raw = json.loads((bundle.directory() / "config.json").read_text())
    raw["text_config"] |= {"num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 128}
    raw["vision_config"] |= {
        "depth": 4,
        "hidden_size": 128,
        "num_heads": 2,
        "intermediate_size": 128,
        "out_hidden_size": 64,
    }
    raw["vision_config"]["deepstack_visual_indexes"] = [0, 1, 2]
    torch.manual_seed(0)
    model = Qwen3VL(ModelConfig.from_dict(raw), select(CPU))
    initialise(model, seed=0)
    return model


def sample(seed: int) -> Sample:
    """A still or a short video; its answer is its shade."""
    rng = np.random.default_rng(seed)
    frames = (1, 2)[seed % 2]
    shade = int(rng.integers(0, 4))
    pixels = rng.integers(0, 32, (frames, 64, 32 * (1 + seed % 3), 3)) + 64 * shade
    stamps = (0.25,) if frames > 1 else ()
    turns = (Turn("color", "Shade?", "abcd"[shade] * 3),)
    return Sample("shapes", pixels.astype(np.uint8), stamps, turns, no_letters())


def filled(first: int) -> pack.Batch:
    def stream() -> Iterator[Sample]:
        n = first
        while True:
            yield sample(n)
            n += 1

    batch = pack.Batch.over(bytearray(pack.Batch.nbytes(BUDGET)), 0, BUDGET)
    pack.Packer(stream(), BUDGET, seed=first).fill(batch)
    return batch


def served_logits(model: Qwen3VL, s: Sample, talk: pack.Dialogue) -> torch.Tensor:
    """The product's own forward over one dialogue."""
    t, h, w = max(1, len(s.frames) // 2), s.frames.shape[1] // 16, s.frames.shape[2] // 16
    features = model.visual([torch.from_numpy(s.frames)], [(t, h, w)])
    x = model.language.embed(torch.from_numpy(talk.ids.astype(np.int64)))
    rows = torch.from_numpy(talk.visual)
    x = x.index_copy(0, rows, features[0])
    attend = kv.ContiguousKV(model).at(torch.from_numpy(talk.positions.astype(np.int64)))
    return model.language.head(model.language(x, attend, features[1:], rows))


def test_the_packed_pass_equals_the_served_forward() -> None:
    model = tiny()
    batch = filled(0)
    learner = Learner(model, compiled=False)
    with torch.no_grad():
        tensors = to_device(batch, CPU)
        losses = learner(tensors, *segments_of(batch, tensors), noise=0.0)
    # Answer by answer: the same loss from the served forward, one sample at a time.
    start = total = weight = 0.0
    rng = np.random.default_rng(0)
    at = 0
    for length in batch.text_segments.tolist():
        if at + length > int(batch.counts[6]):
            break
        ids = batch.ids[at : at + length]
        s = next(s for s in map(sample, range(100)) if _is(s, ids, batch, at))
        talk = pack.dialogue(s, rng)
        talk.ids, talk.positions = ids, batch.positions[:, at : at + length]
        talk.visual = np.flatnonzero((ids == pack.IMAGE_PAD) | (ids == pack.VIDEO_PAD))
        with torch.no_grad():
            logits = served_logits(model, s, talk)
        loss = F.cross_entropy(
            logits, torch.from_numpy(batch.targets[at : at + length].astype(np.int64)), reduction="none"
        )
        shares = torch.from_numpy(batch.weights[at : at + length].copy())
        total += float((loss * shares).sum())
        weight += float(shares.sum())
        at += length
        start += 1
    assert start > 5
    assert abs(total / weight - float(losses.text)) < 1e-5


def _is(s: Sample, ids: np.ndarray, batch: pack.Batch, at: int) -> bool:
    """Whether the dialogue at row `at` shows this sample: its first picture row tells."""
    visual = np.flatnonzero((ids == pack.IMAGE_PAD) | (ids == pack.VIDEO_PAD))
    patch = int(np.flatnonzero(batch.features_at == at + visual[0])[0]) * 4
    return bool((batch.rows[patch] == pack.patch_rows(s.frames[0])[0]).all())


def test_room_for_more_segments_changes_nothing() -> None:
    learner = Learner(tiny(), compiled=False)
    batch = filled(3)
    tensors = to_device(batch, CPU)
    exact = segments_of(batch, tensors)
    room = Room(vision=BUDGET.segments, vision_longest=300, text=len(exact[1].lengths) + 7, text_longest=400)
    assert room.holds(*exact)
    assert not Room(text=len(exact[1].lengths) - 1).holds(*exact)
    assert not Room(vision_longest=exact[0].longest - 1).holds(*exact)
    padded = room.segments(tensors)
    assert padded[0].bounds.diff().eq(0).sum() > 0
    assert padded[1].bounds.numel() == len(exact[1].lengths) + 8
    seen = []
    for segments in (exact, padded):
        losses = learner(tensors, *segments, noise=0.0)
        (losses.text + losses.chars).backward()
        seen.append([losses.text.detach(), losses.chars.detach(), *(p.grad.clone() for p in learner.parameters())])
        learner.zero_grad()
    for a, b in zip(*seen, strict=True):
        assert torch.equal(a, b)


def test_training_learns_and_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    learner = Learner(tiny(), compiled=False)
    optim = optimiser(learner, compiled=False)
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    losses = []
    for step in range(40):
        batch = filled(1000 * step)
        tensors = to_device(batch, CPU)
        out = learner(tensors, *segments_of(batch, tensors), noise=0.01)
        (out.text + 0.1 * out.chars).backward()
        optim.step(muon_rate=0.01, adam_rate=2e-3, beta=0.9, decay=0.1)
        losses.append(float(out.text.detach()))
    assert sum(losses[-5:]) < 0.25 * sum(losses[:3])
    still = [name for name, p in learner.named_parameters() if torch.equal(p, before[name])]
    assert still == []


def test_the_bundled_directory_has_its_companions(tmp_path: Path) -> None:
    names = {p.name for p in bundle.companions()}
    assert {"config.json", "tokenizer.json", "chat_template.jinja", "preprocessor_config.json"} <= names
