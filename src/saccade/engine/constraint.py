"""What one sequence may say next: its tokens come in as they are chosen, the mask of the next one is there a little
later; knows ids and grammars, no text and no logits.

    thinking --budget--> closing --> answer       under its grammar, if it has one
        `------ </think> ------'

The mask of a token depends on the token before. It is computed in a thread, most of the time while the device is busy
with the pass whose logits it is for: a pass needs ids, only the choice needs masks. Nobody waits for a slow one: its
sequence is chosen for in a later step.
"""

from __future__ import annotations

import time
from concurrent.futures import ALL_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from saccade.engine.grammar import Compiled, Mask
from saccade.engine.request import Thinking

GIVE_UP_SECONDS = 5.0
"""After which a sequence whose mask is still not there ends."""
MOST_SECONDS = 0.5
"""Of work for one token, after which a sequence ends: few threads compute the masks of all."""
SLOW = "The grammar takes too much work to follow."


@dataclass(frozen=True, slots=True)
class Rules:
    """What never changes about a sequence."""

    num_ids: int
    """Ids that may be chosen."""
    stop_ids: tuple[int, ...]
    thinking: Thinking | None
    compiled: Compiled | None
    min_tokens: int
    ignore_eos: bool
    """Under a grammar, `min_tokens` and this hold stop ids back wherever something else is possible."""


class Constraint:
    """Follows one sequence. `push` in the order of its tokens; everything else once `is_ready`."""

    def __init__(self, rules: Rules, *, length: int, generated: tuple[int, ...], pool: ThreadPoolExecutor) -> None:
        """`length`: tokens of its prompt; `generated`: those that it has already."""
        self.length = length + len(generated)
        """Tokens of prompt and answer that it has been told of."""
        self.mask: Mask | None = None
        """Of the next token; None: any."""
        self.error: str | None = None
        """Why there is no next token."""
        self.was_late = False
        """A step went on without it: no other waits for the same mask."""
        self._rules = rules
        self._pool = pool
        self._matcher = rules.compiled.follow() if rules.compiled else None
        self._stops = _bits(rules.stop_ids, rules.num_ids)
        self._num_generated = 0
        self._is_thinking = rules.thinking is not None
        self._forced: tuple[int, ...] = ()
        self._pending: Future[None] | None = None
        self._asked = 0.0
        if self._is_thinking and rules.thinking and rules.thinking.budget == 0:
            self._close(rules.thinking.closing)
        if generated and self._matcher:
            self._begin(generated)
        else:
            self._advance(generated)

    @property
    def is_over(self) -> bool:
        """Whether any token may follow from here to the end."""
        return self.error is None and not (self._is_thinking or self._forced or self._matcher)

    @property
    def is_ready(self) -> bool:
        """Whether `mask` and `error` are those of the next token."""
        if self._pending is None:
            return True
        if self._pending.done():
            self._pending.result()
            self._pending = None
            return True
        if time.monotonic() - self._asked > GIVE_UP_SECONDS:
            self.error = SLOW
            return True
        return False

    @property
    def param(self) -> str:
        """The request field that an error is the fault of."""
        return self._rules.compiled.grammar.param if self._rules.compiled else "thinking_budget"

    @property
    def pending(self) -> Future[None] | None:
        """What to wait for; None: nothing."""
        return self._pending

    def push(self, token: int) -> None:
        """The sequence goes on with this token."""
        self.length += 1
        if self._matcher and token in self._rules.stop_ids:  # it has ended
            self._matcher = self.mask = None
        elif self._matcher and not self._is_thinking and not self._forced:
            self._begin((token,))
        else:
            self._advance((token,))

    def _begin(self, tokens: tuple[int, ...]) -> None:
        self._asked = time.monotonic()
        self._pending = self._pool.submit(self._advance, tokens)

    def _advance(self, tokens: tuple[int, ...]) -> None:
        try:
            answer = self._think(tokens)
            if self._matcher and answer:
                began = time.thread_time()
                self._matcher.push(*answer)
                if time.thread_time() - began > MOST_SECONDS * len(answer):
                    self.error = SLOW
                    return
            self._look()
        except Exception as error:
            self.error = f"The grammar could not be followed: {type(error).__name__}."

    def _think(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Take in tokens up to the end of the thought; those of the answer are left."""
        for place, token in enumerate(tokens):
            if self._forced:
                self._forced = self._forced[1:]
            elif self._is_thinking:
                thinking = self._rules.thinking
                assert thinking, "it thinks"
                if token == thinking.end_id:
                    # The model's own next tokens would not be part of a grammar.
                    behind = thinking.closing[thinking.closing.index(token) + 1 :]
                    self._close(behind if self._matcher else ())
                elif thinking.budget is not None and self._num_generated + 1 >= thinking.budget:
                    self._close(thinking.closing)
            else:
                self._num_generated += len(tokens) - place
                return tokens[place:]
            self._num_generated += 1
        return ()

    def _close(self, forced: tuple[int, ...]) -> None:
        self._is_thinking, self._forced = False, forced

    def _look(self) -> None:
        """Set `mask`, or `error`."""
        if self._forced:
            self.mask = _bits(self._forced[:1], self._rules.num_ids)
        elif self._matcher is None:
            self.mask = None
        elif self._is_thinking:
            self.mask = ~self._stops
        else:
            mask = np.zeros_like(self._stops)
            words = self._matcher.mask[: len(mask)]
            mask[: len(words)] = words
            if self._rules.ignore_eos or self._num_generated < self._rules.min_tokens:
                others = mask & ~self._stops
                mask = others if others.any() else mask
            self.mask = mask
            if not mask.any():
                self.error = self._matcher.why


def wait_for(constraints: list[Constraint], seconds: float, *, enough: str = ALL_COMPLETED) -> None:
    """Until all are ready, or the first, or so long."""
    pending = [future for constraint in constraints if (future := constraint.pending)]
    if pending:
        wait(pending, seconds, enough)


@lru_cache(maxsize=64)
def _bits(ids: tuple[int, ...], num_ids: int) -> Mask:
    """A mask of these ids."""
    bits = np.zeros(-(-num_ids // 32) * 32, dtype=np.uint8)
    bits[[id for id in ids if id < num_ids]] = 1
    mask: Mask = np.packbits(bits, bitorder="little").view(np.int32)
    mask.setflags(write=False)
    return mask
