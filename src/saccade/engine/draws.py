"""The rows of one step that give a token, from the pass to the choice: logits and samplers come in, tokens go out, and
what goes wrong with one row is told of that row alone; knows no layers and no policy."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from saccade.engine.constraint import Constraint, wait_for
from saccade.engine.plan import Rows
from saccade.engine.sampler import Choice, Choices, Sampler, choose, upload
from saccade.engine.staging import Fetched, Staging
from saccade.errors import SaccadeError
from saccade.kernels import Ops

PATIENCE = 0.005
"""Seconds that a step waits for masks before it goes on without their sequences."""
LONG_PATIENCE = 0.1
"""The same where nobody else is kept waiting."""


@dataclass(eq=False)
class Draws:
    """One step's; `choose` once all earlier steps have been read, then `read`."""

    rows: Sequence[Rows]
    """Those that sample, in the order of the plan."""
    samplers: Sequence[Sampler | Exception]
    """Of each: the sampler, or why there is none."""
    logits: Tensor
    """[S, V]."""
    greedy: tuple[Tensor, Tensor]
    """Of the logits: the highest of each row, and its value."""
    slots: Tensor
    """int64 [S]."""
    late: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    """Why a sequence cannot go on, in a sentence for the caller."""
    faults: dict[str, str] = field(default_factory=dict)
    """Of them, the request field to blame, where one is."""
    errors: list[Exception] = field(default_factory=list)
    _told: list[tuple[list[int], Choices, Fetched]] = field(default_factory=list)

    @cached_property
    def _special(self) -> bool:
        """Whether some row has no sampler, or a constraint."""
        return any(isinstance(sampler, Exception) or sampler.constraint for sampler in self.samplers)

    @property
    def waits(self) -> bool:
        """Whether the choice of some row depends on the token before."""
        return self._special and any(not isinstance(one, Exception) and one.constraint for one in self.samplers)

    @property
    def is_read_later(self) -> bool:
        """Whether something was chosen, so that `read` waits for the device."""
        return bool(self._told)

    def choose(self, ops: Ops, staging: Staging, last_ids: Tensor) -> None:
        """Choose for all rows for which it is known what may be chosen. `last_ids` int64 [slots] has the greedy ids.
        Raises torch.AcceleratorError when the device is lost."""
        ready = self._ready()
        if not ready:
            return
        try:
            self._choose(ready, ops, staging, last_ids)
        except torch.AcceleratorError:
            raise
        except Exception as error:
            if len(ready) == 1:
                self._fail(ready[0], error)
                return
            for place in ready:  # one of them may be to blame, or all together need too much memory
                try:
                    self._choose([place], ops, staging, last_ids)
                except torch.AcceleratorError:
                    raise
                except Exception as error:
                    self._fail(place, error)

    def read(self) -> list[Choice | None]:
        """Wait for the device: what was chosen for each row, None where nothing was. Constraints are told."""
        choices: list[Choice | None] = [None] * len(self.rows)
        for places, told, facts in self._told:
            for place, choice in zip(places, told.told(facts.wait()), strict=True):
                choices[place] = choice
                sampler = self.samplers[place]
                if choice and not isinstance(sampler, Exception) and sampler.constraint:
                    sampler.constraint.push(choice.token)
        return choices

    def _ready(self) -> list[int]:
        """Places of the rows to choose for now."""
        if not self._special:
            return list(range(len(self.rows)))
        waiting: dict[int, Constraint] = {}
        ready = []
        for place, (row, sampler) in enumerate(zip(self.rows, self.samplers, strict=True)):
            if isinstance(sampler, Exception):
                self._fail(place, sampler)
            elif (constraint := sampler.constraint) is None:
                ready.append(place)
            elif constraint.length == row.start + row.length:
                waiting[place] = constraint
            else:  # its row of the step before was late, so that this one went on from a token that never was
                self.late.add(row.id)
        if waiting:
            fresh = [constraint for constraint in waiting.values() if not constraint.was_late]
            wait_for(fresh, PATIENCE)
            if not ready and not any(constraint.is_ready for constraint in waiting.values()):
                wait_for(list(waiting.values()), LONG_PATIENCE, enough=FIRST_COMPLETED)
        for place, constraint in waiting.items():
            if not constraint.is_ready:
                constraint.was_late = True
                self.late.add(self.rows[place].id)
            elif constraint.error:
                self.refused[self.rows[place].id] = constraint.error
                self.faults[self.rows[place].id] = constraint.param
            else:
                constraint.was_late = False
                ready.append(place)
        return sorted(ready)

    def _choose(self, places: list[int], ops: Ops, staging: Staging, last_ids: Tensor) -> None:
        samplers = [sampler for place in places if not isinstance(sampler := self.samplers[place], Exception)]
        masks = None
        if self._special:
            masks = [sampler.constraint.mask if sampler.constraint else None for sampler in samplers]
        logits, (ids, peaks), slots = self.logits, self.greedy, self.slots
        if len(places) < len(self.rows):
            chosen = upload(places, torch.int64, logits.device)
            logits, ids, peaks, slots = (part.index_select(0, chosen) for part in (logits, ids, peaks, slots))
        is_plain = all(sampler.is_plain for sampler in samplers)
        choices = choose(samplers, logits, ops, greedy=(ids, peaks), masks=masks)
        if not is_plain:
            last_ids.index_copy_(0, slots, choices.ids)
        self._told.append((places, choices, staging.fetch(choices.facts)))
        for sampler in samplers:
            if sampler.constraint and sampler.constraint.is_over:
                sampler.constraint = None

    def _fail(self, place: int, error: Exception) -> None:
        self.errors.append(error)
        self.refused[self.rows[place].id] = sentence(error)


def sentence(error: Exception) -> str:
    """One sentence for the caller."""
    if isinstance(error, SaccadeError):
        return error.message
    if isinstance(error, torch.OutOfMemoryError):
        return "There is not enough device memory for this request."
    return f"The engine failed at this request: {type(error).__name__}."
