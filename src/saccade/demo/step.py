"""One training step on one device. On CUDA its two halves are captured in graphs, because a host that launches every
kernel by itself takes three times as long as the kernels run:

    batch -> static block -> [graph: forward, backward, flat gradient] -> mean over the crew
          -> [graph: Muon and Adam] -> rank 0's masters -> [graph: weights]

What changes from step to step (rates, weight of the character loss) is read from tensors that are filled before. A
batch with more or longer segments than the captured pass has room for runs as it is: correct and slow.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from saccade.demo.feed import Loaded, device_block
from saccade.demo.learn import Learner, Segments
from saccade.demo.muon import Muon
from saccade.demo.pack import Budget

T = TypeVar("T")

NOISE = 0.02
"""Of the light of training pictures."""
WARM_UP = 3
"""Eager steps before a capture: all is compiled, and libraries have their workspaces."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a schedule says about one step."""

    muon: float
    adam: float
    beta: float
    decay: float
    chars: float
    """Weight of the character loss."""
    apart: bool
    """The character loss teaches its head alone."""


@dataclass(frozen=True, slots=True)
class Room:
    """Segments that a captured pass has place for, and the longest. Attention launches blocks for all of it, so it is
    hardly more than what batches of the whole world in the default budget have."""

    vision: int = 448
    vision_longest: int = 1920
    text: int = 320
    text_longest: int = 1792

    def holds(self, vision: Segments, text: Segments) -> bool:
        return (
            len(vision.lengths) <= self.vision
            and vision.longest <= self.vision_longest
            and len(text.lengths) <= self.text
            and text.longest <= self.text_longest
        )

    def segments(self, tensors: dict[str, Tensor]) -> tuple[Segments, Segments]:
        """Vision and text segments of any batch that fits, by its bounds on the device alone: those behind the last
        one are empty, and attention passes over them."""
        return (
            Segments(tensors["vision_bounds"][: self.vision + 1], self.vision_longest, []),
            Segments(tensors["text_bounds"][: self.text + 1], self.text_longest, []),
        )


class Step:
    """Forward, backward and optimiser; on CUDA `prepare` has to come first."""

    block: Tensor
    """What captured passes read their batch from."""

    def __init__(self, learner: Learner, optim: Muon, room: Room | None = None) -> None:
        self.learner, self.optim, self.room = learner, optim, room or Room()
        self.weight = torch.zeros((), device=optim.master.device)
        self.eager = 0
        """Steps that ran as they are."""
        self.passes: dict[bool, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self.update: Callable[[], None] = optim.update
        self.publish: Callable[[], None] = optim.publish

    def __call__(self, batch: Loaded, rates: Rates) -> Tensor:
        """Take one step. Returns [2] on the device: text loss and share of characters named right; the next step may
        overwrite it."""
        self.weight.fill_(rates.chars)
        self.optim.tell(muon_rate=rates.muon, adam_rate=rates.adam, beta=rates.beta, decay=rates.decay)
        if rates.apart in self.passes and self.room.holds(batch.vision, batch.text):
            graph, figures = self.passes[rates.apart]
            self.block.copy_(batch.block)
            graph.replay()
        else:
            self.eager += 1
            figures = self._pass(batch.tensors, batch.vision, batch.text, rates.apart)
        self.optim.crew.average_(self.optim.grad)
        self.update()
        self.optim.crew.follow_(self.optim.master)
        self.publish()
        return figures

    def _pass(self, tensors: dict[str, Tensor], vision: Segments, text: Segments, apart: bool) -> Tensor:
        losses = self.learner(tensors, vision, text, noise=NOISE, apart=apart)
        (losses.text + self.weight * losses.chars).backward()
        self.optim.collect()
        return torch.stack([losses.text.detach(), losses.chars_right.detach()])

    def prepare(self, batch: Loaded, phases: Sequence[bool], budget: Budget, *, graphs: bool) -> None:
        """On CUDA: compile everything and, with `graphs`, capture a pass for each value of `apart` in `phases`, and the
        optimiser. Nothing is learned. RuntimeError: what was captured does not compute what the eager pass does."""
        # One side stream for all: autograd may remember on which stream a parameter was used first, and only the
        # capturing stream can be captured.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        still = [Rates(0.0, 0.0, 0.85, 0.0, 0.1, apart) for apart in phases]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for rates in still * WARM_UP:
                self(batch, rates)
            if graphs:
                self._capture(batch, phases, budget, side)
        torch.cuda.current_stream().wait_stream(side)
        if graphs:
            for rates in still:
                self(batch, rates)
        self.optim.forget()
        self.eager = 0

    def _capture(self, batch: Loaded, phases: Sequence[bool], budget: Budget, side: Any) -> None:
        self.block, tensors = device_block(budget, batch.block.device)
        self.block.copy_(batch.block)
        vision, text = self.room.segments(tensors)
        noise, eager, gradients = torch.cuda.get_rng_state(), list[float](), list[Tensor]()
        for apart in phases:
            self._pass(tensors, vision, text, apart)
            torch.cuda.set_rng_state(noise)
            eager.append(float(self._pass(batch.tensors, batch.vision, batch.text, apart)[0]))
            gradients.append(self.optim.grad.clone())
        capture = partial(_captured, pool=torch.cuda.graph_pool_handle(), stream=side)
        for apart in phases:
            self.passes[apart] = capture(partial(self._pass, tensors, vision, text, apart))
        self.update = capture(self.optim.update)[0].replay
        self.publish = capture(self.optim.publish)[0].replay
        # A coarse look: a wrong capture is quite wrong.
        for apart, loss, gradient in zip(phases, eager, gradients, strict=True):
            torch.cuda.set_rng_state(noise)
            graph, figures = self.passes[apart]
            graph.replay()
            replayed = float(figures[0])
            likeness = float(torch.cosine_similarity(self.optim.grad, gradient, dim=0))
            if not (abs(replayed - loss) <= 0.1 * loss + 1e-3 and likeness > 0.5):
                raise RuntimeError(
                    f"the captured pass gives a loss of {replayed:.4f} where the eager one gives {loss:.4f}; "
                    f"cosine of their gradients {likeness:.3f}"
                )


def _captured(work: Callable[[], T], *, pool: Any, stream: Any) -> tuple[torch.cuda.CUDAGraph, T]:
    """The graph of `work`, and what it returned, which every replay writes anew. Graphs of one pool use each other's
    memory; none reads what another left there."""
    gc.collect()
    graph = torch.cuda.CUDAGraph()
    # The process group's watchdog asks for events from its own thread, which is no part of the capture.
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        out = work()
    return graph, out
