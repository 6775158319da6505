"""Worker processes fill batches in shared memory; the trainer takes them to the device one step ahead.

Workers are forked before CUDA starts and hold numpy only. Each owns some slots of the shared memory; a slot's state
goes EMPTY -> (its worker fills it) -> FULL -> (the trainer copies it) TAKEN -> EMPTY. One byte a slot and one writer at
a time: no queue, no lock, no thread and no system call beside the computation.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
import multiprocessing as mp
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.demo.crew import ALONE, Crew
from saccade.demo.learn import Segments
from saccade.demo.pack import Batch, Budget, Packer
from saccade.demo.world.draw import draw
from saccade.demo.world.sample import Sample, World

ON_DEVICE = tuple(f.name for f in fields(Batch) if f.name not in ("vision_segments", "text_segments", "counts"))
EMPTY, FULL, TAKEN = 0, 1, 2
KEPT = 24
"""Batches kept on the device, to be trained on again when the workers are behind."""
AHEAD = 3
"""Steps that may wait in the device's queue."""


def samples(seed: int, first: int, step: int, world: World, stage: Any = None) -> Iterator[Sample]:
    """Samples first, first + step, ... of a seed; `stage` is a shared number that overrides the world's. One that
    cannot be drawn is reported and passed over: a run does not end for one page in a million."""
    for index in itertools.count(first, step):
        try:
            sample = draw(seed, index, world if stage is None else replace(world, stage=float(stage.value)))
        except (RuntimeError, ValueError, ArithmeticError, LookupError) as error:
            print(f"sample {index} of seed {seed} cannot be drawn: {error!r}", file=sys.stderr, flush=True)
            continue
        yield sample


def _work(
    number: int,
    workers: int,
    crew: Crew,
    seed: int,
    memory: mmap.mmap,
    budget: Budget,
    states: mmap.mmap,
    stage: Any,
    cores: set[int],
) -> None:
    os.nice(5)
    if cores:
        os.sched_setaffinity(0, cores)
    first, step = crew.rank * workers + number, crew.size * workers
    packer = Packer(samples(seed, first, step, World(), stage), budget, seed * 1000 + first)
    state = np.frombuffer(states, np.uint8)
    mine = range(number, len(state), workers)
    parent, size = os.getppid(), Batch.nbytes(budget)
    for slot in itertools.cycle(mine):
        while state[slot] != EMPTY:
            time.sleep(0.002)
            if os.getppid() != parent:
                return
        packer.fill(Batch.over(memory, slot * size, budget))
        state[slot] = FULL


def spare_cores(workers: int) -> set[int]:
    """The cores that workers may use so that both halves of one core are left to the trainer; empty: any."""
    if not hasattr(os, "sched_getaffinity"):
        return set()
    cores = os.sched_getaffinity(0)
    first, kept = min(cores), {min(cores)}
    with contextlib.suppress(OSError, ValueError):
        text = Path(f"/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list").read_text()
        kept = {int(part) for span in text.strip().split(",") for part in span.split("-")}
    if len(kept & cores) < 2:
        kept = set(sorted(cores)[:2])
    return cores - kept if len(cores - kept) >= workers else set()


@dataclass(slots=True)
class Loaded:
    """A batch on the device, in memory of its own that is used again and again."""

    block: Tensor
    tensors: dict[str, Tensor]
    vision: Segments
    text: Segments
    counts: list[int]
    uses: int
    copied: Any
    """CUDA event: the copy is done."""
    trained: Any
    """CUDA event: the last step on it is done."""


class Feed:
    """Batches on the device, always one uploaded ahead. When the workers are behind, the least used of the recent
    batches is trained on once more (its noise differs) instead of waiting. Each rank of a crew draws other pictures of
    the seed."""

    def __init__(self, seed: int, budget: Budget, workers: int, slots: int, crew: Crew = ALONE) -> None:
        context = mp.get_context("fork")
        self.budget, self.size = budget, Batch.nbytes(budget)
        slots = max(slots, 2 * workers)
        self.stage = context.Value("d", 0.0, lock=False)
        self.memory, states = mmap.mmap(-1, slots * self.size), mmap.mmap(-1, slots)
        self.state = np.frombuffer(states, np.uint8)
        self.workers = [
            context.Process(
                target=_work,
                args=(n, workers, crew, seed, self.memory, budget, states, self.stage, spare_cores(workers)),
                daemon=True,
            )
            for n in range(workers)
        ]
        for worker in self.workers:
            worker.start()
        self.host = torch.frombuffer(self.memory, dtype=torch.uint8)
        self.reused = self.cursor = 0
        self.seen = time.perf_counter()
        """When all workers were last seen alive."""
        self.starved = self.slack = 0.0
        """Seconds spent waiting for workers, and for the device with AHEAD steps in its queue."""
        self.device = torch.device("cpu")
        self.stream: Any = None
        self.ring: deque[Loaded] = deque()
        self.flying: deque[tuple[int, Loaded]] = deque()
        self.queue: deque[Any] = deque()
        self.ahead: Loaded | None = None
        self.current: Loaded | None = None

    def attach(self, device: torch.device) -> None:
        """Register the shared memory with CUDA, so that uploads run beside the computation."""
        self.device = device
        if device.type == "cuda":
            address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
            torch.cuda.cudart().cudaHostRegister(address, len(self.memory), 0)  # type: ignore[no-untyped-call]
            self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def next(self) -> Loaded:
        """The next batch to train on; the step on the one before is in the device's queue by now."""
        if self.current is not None and self.stream is not None:
            self.current.trained.record()
            self._keep_pace()
        loaded, self.ahead = self.ahead or self._upload(), None
        if loaded is None:
            self.reused += 1
            loaded = min(self.ring, key=lambda r: r.uses)
        elif self.stream is not None:
            torch.cuda.current_stream().wait_event(loaded.copied)
        self.current = loaded
        loaded.uses += 1
        self.ahead = self._upload()
        return loaded

    def _keep_pace(self) -> None:
        """Wait while more than AHEAD steps are in the device's queue."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self.queue.append(event)
        if len(self.queue) > AHEAD:
            begin = time.perf_counter()
            self.queue.popleft().synchronize()
            self.slack += time.perf_counter() - begin

    def _upload(self) -> Loaded | None:
        """Start to load the next filled slot; None when there is none soon and old batches can serve."""
        slot = self._full()
        if slot is None:
            return None
        self.state[slot] = TAKEN
        batch = Batch.over(self.memory, slot * self.size, self.budget)
        loaded = self._room()
        with torch.cuda.stream(self.stream) if self.stream is not None else contextlib.nullcontext():
            if self.stream is not None:
                self.stream.wait_event(loaded.trained)
            loaded.block.copy_(self.host[slot * self.size : (slot + 1) * self.size], non_blocking=True)
            if self.stream is not None:
                loaded.copied.record(self.stream)
        loaded.counts, loaded.uses = batch.counts.tolist(), 0
        loaded.vision, loaded.text = segments_of(batch, loaded.tensors)
        self.flying.append((slot, loaded))
        self.ring.append(loaded)
        self._release()
        return loaded

    def _full(self) -> int | None:
        begin = time.perf_counter()
        while True:
            self._look_after()
            self._release()
            full = np.flatnonzero(self.state == FULL)
            waited = time.perf_counter() - begin
            if len(full):
                # The next one in the ring, so that no slot is left behind.
                slot = int(full[np.searchsorted(full, self.cursor) % len(full)])
                self.cursor = (slot + 1) % len(self.state)
                self.starved += waited
                return slot
            if waited > 0.002 and len(self.ring) > 1:
                self.starved += waited
                return None
            time.sleep(0.0005)

    def _look_after(self) -> None:
        """Once a second: a dead worker would only show as batches that come back more often."""
        now = time.perf_counter()
        if now - self.seen > 1:
            self.seen = now
            if dead := [w.pid for w in self.workers if not w.is_alive()]:
                raise RuntimeError(f"worker processes {dead} died")

    def _release(self) -> None:
        """Give slots whose copy is done back to their workers."""
        while self.flying and (self.stream is None or self.flying[0][1].copied.query()):
            self.state[self.flying.popleft()[0]] = EMPTY

    def _room(self) -> Loaded:
        """Device memory for one more batch: new, or that of the oldest batch that is not being trained on."""
        if len(self.ring) >= KEPT:
            if self.ring[0] is self.current:
                self.ring.rotate(-1)
            return self.ring.popleft()
        block, tensors = device_block(self.budget, self.device)
        none = Segments(block[:0], 0, [])
        events = [torch.cuda.Event() if self.stream is not None else None for _ in range(2)]  # type: ignore[no-untyped-call]
        if self.stream is not None:
            # The block is made in the compute stream's order and first written in the other's.
            self.stream.wait_stream(torch.cuda.current_stream())
        return Loaded(block, tensors, none, none, [], 0, *events)

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.join()


def device_block(budget: Budget, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """Device memory for one batch, uint8 as in a slot, and the arrays that lie in it."""
    block = torch.empty(Batch.nbytes(budget), dtype=torch.uint8, device=device)
    tensors = {}
    for name, (offset, dtype, shape) in budget.places().items():
        if name in ON_DEVICE:
            empty = torch.from_numpy(np.empty(0, dtype)).to(device)
            strides = torch.empty(shape, device="meta").stride()
            # Not a view of the block to autograd and the compiler, which would watch over it.
            tensors[name] = empty.set_(block.untyped_storage(), offset // empty.element_size(), shape, strides)
    return block, tensors


def to_device(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The arrays of a batch as tensors on the device, in memory of their own."""
    return {name: torch.from_numpy(getattr(batch, name).copy()).to(device) for name in ON_DEVICE}


def segments_of(batch: Batch, tensors: dict[str, Tensor]) -> tuple[Segments, Segments]:
    """Vision and text segments of a batch whose arrays are `tensors` on the device."""
    vision, text, longest = int(batch.counts[0]), int(batch.counts[1]), batch.counts[8:].tolist()
    return (
        Segments(tensors["vision_bounds"][: vision + 1], longest[0], batch.vision_segments[:vision].tolist()),
        Segments(tensors["text_bounds"][: text + 1], longest[1], batch.text_segments[:text].tolist()),
    )
