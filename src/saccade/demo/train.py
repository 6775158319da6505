"""`saccade demo train`: the small bundled model, trained on the synthetic picture world on one GPU, from nothing or on
from a checkpoint.

With several devices each has a process of its own (see crew): a step is then one on all their batches.

The schedule is in seconds, not steps: `seconds` of training end with the learning rate at zero, whatever the machine.
Writes a complete checkpoint directory in the Hugging Face layout, `train.json` with the learning curve, and
`char_head.safetensors`, the auxiliary head, which serving does not need.
"""

from __future__ import annotations

import gc
import json
import math
import multiprocessing as mp
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from saccade.demo import bundle
from saccade.demo.crew import ALONE, Clock, Crew, launch
from saccade.demo.feed import Feed, Loaded, samples, segments_of, to_device
from saccade.demo.learn import Learner, Segments
from saccade.demo.muon import Muon
from saccade.demo.pack import TASKS, Batch, Budget, Packer
from saccade.demo.profile import StepProfiler
from saccade.demo.step import Rates, Step
from saccade.demo.world.sample import World
from saccade.kernels import Ops, select
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.weights import load, save

HEAD = "char_head.safetensors"


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What a run needs; the defaults are those of the bundled checkpoint on one H200 with 16 cores."""

    out: Path
    start: Path | None = None
    """Checkpoint directory to go on from, without curriculum, with its character head if it has one. None: from
    nothing."""
    seconds: float = 1200.0
    seed: int = 1
    """Of weights and pictures; going on with the seed of the run before would draw the same pictures again."""
    workers: int = 0
    """Of each device; 0: all its cores but two."""
    slots: int = 40
    device: str = "cuda"
    devices: int = 1
    """So many of the kind, the first ones, train together on one batch each; the cores are divided among them."""
    budget: Budget = field(default_factory=Budget)
    muon_rate: float = 0.012
    adam_rate: float = 2e-3
    decay: float = 0.1
    warmup_steps: int = 100
    peak: float | None = None
    """Share of the two rates that is reached after the warm-up; None: 1 from nothing, 0.5 going on."""
    flat: float = 0.10
    """Share of the time at the peak; from there the rates fall linearly to zero. Going on: no such time."""
    full_stage: float = 0.35
    """Share of the time after which the whole world is drawn. Going on: from the first step."""
    head_steps: int = 300
    """Going on without a character head: so many steps teach a new one before its loss reaches the tower."""
    evaluations: int = 10
    max_steps: int | None = None
    save_every: float = 240.0
    """Seconds between safety copies."""
    graphs: bool = True
    """Replay captured CUDA graphs instead of launching each kernel; without effect on a CPU."""
    profile: int = 0
    """So many early steps are profiled; the tables go to profile.txt."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the share of the time gone, 0..1, and the steps done say about a step."""

    options: TrainOptions
    fresh_head: bool

    def rate(self, share: float, steps: int) -> float:
        """Of both learning rates."""
        going_on = self.options.start is not None
        peak = self.options.peak if self.options.peak is not None else 0.5 if going_on else 1.0
        flat = 0.0 if going_on else self.options.flat
        warm = min(1.0, (steps + 1) / self.options.warmup_steps)
        return peak * warm * min(1.0, (1 - share) / (1 - flat))

    def stage(self, share: float) -> float:
        return 1.0 if self.options.start else min(1.0, share / self.options.full_stage)

    def beta(self, steps: int) -> float:
        """Muon's momentum."""
        return 0.95 if self.options.start else 0.85 + 0.1 * min(1.0, steps / 300)

    def char_weight(self, share: float) -> float:
        """Of the character loss."""
        return 0.2 - 0.1 * share if self.options.start else 0.5 - 0.4 * share

    def apart(self, steps: int) -> bool:
        """Whether the character loss teaches its head alone."""
        return self.fresh_head and steps < self.options.head_steps

    def rates(self, share: float, steps: int) -> Rates:
        rate, options = self.rate(share, steps), self.options
        return Rates(
            muon=options.muon_rate * rate,
            adam=options.adam_rate * rate,
            beta=self.beta(steps),
            decay=options.decay,
            chars=self.char_weight(share),
            apart=self.apart(steps),
        )


def plain_ops() -> Ops:
    """Every op in plain torch, on any device: differentiable, and torch.compile fuses what lies between attentions."""
    return select("cpu", fused=False)


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


def optimiser(learner: Learner, *, compiled: bool, crew: Crew = ALONE) -> Muon:
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
    return Muon(matrices, others, compiled=compiled, crew=crew)


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
        tensors = to_device(batch, device)
        out.append((tensors, *segments_of(batch, tensors), int(batch.counts[3])))
    return out


def export(learner: Learner, out: Path) -> None:
    """Write weights and character head, and the bundled configuration, tokenizer and templates beside them."""
    out.mkdir(parents=True, exist_ok=True)
    for source in bundle.companions():
        if source.resolve().parent != out.resolve():
            shutil.copyfile(source, out / source.name)
    save(learner.model, out)
    head = {name: tensor.detach().to("cpu", copy=True) for name, tensor in learner.char_head.state_dict().items()}
    save_file(head, out / HEAD)


def student(options: TrainOptions, device: torch.device) -> tuple[Learner, bool]:
    """The model to train on its device, and whether its character head is new while the rest is not."""
    cuda = device.type == "cuda"
    if options.start is None:
        config = ModelConfig.from_dict(json.loads((bundle.directory() / "config.json").read_text()))
        model = Qwen3VL(config, plain_ops())
        initialise(model, options.seed)
    else:
        model = load(options.start, dtype=torch.float32, device="cpu", ops=plain_ops()).train()
    learner = Learner(model, compiled=cuda)
    nn.init.normal_(learner.char_head.weight, std=0.02)
    head = options.start / HEAD if options.start else None
    if head and head.exists():
        learner.char_head.load_state_dict(load_file(head))
    learner.to(device, torch.bfloat16 if cuda else torch.float32)
    learner.frequencies = learner.frequencies.float()
    return learner, head is not None and not head.exists()


def train(options: TrainOptions) -> Path:
    """Train for `options.seconds` and return the checkpoint directory. RuntimeError: a process of the run died."""
    if options.devices == 1:
        _work(options, ALONE, Clock(mp), lambda: None)
        return options.out
    cuda = options.device == "cuda"
    if cuda and torch.cuda.device_count() < options.devices:
        raise RuntimeError(f"{options.devices} GPUs are asked for and {torch.cuda.device_count()} are there")
    launch(partial(_work, options), options.devices, "nccl" if cuda else "gloo")
    return options.out


def _work(options: TrainOptions, crew: Crew, clock: Clock, meet: Callable[[], None]) -> None:
    """One rank's part of a training."""
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 4
    feed = Feed(options.seed, options.budget, options.workers or max(1, cores - 2), options.slots, crew)
    try:
        meet()
        _train(options, feed, crew, clock)
    finally:
        feed.close()


def _train(options: TrainOptions, feed: Feed, crew: Crew, clock: Clock) -> None:
    device = torch.device(options.device, crew.rank) if crew.size > 1 else torch.device(options.device)
    learner, fresh_head = student(options, device)
    torch.manual_seed(options.seed * 1000 + crew.rank)  # The weights were equal; the noise is not.
    compiled = device.type == "cuda"
    if compiled:
        torch._dynamo.config.recompile_limit = 64  # one graph for each shape of matrix
    optim = optimiser(learner, compiled=compiled, crew=crew)
    schedule = Schedule(options, fresh_head)
    feed.stage.value = schedule.stage(0.0)
    feed.attach(device)
    held_out = held_out_batches(options, device) if crew.rank == 0 else []
    batch = feed.next()
    step = Step(learner, optim)
    if compiled:
        phases = (True, False) if schedule.apart(0) else (False,)
        step.prepare(batch, phases, options.budget, graphs=options.graphs)
    log, profiler = (
        _Log(options, feed, crew, device),
        StepProfiler(0 if crew.rank else options.profile, device, options.out),
    )
    log.evaluate(learner, held_out, optim, keep=options.start is not None)
    # What lives now lives to the end; cycles are looked for at evaluations only, not in the middle of a step.
    gc.collect()
    gc.freeze()
    gc.disable()

    saved, next_evaluation = log.start(), 1.0 / options.evaluations
    if crew.rank == 0:
        for first in range(Clock.LEAD):
            clock.tell(first, log.share(first))
    while (share := clock.share(steps := log.done["steps"])) < 1:
        if crew.rank == 0:
            clock.tell(steps + Clock.LEAD, log.share(steps + Clock.LEAD))
        feed.stage.value = schedule.stage(share)
        figures = step(batch, schedule.rates(share, steps))
        log.count(batch)
        batch = feed.next()
        profiler.step(steps)
        now = time.perf_counter()
        if now - log.last > 10:
            loss, chars = figures.tolist()
            log.line(loss, chars, step.eager)
        if share >= next_evaluation:
            next_evaluation += 1.0 / options.evaluations
            log.evaluate(learner, held_out, optim)
            gc.collect()
        if crew.rank == 0 and now - saved > options.save_every:
            export(learner, options.out)
            saved = now
    log.evaluate(learner, held_out, optim)
    if crew.rank == 0:
        export(learner, options.out)
        _write_facts(options, feed, log.curve)
    gc.enable()


class _Log:
    """What has been done so far, lines about the last interval, and the learning curve, which rank 0 draws."""

    def __init__(self, options: TrainOptions, feed: Feed, crew: Crew, device: torch.device) -> None:
        self.options, self.feed, self.crew, self.device = options, feed, crew, device
        self.done = {"steps": 0, "pictures": 0, "patches": 0, "tokens": 0, "characters": 0}
        self.curve: list[dict[str, Any]] = []
        self.start()

    def start(self) -> float:
        """Set the clock to zero; the time."""
        self.begin = self.last = time.perf_counter()
        self.before = self._totals()
        return self.begin

    def share(self, steps: int) -> float:
        """Of the time that is gone now, or of the steps that may be made."""
        gone = (time.perf_counter() - self.begin) / self.options.seconds
        return max(gone, steps / self.options.max_steps if self.options.max_steps else 0.0)

    def _totals(self) -> tuple[float, ...]:
        return self.done["steps"], self.done["pictures"], self.feed.slack, self.feed.starved

    def count(self, batch: Loaded) -> None:
        self.done["steps"] += 1
        for key, i in (("pictures", 2), ("patches", 5), ("tokens", 6), ("characters", 4)):
            self.done[key] += batch.counts[i]

    def evaluate(self, learner: Learner, held_out: list[Any], optim: Muon, *, keep: bool = True) -> None:
        """Make sure that all ranks have the same weights, and add a point to the curve unless it only serves to
        compile; its counts are of all ranks."""
        self.crew.compare(optim.state)
        counts = self.crew.total(list(self.done.values()), self.device)
        if self.crew.rank:
            return
        done = dict(zip(self.done, counts, strict=True)) | {"steps": self.done["steps"]}
        point = {"s": round(time.perf_counter() - self.begin, 1), **done} | evaluate(learner, held_out)
        if keep:
            self.curve.append(point)
            print(json.dumps(point), flush=True)

    def line(self, loss: float, chars: float, eager: int) -> None:
        """Print one JSON line of this rank alone. `slack` is the share of the interval in which the host waited for the
        device (near 0: the host is too slow), `starved` that in which it waited for pictures; `eager` counts the steps
        that were not replayed."""
        now, totals = time.perf_counter(), self._totals()
        seconds = now - self.last
        rates = [round((b - a) / seconds, 3) for a, b in zip(self.before, totals, strict=True)]
        line: dict[str, Any] = {"rank": self.crew.rank, "s": round(now - self.begin, 1), **self.done}
        line |= dict(zip(("steps/s", "pictures/s", "slack", "starved"), rates, strict=True))
        line |= {"stage": round(self.feed.stage.value, 3), "reused": self.feed.reused, "eager": eager}
        print(json.dumps(line | {"loss": round(loss, 4), "chars": round(chars, 4)}), flush=True)
        self.last, self.before = now, totals


def _write_facts(options: TrainOptions, feed: Feed, curve: list[dict[str, Any]]) -> None:
    cuda = options.device.startswith("cuda")
    facts = {
        "options": {**asdict(options), "out": options.out.name, "start": options.start.name if options.start else None},
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "workers": len(feed.workers),
        "reused_batches_of_rank_0": feed.reused,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if cuda else 0,
        "curve": curve,
    }
    (options.out / "train.json").write_text(json.dumps(facts, indent=1) + "\n")
