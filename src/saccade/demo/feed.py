"""Worker processes fill batches in shared memory; the trainer takes them to the device one step ahead.

Workers are forked before CUDA starts and hold numpy only. A slot number travels free -> worker -> ready -> trainer ->
free.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import multiprocessing as mp
import os
import queue
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.demo.learn import Segments
from saccade.demo.pack import Batch, Budget, Packer
from saccade.demo.world.draw import draw
from saccade.demo.world.sample import Sample, World

ON_DEVICE = tuple(f.name for f in fields(Batch) if f.name not in ("vision_segments", "text_segments", "counts"))


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
    number: int, workers: int, seed: int, memory: mmap.mmap, budget: Budget, free: Any, ready: Any, stage: Any
) -> None:
    os.nice(5)
    packer = Packer(samples(seed, number, workers, World(), stage), budget, seed * 1000 + number)
    size = Batch.nbytes(budget)
    while (slot := free.get()) is not None:
        packer.fill(Batch.over(memory, slot * size, budget))
        ready.put(slot)


@dataclass(slots=True)
class Loaded:
    """A batch on the device."""

    tensors: dict[str, Tensor]
    vision: Segments
    text: Segments
    counts: list[int]
    uses: int = 0


class Feed:
    """Batches on the device, always one uploaded ahead. When the workers are behind, the least used of the recent
    batches is trained on once more (its noise differs) instead of waiting."""

    def __init__(self, seed: int, budget: Budget, workers: int, slots: int) -> None:
        context = mp.get_context("fork")
        self.budget = budget
        self.stage = context.Value("d", 0.0, lock=False)
        self.memory = mmap.mmap(-1, slots * Batch.nbytes(budget))
        self.free: Any = context.Queue()
        self.ready: Any = context.Queue()
        for slot in range(slots):
            self.free.put(slot)
        self.workers = [
            context.Process(
                target=_work,
                args=(n, workers, seed, self.memory, budget, self.free, self.ready, self.stage),
                daemon=True,
            )
            for n in range(workers)
        ]
        for worker in self.workers:
            worker.start()
        self.reused = 0
        self.device = torch.device("cpu")
        self.stream: Any = None
        self.recent: deque[Loaded] = deque(maxlen=24)
        self.ahead: tuple[int, Loaded] | None = None

    def attach(self, device: torch.device) -> None:
        """Register the shared memory with CUDA, so that uploads run beside the computation."""
        self.device = device
        if device.type == "cuda":
            address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
            torch.cuda.cudart().cudaHostRegister(address, len(self.memory), 0)  # type: ignore[no-untyped-call]
            self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def next(self) -> Loaded:
        """The next batch to train on."""
        ahead = self.ahead or self._upload()
        if ahead is None:
            self.reused += 1
            loaded = min(self.recent, key=lambda r: r.uses)
        else:
            slot, loaded = ahead
            if self.stream is not None:
                self.stream.synchronize()
                for tensor in loaded.tensors.values():
                    tensor.record_stream(torch.cuda.current_stream())
            self.free.put(slot)
            self.recent.append(loaded)
        self.ahead = self._upload()
        loaded.uses += 1
        return loaded

    def _upload(self) -> tuple[int, Loaded] | None:
        """Start to load the next filled slot; None when there is none yet and old batches can serve."""
        while True:
            try:
                slot = self.ready.get(timeout=0.001 if len(self.recent) > 1 else 5.0)
                break
            except queue.Empty:
                dead = [w.pid for w in self.workers if not w.is_alive()]
                if dead:
                    raise RuntimeError(f"worker processes {dead} died") from None
                if len(self.recent) > 1:
                    return None
        batch = Batch.over(self.memory, slot * Batch.nbytes(self.budget), self.budget)
        tensors = to_device(batch, self.device, self.stream)
        return slot, Loaded(tensors, *segments_of(batch, self.device), batch.counts.tolist())

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.join()


def to_device(batch: Batch, device: torch.device, stream: Any = None) -> dict[str, Tensor]:
    """The arrays of a batch as tensors on the device."""
    arrays = {name: torch.from_numpy(getattr(batch, name)) for name in ON_DEVICE}
    if device.type != "cuda":
        return {name: array.clone() for name, array in arrays.items()}
    with torch.cuda.stream(stream or torch.cuda.current_stream()):
        return {name: array.to(device, non_blocking=stream is not None) for name, array in arrays.items()}


def segments_of(batch: Batch, device: torch.device) -> tuple[Segments, Segments]:
    """Vision and text segments of a batch."""
    return (
        _segments(batch.vision_segments[: int(batch.counts[0])].tolist(), device),
        _segments(batch.text_segments[: int(batch.counts[1])].tolist(), device),
    )


def _segments(lengths: list[int], device: torch.device) -> Segments:
    bounds = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    if device.type == "cuda":
        bounds = bounds.pin_memory().to(device, non_blocking=True)
    return Segments(bounds, max(lengths), lengths)
