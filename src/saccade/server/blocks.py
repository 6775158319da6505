"""An answer seen as a row of blocks (thinking, text, calls), which interfaces stream one after the other: each opens,
grows and closes before the next. Knows no JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from saccade.types import Delta, TextLogprob

Kind: TypeAlias = Literal["reasoning", "text", "call"]


@dataclass(slots=True)
class Block:
    """One block; `pieces` are all of it so far."""

    kind: Kind
    index: int
    call_id: str = ""
    name: str = ""
    """Of the function, for a call."""
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TextLogprob] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to a block next: `piece` is what it grows by."""

    what: Literal["open", "grow", "close"]
    block: Block
    piece: str = ""
    logprobs: tuple[TextLogprob, ...] = ()


class Blocks:
    """Deltas in, steps out. The last delta closes the last block."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._is_open = False

    def steps(self, delta: Delta) -> list[Step]:
        """What a delta does, in order."""
        steps: list[Step] = []
        if delta.reasoning:
            self._grow(steps, "reasoning", delta.reasoning)
        if delta.text or (delta.logprobs and not delta.reasoning and not delta.tool_calls):
            self._grow(steps, "text", delta.text, delta.logprobs)
        for piece in delta.tool_calls:
            if piece.id is not None:
                self._open(steps, Block("call", len(self.all), piece.id, piece.name or ""))
            if piece.arguments:
                self._grow(steps, "call", piece.arguments)
        if delta.finish_reason and self._is_open:
            self._close(steps)
        return steps

    def _grow(self, steps: list[Step], kind: Kind, piece: str, logprobs: tuple[TextLogprob, ...] = ()) -> None:
        if not (self._is_open and self.all[-1].kind == kind):
            assert kind != "call", "the first piece of a call has its id"
            self._open(steps, Block(kind, len(self.all)))
        block = self.all[-1]
        block.pieces.append(piece)
        block.logprobs.extend(logprobs)
        steps.append(Step("grow", block, piece, logprobs))

    def _open(self, steps: list[Step], block: Block) -> None:
        if self._is_open:
            self._close(steps)
        self.all.append(block)
        self._is_open = True
        steps.append(Step("open", block))

    def _close(self, steps: list[Step]) -> None:
        self._is_open = False
        steps.append(Step("close", self.all[-1]))
