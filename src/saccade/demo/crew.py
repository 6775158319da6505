"""Processes that train one model together: each has its device, its cores and its pictures; gradients are averaged.

Rank 0 keeps the clock. For every step it says, a few steps ahead, which share of the time is gone, and every rank acts
on that number alone: rates are equal to the bit, and all leave after the same step. A crew ends as a whole: when one
process fails, `launch` ends the others, and a rank whose launcher is gone ends itself.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(minutes=5)
"""How long a collective may take: one rank may compile, evaluate or save meanwhile."""


class Clock:
    """The share of the time gone at each step, written by rank 0 `LEAD` steps ahead, read by all, without a lock."""

    LEAD = 4
    RING = 256
    """Steps that are kept; the ranks' hosts are never so far apart, since collectives hold them together."""

    def __init__(self, context: Any) -> None:
        self.shares = context.Array("d", self.RING, lock=False)
        self.told = context.Value("q", 0, lock=False)
        """Steps from 0 on whose share is known."""

    def tell(self, step: int, share: float) -> None:
        """Rank 0, for one step after the other: the share of the time that is gone then."""
        self.shares[step % self.RING] = share
        self.told.value = step + 1

    def share(self, step: int) -> float:
        """The share of the time gone at `step`; waits for rank 0 to say it. RuntimeError: the launcher is gone."""
        launcher = mp.parent_process()
        while True:
            if launcher is not None and os.getppid() != launcher.pid:
                raise RuntimeError("the process that launched this rank is gone")
            if self.told.value > step:
                return float(self.shares[step % self.RING])
            time.sleep(0.0002)


@dataclass(frozen=True, slots=True)
class Crew:
    """This process's place among `size` ranks; a crew of one needs no process group."""

    rank: int = 0
    size: int = 1

    def average_(self, flat: Tensor) -> None:
        """The mean over all ranks, in place; the same bits on each."""
        if self.size > 1:
            dist.all_reduce(flat)
            flat.mul_(1 / self.size)

    def follow_(self, flat: Tensor) -> None:
        """The values of rank 0, in place."""
        if self.size > 1:
            dist.broadcast(flat, 0)

    def total(self, numbers: Sequence[int], device: torch.device) -> list[int]:
        """The sum over all ranks of each number."""
        summed = torch.tensor(numbers, dtype=torch.int64, device=device)
        if self.size > 1:
            dist.all_reduce(summed)
        return summed.tolist()

    def compare(self, tensors: Sequence[Tensor]) -> None:
        """Raises RuntimeError on every rank when the fp32 tensors are not the same, bit for bit, on all."""
        if self.size == 1:
            return
        sums = torch.stack([t.detach().view(torch.int32).sum(dtype=torch.int64) for t in tensors])
        both = torch.cat([sums, -sums])
        dist.all_reduce(both, op=dist.ReduceOp.MAX)
        high, low = both.chunk(2)
        if not torch.equal(high, -low):
            raise RuntimeError(f"the ranks have drifted apart: {(high != -low).sum()} of {len(sums)} checksums differ")


ALONE = Crew()


def share_cores(rank: int, size: int) -> list[int]:
    """The cores of a rank, an even number of neighbours where there are enough, so that no two ranks share a core's
    halves; empty where a process cannot choose."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // size
    each -= each % 2 if each > 2 else 0
    return cores[rank * each : (rank + 1) * each] or cores


def launch(work: Callable[[Crew, Clock, Callable[[], None]], None], size: int, backend: str) -> None:
    """Run `work(crew, clock, meet)` in `size` new processes and wait for all; each calls `meet()` to join the others,
    after it has forked what it forks. RuntimeError: one failed, and the others were ended."""
    context = mp.get_context("spawn")
    clock = Clock(context)
    with tempfile.TemporaryDirectory() as room:
        ranks = [
            context.Process(target=_run, args=(work, Crew(rank, size), clock, backend, Path(room) / "store"))
            for rank in range(size)
        ]
        try:
            for process in ranks:
                process.start()
            left = list(ranks)
            while left:
                done = wait([process.sentinel for process in left])
                for process in [p for p in left if p.sentinel in done]:
                    process.join()
                    left.remove(process)
                    if process.exitcode:
                        raise RuntimeError(f"rank {ranks.index(process)} ended with code {process.exitcode}")
        finally:
            for process in ranks:
                if process.is_alive():
                    process.kill()
                if process.pid:
                    process.join()


def _run(work: Callable[..., None], crew: Crew, clock: Clock, backend: str, store: Path) -> None:
    """What a rank's process does."""
    cores = share_cores(crew.rank, crew.size)
    if cores:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(len(cores))
    try:
        work(crew, clock, partial(_meet, crew, backend, store))
        dist.destroy_process_group()
    except BaseException:
        # Not the ordinary way out, which may wait for collectives that the other ranks will never join.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _meet(crew: Crew, backend: str, store: Path) -> None:
    device = torch.device("cuda", crew.rank) if backend == "nccl" else None
    if device is not None:
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend,
        init_method=f"file://{store}",
        rank=crew.rank,
        world_size=crew.size,
        timeout=PATIENCE,
        device_id=device,
    )
