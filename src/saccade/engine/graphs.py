"""CUDA graphs of a step: a layout with room to spare is chosen for a plan, and what was captured for it is replayed; a
callable and its inputs come in, knows no model and no requests.

A step of decode rows takes one of the sizes 1 .. 32, 40, 48 .. 256; one with prompt rows takes a number of decode rows
and a number of prompt rows from the lists below. What fits nowhere (many rows, for which the launches cost little, or a
very long context) runs without a graph.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saccade.engine.batch import Layout
from saccade.engine.plan import StepPlan

DECODES = (*range(1, 33), *range(40, 257, 8))
"""Sequences of steps without prompt rows."""
MIXED_DECODES = (0, 8, 32, 128)
"""Decode rows of steps with prompt rows."""
PROMPT_ROWS = (*range(64, 449, 64), *range(480, 641, 32), *range(704, 1025, 64))
"""Rows that are over are computed all the same: 520 in the room of 576 cost 12 % (0.6 ms, 4B)."""
PROMPTS = 8
"""Prompts of one step, and one more that owns the rows that are over."""
MAX_CONTEXT = 65536
"""Tokens of the longest context; block tables of that width are copied on the device in each step."""


def longest(max_context: int) -> int:
    """Tokens of the longest context that a captured step can have."""
    return min(max_context, MAX_CONTEXT)


@dataclass(frozen=True, slots=True)
class Passed:
    """What a forward pass leaves on the device, for P rows that give a token."""

    logits: Tensor
    """[P, V]."""
    ids: Tensor
    """int64 [P]: the likeliest of each."""
    peaks: Tensor
    """fp32 [P]: their logits; NaN where there is no distribution."""


class Graphs:
    """Every captured step, by its layout."""

    def __init__(self, max_running: int, max_context: int) -> None:
        self._context = longest(max_context)
        self._decodes = _sizes(DECODES, max_running)
        self._mixed = _sizes(MIXED_DECODES, max_running)
        self._captured: dict[Layout, tuple[torch.cuda.CUDAGraph, Passed]] = {}
        self._pool: Any = None
        self._stream: Any = None
        """One for all: libraries take workspaces, up to 32 MiB each, for every stream that they see. What is captured
        on it goes before the tower, which has a stream of its own."""

    def layouts(self) -> Iterator[Layout]:
        """All of them, the largest first, so that the others live in its memory."""
        for rows in reversed(PROMPT_ROWS):
            for decodes in reversed(self._mixed):
                yield self._layout(decodes, rows)
        for decodes in reversed(self._decodes):
            yield self._layout(decodes, 0)

    def room_for(self, plan: StepPlan) -> Layout | None:
        """The smallest captured layout that a plan fits in; None: it has to run as it is."""
        prompts = len(plan.rows) - plan.num_decodes
        if prompts > PROMPTS or max(row.start + row.length for row in plan.rows) > self._context:
            return None
        decodes = _at_least(self._mixed if prompts else self._decodes, plan.num_decodes)
        rows = _at_least(PROMPT_ROWS, plan.num_rows - plan.num_decodes) if prompts else 0
        if decodes is None or rows is None:
            return None
        room = self._layout(decodes, rows)
        return room if room in self._captured else None

    def capture(self, layout: Layout, step: Callable[[], Passed]) -> None:
        """Run `step` once as it is (kernels are loaded, libraries take their workspaces), then capture it. It must read
        its inputs where they will be in every replay."""
        self._stream = side = self._stream or torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
            passed = step()
        self._captured[layout] = graph, passed

    def replay(self, layout: Layout) -> Passed:
        """Launch a captured step; what it gives is overwritten by the next of any layout."""
        graph, passed = self._captured[layout]
        graph.replay()
        return passed

    def _layout(self, decodes: int, rows: int) -> Layout:
        prompts = PROMPTS + 1 if rows else 0
        return Layout(
            rows=decodes + rows,
            decodes=decodes,
            sequences=decodes + prompts,
            sampled=decodes + prompts,
            feature_rows=decodes + rows if rows else 0,
            max_q=max(rows, 1),
            max_context=self._context,
        )


def _sizes(sizes: Iterable[int], most: int) -> tuple[int, ...]:
    """Those up to the first that is enough for `most`."""
    ordered = sorted(sizes)
    return tuple(ordered[: bisect_left(ordered, most) + 1])


def _at_least(sizes: tuple[int, ...], wanted: int) -> int | None:
    at = bisect_left(sizes, wanted)
    return sizes[at] if at < len(sizes) else None
