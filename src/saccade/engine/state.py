"""What scheduler and encoder remember of one sequence: a request comes in, positions and pointers are moved; it decides
nothing.

    tokens  |---------- prompt ----------|-- generated --|          known ids
    rows    |---- computed ----|- planned -|                        computed <= planned <= target
    visuals      [a] [b]   [c]   [d]  [e]                           consumed <= ready <= held
                  consumed    ready    held
"""

from __future__ import annotations

from dataclasses import dataclass, field

from saccade.cache.blocks import MediaRows, next_key, root_key, rows_in_block
from saccade.engine.plan import Rows, SequenceRequest, Visual


@dataclass(slots=True, eq=False)
class SequenceState:
    """One request from submit to its end."""

    request: SequenceRequest
    order: int
    """Arrival number; the lower, the older."""
    limit: int
    """Tokens, prompt included, at which it ends."""
    block_size: int
    """Tokens of a block."""
    tokens: list[int]
    """Known ids: the prompt, and what it generated and the host has read."""
    block_keys: list[bytes]
    """Chain keys of its full blocks, as far as they have been computed."""
    ended: bool = False
    slot: int = -1
    """Place on the device; -1 while it waits."""
    admission: int = 0
    """Counts its admissions; rows of an earlier one say nothing of its blocks."""
    void: int = 0
    """What steps up to this one made of it is dropped: they read features that were not there."""
    passes: int = 0
    """Later sequences admitted while it waited for blocks."""
    planned: int = 0
    """Rows computed, those of steps under way included."""
    unread: int = 0
    """Tokens sampled, or being sampled, that the host has not read."""
    sampled: bool = False
    """Whether its last token came in this admission: its id is in the slot, on the device."""
    blocks: list[int] = field(default_factory=list)
    """Its block table."""
    sent: int = 0
    """Blocks of the table that the runner knows."""
    published: int = 0
    """Blocks of the table that others can find, or that came from others."""
    promised: int = 0
    """Blocks of the table up to which others are told to expect them."""
    consumed: int = 0
    """Visuals whose rows are all planned."""
    ready: int = 0
    """Visuals up to here can be read by rows of the step that is being planned."""
    held: int = 0
    """Visuals [consumed, held) are pinned for it."""
    vision_level: int = 0
    """The worst of VISION_LEVELS that one of its pictures was found at."""
    encode_alone: bool = False
    """A job with its pictures and others failed: its next ones are encoded by themselves."""

    @property
    def visuals(self) -> tuple[Visual, ...]:
        return self.request.visuals

    @property
    def target(self) -> int:
        """Rows that could be computed if nothing stood in the way."""
        return len(self.tokens) + self.unread

    @property
    def left(self) -> int:
        """Rows to go."""
        return len(self.tokens) + self.unread - self.planned

    @property
    def can_compute(self) -> int:
        """Prompt rows that could be computed in this step: up to the first placeholder without features."""
        end = len(self.tokens)
        if self.ready < len(self.request.visuals):
            end = min(end, self.request.visuals[self.ready].start)
        return max(0, end - self.planned)

    def restart(self, slot: int, blocks: list[int], num_shared: int) -> None:
        """It comes to the device with its first `num_shared` blocks computed."""
        self.slot, self.blocks, self.sent, self.published = slot, blocks, 0, num_shared
        self.admission += 1
        self.passes = 0
        self.planned = num_shared * self.block_size
        self.sampled = False
        self.consumed = next((i for i, v in enumerate(self.visuals) if v.end > self.planned), len(self.visuals))
        self.ready = self.held = self.consumed

    def again(self, step: int) -> bool:
        """Nothing was chosen for its last row: that row is computed once more, what is under way up to `step` is
        dropped. True if it has to leave for that, since the row shows a picture that is no longer held."""
        self.void, self.unread = step, 0
        if self.slot < 0:
            return False
        self.planned = min(self.planned, len(self.tokens) - 1)
        self.sampled = False
        return bool(self.visuals) and self.visuals[-1].end > self.planned

    def key_of_block(self, index: int) -> bytes:
        """Chain key of a full block; all blocks before have theirs already."""
        if index == len(self.block_keys):
            parent = self.block_keys[-1] if index else root_key(self.request.salt)
            first = index * self.block_size
            media: list[MediaRows] = []
            if first < len(self.request.ids):  # the block where the prompt ends
                media = [(v.key, v.start, v.length) for v in self.visuals]
            ids = self.tokens[first : first + self.block_size]
            key = next_key(parent, ids, rows_in_block(media, 0, first, self.block_size))
            self.block_keys.append(key)
        return self.block_keys[index]


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A plan whose output has not come back."""

    step: int
    rows: tuple[Rows, ...]
    sequences: tuple[tuple[SequenceState, int], ...]
    """Of each of `rows`: the sequence and its admission."""
    finished_jobs: tuple[int, ...]
