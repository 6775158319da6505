"""A StepPlan becomes the tensors of one forward pass: packed rows, their positions and slots, who samples and where
features go; it knows what each slot holds, no policy, no model and no keys and values.

Everything is laid out in one array on the host, so that one copy brings it to the device:

    int64   ids N   positions 3 N   kv slots N   sequence slots S   sampled rows P   sampled slots P   feature rows R
    int32   cu_q S + 1   context_lens S
    int64   table places U   table blocks U   fresh blocks F

N rows of S sequences, D of them decode rows, which come first; P rows give a token; R rows show a picture; U entries of
block tables are new; F blocks are taken into use. A `Layout` may have room for more than the step has: what is over
belongs to nobody, and a graph is always given the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from saccade.engine.plan import FeatureRows, StepPlan
from saccade.kernels import AttentionBatch
from saccade.types import IntArray


@dataclass(frozen=True, slots=True)
class Layout:
    """How many of everything there is room for."""

    rows: int
    decodes: int
    sequences: int
    """The decoding ones first; of a layout with room to spare, the last one owns the rows that are over."""
    sampled: int
    feature_rows: int
    max_q: int
    max_context: int
    first_row: int | None = None
    """See AttentionBatch."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Lengths of the fixed parts, those in int32 counted in int32."""
        n, s = self.rows, self.sequences
        return n, 3 * n, n, s, self.sampled, self.sampled, self.feature_rows, s + 1, s


@lru_cache(maxsize=1024)
def places(layout: Layout) -> tuple[tuple[int, ...], int]:
    """Where each fixed part begins, in int64, and where they end. Each begins at a multiple of 16 bytes, for kernels
    are compiled apart for pointers that do and pointers that do not."""
    begins, at = [], 0
    for number, length in enumerate(layout.parts):
        begins.append(at)
        at += 2 * -(-length // (2 if number < 7 else 4))
    return tuple(begins), at


@dataclass(frozen=True, slots=True, eq=False)
class StepInputs:
    """One forward pass, on the device."""

    ids: Tensor
    """int64 [N]; those of decode rows are unknown to the host and stand as 0."""
    positions: Tensor
    """int64 [3, N]."""
    sequence_slots: Tensor
    """int64 [S]; decode row d goes on with what was sampled last in the slot of sequence d."""
    sampled_rows: Tensor
    """int64 [P]: rows whose logits give a token, in the order of the plan."""
    sampled_slots: Tensor
    """int64 [P]: the slots of those."""
    feature_rows: Tensor
    """int64 [R]: rows that show a picture. With R = N, n stands for row n and -1 for a row that shows none."""
    attention: AttentionBatch

    @property
    def only_decodes(self) -> bool:
        """Whether no prompt has rows, so that the three positions of each row are equal."""
        return self.attention.num_decodes == len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A step in one array, and what of it stays on the host."""

    layout: Layout
    array: IntArray
    num_entries: int
    """U."""
    features: tuple[FeatureRows, ...]
    """What feature rows show, in their order; `row` is counted from the first row of the step."""


NONE = np.zeros(1, dtype=np.int64)


class Slots:
    """What the host knows of each slot: block table, positions of the prompt, and the delta of what follows it. There
    is one slot more than sequences may run; it belongs to nobody."""

    def __init__(
        self, max_running: int, max_context: int, block_size: int, device: torch.device, *, least_context: int = 0
    ) -> None:
        """`least_context`: what layouts say at least, so that kernels cut their work alike in steps of all lengths."""
        # One block more than the context: a sequence that has just ended there may have one more row under way.
        self._tables = np.zeros((max_running + 1, max_context // block_size + 2), dtype=np.int32)
        self.tables = torch.from_numpy(self._tables).to(device)
        """int32 [slots, blocks]: the same on the device; on a CPU the same memory."""
        self.nobody = max_running
        self.least_context = least_context
        self._block_size = block_size
        self._deltas = np.zeros(max_running + 1, dtype=np.int64)
        self._positions: list[IntArray | None] = [None] * max_running
        self._shared = [0] * max_running
        self._last: tuple[list[tuple[int, int]], StepInputs] | None = None
        """Slot and start of each row of the last step, and its inputs, if it had decode rows only."""

    def admit(self, slot: int, positions: IntArray, delta: int, num_cached: int) -> None:
        """A sequence with these prompt positions [3, n] moves in; its blocks come with its rows, shared ones with
        `num_cached` tokens first."""
        self._positions[slot], self._deltas[slot] = positions, delta
        self._shared[slot] = num_cached // self._block_size

    def pack(self, plan: StepPlan, room: Layout | None = None) -> Packed:
        """A plan that has rows, in the layout it needs or in one with room to spare."""
        rows, num_rows, size = plan.rows, plan.num_rows, self._block_size
        entries: list[tuple[int, int]] = []
        fresh: list[int] = []
        for row in rows:
            if row.blocks:
                self._tables[row.slot, row.first_block : row.first_block + len(row.blocks)] = row.blocks
                place = row.slot * self._tables.shape[1] + row.first_block
                entries += enumerate(row.blocks, place)
                fresh += row.blocks[max(0, self._shared[row.slot] - row.first_block) :]
        slots, starts, lengths = np.array([(row.slot, row.start, row.length) for row in rows], dtype=np.int64).T
        context, ends = starts + lengths, lengths.cumsum()
        if plan.num_decodes == len(rows):
            sequence, place, sampled, sampled_slots = ends - 1, starts, ends - 1, slots
            ids, shown = NONE.repeat(num_rows), NONE[:0]
            positions = (place + self._deltas[slots])[None].repeat(3, axis=0)
        else:
            # Two sequences, rows 7 and 20..22: sequence 0 1 1 1, place 7 20 21 22.
            sequence = np.arange(len(rows)).repeat(lengths)
            place = np.arange(num_rows) + (context - ends).repeat(lengths)
            ids, positions, shown = self._fill(plan, ends - lengths, place + self._deltas[slots][sequence])
            samples = np.array([row.samples for row in rows])
            sampled, sampled_slots = ends[samples] - 1, slots[samples]
        kv_slots = self._tables[slots[sequence], place // size].astype(np.int64) * size + place % size
        features = _features(plan, ends - lengths + (room.decodes - plan.num_decodes if room else 0))
        if room is None:
            most = max(int(context.max()), self.least_context)
            blocks = self._tables[slots[0], : -(-most // size)] if len(rows) == 1 and not self.least_context else None
            room = Layout(
                num_rows, plan.num_decodes, len(rows), len(sampled), len(shown), int(lengths.max()), most,
                int(blocks[0]) * size if blocks is not None and (blocks[1:] - blocks[:-1] == 1).all() else None,
            )  # fmt: skip
        else:
            parts = slots, lengths, context, ids, positions, kv_slots, sampled, sampled_slots, shown
            slots, lengths, context, ids, positions, kv_slots, sampled, sampled_slots, shown = _spread(
                room, plan, self.nobody, *parts
            )
        starts_of_rows = np.concatenate((NONE, lengths.cumsum()))
        parts = ids, positions.ravel(), kv_slots, slots, sampled, sampled_slots, shown, starts_of_rows, context
        array = _joined(room, parts, 2 * len(entries) + len(fresh))
        tail = array[places(room)[1] :]
        tail[: 2 * len(entries)] = np.array(entries, dtype=np.int64).reshape(-1, 2).T.ravel()
        tail[2 * len(entries) :] = fresh
        return Packed(room, array, len(entries), features)

    def inputs(self, packed: Tensor, layout: Layout) -> StepInputs:
        """What lies in an array on the device."""
        begins, _ = places(layout)
        halves = packed.view(torch.int32)
        parts = [packed[begin : begin + size] for begin, size in zip(begins[:7], layout.parts, strict=False)]
        cu_q, context = (
            halves[2 * begin : 2 * begin + size] for begin, size in zip(begins[7:], layout.parts[7:], strict=True)
        )
        width = -(-layout.max_context // self._block_size)
        return StepInputs(
            ids=parts[0],
            positions=parts[1].view(3, -1),
            sequence_slots=parts[3],
            sampled_rows=parts[4],
            sampled_slots=parts[5],
            feature_rows=parts[6],
            attention=AttentionBatch(
                slots=parts[2],
                block_tables=self.tables[:, :width].index_select(0, parts[3]),
                cu_q=cu_q,
                context_lens=context,
                num_decodes=layout.decodes,
                max_q=layout.max_q,
                max_context=layout.max_context,
                first_row=layout.first_row,
            ),
        )

    def empty(self, layout: Layout) -> IntArray:
        """The array of a step in which nothing belongs to anybody."""
        n, s = layout.rows, layout.sequences
        counts = np.ones(s, dtype=np.int64)
        counts[layout.decodes :] = 0
        counts[-1:] += n - counts.sum()
        bounds = np.concatenate((NONE, counts.cumsum()))
        slots, sampled = np.full(s, self.nobody), np.full(layout.sampled, self.nobody)
        shown, none = np.full(layout.feature_rows, -1), np.zeros(3 * n, dtype=np.int64)
        parts = none[:n], none, none[:n], slots, none[: layout.sampled], sampled, shown, bounds, none[:s]
        return _joined(layout, parts, 0)

    def learn(self, packed: Tensor, step: Packed) -> Tensor:
        """Bring the device's block tables up to date; fresh blocks int64 [F], in which there may be anything."""
        tail, count = packed[places(step.layout)[1] :], step.num_entries
        at, blocks, fresh = tail.tensor_split((count, 2 * count))
        if count and packed.device.type != "cpu":
            self.tables.view(-1).index_copy_(0, at, blocks.int())
        return fresh

    def keep(self, plan: StepPlan, inputs: StepInputs) -> None:
        """Remember the inputs of a step for `next`, if they stay as they are: on a CPU nobody writes over them."""
        mine = inputs.only_decodes and inputs.ids.device.type == "cpu"
        self._last = ([(row.slot, row.start) for row in plan.rows], inputs) if mine else None

    def next(self, plan: StepPlan) -> StepInputs | None:
        """The inputs of a step in which each sequence of the last one goes one row further in the blocks it has:
        changed where they are, so nothing is built or copied. None if this is no such step."""
        if self._last is None or plan.num_decodes < len(plan.rows) or any(row.blocks for row in plan.rows):
            return None
        before, inputs = self._last
        if before != [(row.slot, row.start - 1) for row in plan.rows]:
            return None
        batch = inputs.attention
        inputs.positions.add_(1)
        batch.slots.add_(1)
        batch.context_lens.add_(1)
        inputs = replace(inputs, attention=replace(batch, max_context=batch.max_context + 1))
        self.keep(plan, inputs)
        return inputs

    def _fill(self, plan: StepPlan, firsts: IntArray, places: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Ids [N], positions [3, N] and feature rows [R]; `places` are the positions of rows that were generated."""
        ids = np.zeros(len(places), dtype=np.int64)
        positions = places[None].repeat(3, axis=0)
        shown = []
        for row, first in zip(plan.rows, firsts, strict=True):
            if not row.ids:
                continue
            ids[first : first + row.length] = row.ids
            prompt = self._positions[row.slot]
            assert prompt is not None, f"slot {row.slot} is empty"
            # A prompt of 50, rows 40..59: the first ten have places of their own, the others were generated.
            known = prompt[:, row.start : row.start + row.length]
            positions[:, first : first + known.shape[1]] = known
            shown += [np.arange(first + f.row, first + f.row + f.length) for f in row.features]
        return ids, positions, np.concatenate(shown) if shown else NONE[:0]


def sampled_slots(packed: Tensor, layout: Layout) -> Tensor:
    """int64 [P]: see StepInputs."""
    begin = places(layout)[0][5]
    return packed[begin : begin + layout.sampled]


def _joined(layout: Layout, parts: tuple[IntArray, ...], tail: int) -> IntArray:
    """The parts at their places, and room for a tail."""
    begins, end = places(layout)
    array = np.zeros(end + tail, dtype=np.int64)
    halves = array.view(np.int32)
    for begin, part in zip(begins[:7], parts, strict=False):
        array[begin : begin + len(part)] = part
    for begin, part in zip(begins[7:], parts[7:], strict=True):
        halves[2 * begin : 2 * begin + len(part)] = part
    return array


def _features(plan: StepPlan, firsts: IntArray) -> tuple[FeatureRows, ...]:
    """What is shown where in the step."""
    pairs = ((int(first), shown) for row, first in zip(plan.rows, firsts, strict=True) for shown in row.features)
    return tuple(shown._replace(row=first + shown.row) for first, shown in pairs)


def _spread(
    room: Layout, plan: StepPlan, nobody: int, slots: IntArray, lengths: IntArray, context: IntArray, ids: IntArray,
    positions: IntArray, kv_slots: IntArray, sampled: IntArray, sampled_slots: IntArray, shown: IntArray,
) -> tuple[IntArray, ...]:  # fmt: skip
    """The parts of a step spread over a layout with room to spare; what is over belongs to `nobody`.

    2 decode rows and a prompt of 3 in a layout of 4 decodes, 6 sequences and 12 rows: rows 0 1 . . 2 3 4 . . . . . of
    sequences a b . . c ., with 1 1 1 1 3 5 rows.
    """
    d, gap = plan.num_decodes, room.decodes - plan.num_decodes

    def spread(values: IntArray, size: int, filler: int) -> IntArray:
        out = np.full((*values.shape[:-1], size), filler, dtype=np.int64)
        out[..., :d] = values[..., :d]
        out[..., d + gap : values.shape[-1] + gap] = values[..., d:]
        return out

    counts = spread(lengths, room.sequences, 0)
    counts[: room.decodes] = 1
    if room.sequences > room.decodes:
        counts[-1] += room.rows - int(counts.sum())
    moved = np.where(sampled < d, sampled, sampled + gap)
    dense = np.full(room.feature_rows, -1, dtype=np.int64)
    if len(shown):
        dense[shown + gap] = shown + gap
    padded = [np.full(room.sampled, filler, dtype=np.int64) for filler in (0, nobody)]
    padded[0][: len(moved)], padded[1][: len(moved)] = moved, sampled_slots
    return (
        spread(slots, room.sequences, nobody), counts, spread(context, room.sequences, 0),
        spread(ids, room.rows, 0), spread(positions, room.rows, 0), spread(kv_slots, room.rows, 0), *padded, dense,
    )  # fmt: skip
