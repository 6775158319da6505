"""`saccade demo train`: the small bundled model, trained from nothing on the synthetic picture world on one GPU.

The schedule is in seconds, not steps: `seconds` of training end with the learning rate at zero, whatever the machine.
Writes a complete checkpoint directory in the Hugging Face layout and `train.json` with the learning curve.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.demo import bundle
from saccade.demo.feed import Feed, samples, segments_of, to_device
from saccade.demo.learn import Learner, Segments
from saccade.demo.muon import Muon
from saccade.demo.pack import TASKS, Batch, Budget, Packer
from saccade.demo.world.sample import World
from saccade.kernels import select
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.weights import save


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What a run needs; the defaults are those of the bundled checkpoint on one H200 with 16 cores."""

    out: Path
    seconds: float = 1200.0
    seed: int = 1
    workers: int = 0
    """0: all cores but two."""
    slots: int = 40
    device: str = "cuda"
    budget: Budget = field(default_factory=Budget)
    muon_rate: float = 0.012
    adam_rate: float = 2e-3
    decay: float = 0.1
    warmup_steps: int = 100
    flat: float = 0.10
    """Share of the time at full learning rate; from there it falls linearly to zero."""
    full_stage: float = 0.35
    """Share of the time after which the whole world is drawn."""
    evaluations: int = 10
    max_steps: int | None = None
    save_every: float = 240.0
    """Seconds between safety copies."""


def initialise(model: Qwen3VL, seed: int) -> None:
    """Matrices normal with 1/sqrt(fan-in) scale, small on the way out of a branch; position table as 2-D sine waves."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.dim() == 1:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
                continue
            fan_in = parameter[0].numel()
            scale = 0.02 if "embed" in name and "patch" not in name else 1 / math.sqrt(fan_in)
            if name.endswith(("o_proj.weight", "down_proj.weight", ".proj.weight", "linear_fc2.weight")):
                scale *= 0.3
            parameter.copy_(torch.empty(parameter.shape).normal_(0, scale, generator=generator))
    table = model.visual.pos_embed.weight
    side, width = round(table.size(0) ** 0.5), table.size(1)
    waves = 100.0 ** (-torch.arange(width // 4).float() / (width // 4))
    at = torch.arange(side).float()[:, None] * waves
    wave = torch.cat([at.sin(), at.cos()], dim=1)  # [side, width / 2]
    grid = torch.cat([wave[:, None].expand(-1, side, -1), wave[None].expand(side, -1, -1)], dim=-1)
    with torch.no_grad():
        table.copy_(grid.reshape(side * side, width) * 0.3)


def optimiser(learner: Learner, *, compiled: bool) -> Muon:
    """Muon for the matrices of blocks, mergers and layers, split where projections are fused; Adam for the rest."""
    text = learner.model.config.text
    head, hidden = text.head_dim, text.intermediate_size
    matrices, others = [], []
    for name, parameter in learner.named_parameters():
        rows = parameter.shape[0]
        if parameter.dim() != 2 or "embed" in name or "table" in name or "char_head" in name:
            others.append((parameter, 0.2 if "patch" in name else 1.0))
        elif "qkv" in name and "visual." in name:
            matrices.append((parameter, [rows // 3] * 3))
        elif "qkv" in name:
            kv = text.num_key_value_heads * head
            matrices.append((parameter, [text.num_attention_heads * head, kv, kv]))
        elif "gate_up" in name:
            matrices.append((parameter, [hidden, hidden]))
        else:
            matrices.append((parameter, [rows]))
    return Muon(matrices, others, compiled=compiled)


@torch.no_grad()
def evaluate(learner: Learner, held_out: list[tuple[dict[str, Tensor], Segments, Segments, int]]) -> dict[str, Any]:
    """Teacher-forced on held-out words: loss, patch characters, and per task the share of answers with every token
    right (what greedy decoding would answer exactly)."""
    loss = chars = 0.0
    right = torch.zeros(len(TASKS))
    asked = torch.zeros(len(TASKS))
    for tensors, vision, text, num_answers in held_out:
        out = learner(tensors, vision, text, noise=0.0)
        loss += float(out.text) / len(held_out)
        chars += float(out.chars_right) / len(held_out)
        answer = tensors["answer"].long()
        wrong = torch.zeros(tensors["tasks"].numel() + 1, device=answer.device)
        wrong.index_add_(0, answer.clamp(min=-1) % wrong.numel(), ((~out.right) & (answer >= 0)).float())
        task = tensors["tasks"][:num_answers].long().cpu()
        asked.index_add_(0, task, torch.ones(num_answers))
        right.index_add_(0, task, (wrong[:num_answers] == 0).float().cpu())
    exact = {TASKS[i]: round(float(right[i] / asked[i]), 3) for i in range(len(TASKS)) if asked[i]}
    return {"eval_loss": round(loss, 4), "chars": round(chars, 4), "exact": exact}


def held_out_batches(options: TrainOptions, device: torch.device) -> list[Any]:
    """Three batches of held-out words in known fonts and one in unseen fonts, drawn once."""
    out = []
    for number, world in enumerate([World(split="test")] * 3 + [World(split="test", fonts="unseen")]):
        packer = Packer(samples(options.seed + 7919, number, 4, world), options.budget, number)
        batch = Batch.over(bytearray(Batch.nbytes(options.budget)), 0, options.budget)
        packer.fill(batch)
        out.append((to_device(batch, device), *segments_of(batch, device), int(batch.counts[3])))
    return out


def export(learner: Learner, out: Path) -> None:
    """Write weights and the bundled configuration, tokenizer and templates beside them."""
    out.mkdir(parents=True, exist_ok=True)
    for source in bundle.companions():
        if source.resolve().parent != out.resolve():
            shutil.copyfile(source, out / source.name)
    save(learner.model, out)


def train(options: TrainOptions) -> Path:
    """Train for `options.seconds` and return the checkpoint directory."""
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.recompile_limit = 64  # one graph for each shape of matrix
    workers = options.workers or max(1, (os.cpu_count() or 4) - 2)
    feed = Feed(options.seed, options.budget, workers, options.slots)
    try:
        return _train(options, feed)
    finally:
        feed.close()


def _train(options: TrainOptions, feed: Feed) -> Path:
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    config = ModelConfig.from_dict(json.loads((bundle.directory() / "config.json").read_text()))
    model = Qwen3VL(config, select(device))
    initialise(model, options.seed)
    learner = Learner(model, compiled=cuda)
    nn.init.normal_(learner.char_head.weight, std=0.02)
    learner.to(device, torch.bfloat16 if cuda else torch.float32)
    learner.frequencies = learner.frequencies.float()
    optim = optimiser(learner, compiled=cuda)
    feed.attach(device)
    held_out = held_out_batches(options, device)
    batch = feed.next()
    # Compile everything before the clock starts; at rate zero nothing moves.
    for _ in range(2):
        losses = learner(batch.tensors, batch.vision, batch.text, noise=0.02)
        (losses.text + losses.chars).backward()
        optim.step(muon_rate=0.0, adam_rate=0.0, beta=0.85, decay=0.0)
    evaluate(learner, held_out)

    curve: list[dict[str, Any]] = []
    begin = last = saved = time.perf_counter()
    done = {"steps": 0, "pictures": 0, "patches": 0, "tokens": 0, "characters": 0}
    next_evaluation = 1.0 / options.evaluations
    while True:
        now = time.perf_counter()
        share = (now - begin) / options.seconds
        if options.max_steps is not None:
            share = max(share, done["steps"] / options.max_steps)
        if share >= 1:
            break
        feed.stage.value = min(1.0, share / options.full_stage)
        warm = min(1.0, (done["steps"] + 1) / options.warmup_steps)
        rate = warm * min(1.0, (1 - share) / (1 - options.flat))
        losses = learner(batch.tensors, batch.vision, batch.text, noise=0.02)
        (losses.text + (0.5 - 0.4 * share) * losses.chars).backward()
        optim.step(
            muon_rate=options.muon_rate * rate,
            adam_rate=options.adam_rate * rate,
            beta=0.85 + 0.1 * min(1.0, done["steps"] / 300),
            decay=options.decay,
        )
        done["steps"] += 1
        for key, i in (("pictures", 2), ("patches", 5), ("tokens", 6), ("characters", 4)):
            done[key] += batch.counts[i]
        batch = feed.next()
        if now - last > 10:
            line = {
                "s": round(now - begin, 1), "stage": round(feed.stage.value, 3),
                "reused": feed.reused,
                "loss": round(losses.text.item(), 4), "chars": round(losses.chars_right.item(), 4), **done,
            }  # fmt: skip
            print(json.dumps(line), flush=True)
            last = now
        if share >= next_evaluation:
            next_evaluation += 1.0 / options.evaluations
            curve.append({"s": round(now - begin, 1), **done, **evaluate(learner, held_out)})
            print(json.dumps(curve[-1]), flush=True)
        if now - saved > options.save_every:
            export(learner, options.out)
            saved = now
    curve.append({"s": round(time.perf_counter() - begin, 1), **done, **evaluate(learner, held_out)})
    print(json.dumps(curve[-1]), flush=True)
    export(learner, options.out)
    facts = {
        "options": {**asdict(options), "out": options.out.name},
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "workers": len(feed.workers),
        "reused_batches": feed.reused,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if cuda else 0,
        "curve": curve,
    }
    (options.out / "train.json").write_text(json.dumps(facts, indent=1) + "\n")
    return options.out
