"""A StepPlan becomes the tensors of one forward pass: packed rows, their positions and slots, who samples and where
features go; it knows what each slot holds, no policy, no model and no keys and values.

Everything is laid out in one array on the host, so that one copy brings it to the device:

    int64   ids N   positions 3 N   slots N   decode slots D   sampled rows P   sampled slots P   feature rows R
            fresh blocks F
    int32   block tables S x B   cu_q S + 1   context_lens S

N rows of S sequences, D of them decode rows, which come first; P rows give a token; R rows show a picture;
F blocks are taken into use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saccade.cache.blocks import BLOCK
from saccade.engine.plan import FeatureRows, Rows, StepPlan
from saccade.kernels import AttentionBatch
from saccade.types import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class StepInputs:
    """One forward pass, on the device."""

    ids: Tensor
    """int64 [N]; those of decode rows are unknown here and stand as 0."""
    positions: Tensor
    """int64 [3, N]."""
    decode_slots: Tensor
    """int64 [D]: the first D rows go on with what was sampled last in these slots."""
    sampled_rows: Tensor
    """int64 [P]: rows whose logits give a token, in the order of the plan."""
    sampled_slots: Tensor
    """int64 [P]: the slots of those."""
    feature_rows: Tensor
    """int64 [R]: rows that show a picture."""
    features: tuple[FeatureRows, ...]
    """What they show: R rows together, in this order."""
    fresh_blocks: Tensor
    """int64 [F]: blocks that join a table and are not shared; something may lie in them that is not a number."""
    attention: AttentionBatch


NONE = np.zeros(1, dtype=np.int64)


class Slots:
    """What the host knows of each slot: block table, positions of the prompt, and the delta of what follows it."""

    def __init__(self, max_running: int, max_context: int) -> None:
        # One block more than the context: a sequence that has just ended there may have one more row under way.
        self._tables = np.zeros((max_running, max_context // BLOCK + 2), dtype=np.int32)
        self._deltas = np.zeros(max_running, dtype=np.int64)
        self._positions: list[IntArray | None] = [None] * max_running
        self._shared = [0] * max_running
        self._last: tuple[list[tuple[int, int]], StepInputs] | None = None
        """Slot and start of each row of the last step, and its inputs, if it had decode rows only."""

    def admit(self, slot: int, positions: IntArray, delta: int, num_cached: int) -> None:
        """A sequence with these prompt positions [3, n] moves in; its blocks come with its rows, shared ones with
        `num_cached` tokens first."""
        self._positions[slot], self._deltas[slot] = positions, delta
        self._shared[slot] = num_cached // BLOCK
        self._tables[slot] = 0

    def build(self, plan: StepPlan, device: torch.device) -> StepInputs:
        """The tensors of a plan that has rows; those of an earlier plan may change. The device is not waited for."""
        rows = plan.rows
        only_decodes = plan.num_decodes == len(rows)
        if only_decodes and self._last and not any(row.blocks for row in rows):
            before, inputs = self._last
            if before == [(row.slot, row.start - 1) for row in rows]:
                inputs = _next(inputs)
                self._last = [(row.slot, row.start) for row in rows], inputs
                return inputs
        fresh: list[int] = []
        for row in rows:
            if row.blocks:
                self._tables[row.slot, row.first_block : row.first_block + len(row.blocks)] = row.blocks
                fresh += row.blocks[max(0, self._shared[row.slot] - row.first_block) :]
        slots, starts, lengths = np.array([(row.slot, row.start, row.length) for row in rows], dtype=np.int64).T
        context, ends = starts + lengths, lengths.cumsum()
        width = -(-int(context.max()) // BLOCK)
        tables = self._tables[slots, :width]
        if only_decodes:
            sequence, place, sampled, sampled_slots = ends - 1, starts, ends - 1, slots
            ids, positions, feature_rows = NONE.repeat(len(rows)), place + self._deltas[slots], NONE[:0]
            positions = np.concatenate((positions, positions, positions))
        else:
            # Two sequences, rows 7 and 20..22: sequence 0 1 1 1, place 7 20 21 22.
            sequence = np.arange(len(rows)).repeat(lengths)
            place = np.arange(plan.num_rows) + (context - ends).repeat(lengths)
            ids, positions, feature_rows = self._fill(rows, ends - lengths, place + self._deltas[slots][sequence])
            samples = np.array([row.samples for row in rows])
            sampled, sampled_slots = ends[samples] - 1, slots[samples]
        parts = (
            ids,
            positions,
            tables[sequence, place // BLOCK].astype(np.int64) * BLOCK + place % BLOCK,
            slots[: plan.num_decodes],
            sampled,
            sampled_slots,
            feature_rows,
            np.array(fresh, dtype=np.int64),
        )
        words, halves = _to_device(parts, (tables.ravel(), np.concatenate((NONE, ends)), context), device)
        inputs = StepInputs(
            ids=words[0],
            positions=words[1].view(3, -1),
            decode_slots=words[3],
            sampled_rows=words[4],
            sampled_slots=words[5],
            feature_rows=words[6],
            features=tuple(features for row in rows for features in row.features),
            fresh_blocks=words[7],
            attention=AttentionBatch(
                slots=words[2],
                block_tables=halves[0].view(len(rows), width),
                cu_q=halves[1],
                context_lens=halves[2],
                max_q=int(lengths.max()),
                max_context=int(context.max()),
                num_decodes=plan.num_decodes,
                first_row=_in_a_row(tables[0]) if len(rows) == 1 else None,
            ),
        )
        self._last = ([(row.slot, row.start) for row in rows], inputs) if only_decodes else None
        return inputs

    def _fill(self, rows: tuple[Rows, ...], firsts: IntArray, places: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Ids [N], positions [3 N] and feature rows [R]; `places` are the positions of rows that were generated."""
        ids = np.zeros(len(places), dtype=np.int64)
        positions = np.tile(places, (3, 1))
        shown = []
        for row, first in zip(rows, firsts, strict=True):
            if not row.ids:
                continue
            ids[first : first + row.length] = row.ids
            prompt = self._positions[row.slot]
            assert prompt is not None, f"slot {row.slot} is empty"
            # A prompt of 50, rows 40..59: the first ten have places of their own, the others were generated.
            known = prompt[:, row.start : row.start + row.length]
            positions[:, first : first + known.shape[1]] = known
            shown += [np.arange(first + f.row, first + f.row + f.length) for f in row.features]
        return ids, positions.ravel(), np.concatenate(shown) if shown else NONE[:0]


def _in_a_row(table: npt.NDArray[Any]) -> int | None:
    """The first slot of blocks that follow each other."""
    return int(table[0]) * BLOCK if (table[1:] - table[:-1] == 1).all() else None


def _next(inputs: StepInputs) -> StepInputs:
    """The same sequences, each one row further in the blocks it has: changed on the device, nothing is copied to it."""
    batch = inputs.attention
    inputs.positions.add_(1)
    batch.slots.add_(1)
    batch.context_lens.add_(1)
    return replace(
        inputs, attention=replace(batch, max_context=batch.max_context + 1), fresh_blocks=inputs.fresh_blocks[:0]
    )


def _to_device(
    words: tuple[IntArray, ...], halves: tuple[npt.NDArray[Any], ...], device: torch.device
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """int64 arrays, then int32 ones, as views of one tensor that went to the device in one copy."""
    short = np.concatenate(halves, dtype=np.int32, casting="same_kind")
    if len(short) % 2:
        short = np.append(short, np.int32(0))
    packed = torch.from_numpy(np.concatenate((*words, short.view(np.int64)))).to(device, non_blocking=True)
    whole, half = packed.split_with_sizes([packed.numel() - len(short) // 2, len(short) // 2])
    sizes = [len(part) for part in halves]
    return (
        whole.split_with_sizes([len(part) for part in words]),
        half.view(torch.int32)[: sum(sizes)].split_with_sizes(sizes),
    )
