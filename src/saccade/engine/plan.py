"""What scheduler and runner say to each other, as values: requests and limits go in, a StepPlan goes to the runner, a
StepOutput comes back, Events go to the caller; no policy and no tensors in here.

    scheduler.plan() -> StepPlan -> runner.launch, runner.read -> StepOutput -> scheduler.commit(output) -> Events

The runner obeys a plan in the order of its fields: forget what left, set up what was admitted, move features, drop
cancelled jobs, run the encode slices, then one forward pass over `rows`. All of it is queued on one stream, plan after
plan, which is what makes the following safe without waiting for the device:
- Step n+1 may be planned and launched before the tokens of step n are read. The token of a decode row is then unknown
  to the scheduler: `ids` is empty and the runner takes the id it sampled last in that slot, on the device.
- A sequence that turns out to have ended with step n has wasted its row of step n+1: that row's output is dropped.
- Blocks, slots and features that one plan lets go may be given to others by the next one.
- Features whose last slice is in a plan may be read by rows of the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from saccade.types import FinishReason

MAX_ROWS = 8192

# --- what comes in ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the device holds (memory.py) and how much one step may do."""

    num_blocks: int
    """KV blocks there is memory for, block 0 (never given out) included."""
    max_running: int = 32
    """Sequences on the device at once, which is also the number of slots."""
    max_context: int = 32768
    """Tokens of prompt and answer together."""
    max_rows: int = MAX_ROWS
    """Prompt rows of one step while no stream is waiting for its next token."""
    mixed_rows: int = 512
    """Prompt rows of one step that also decodes, so that running streams do not wait; see `relief`."""
    vision_blocks: int = 24
    """Transformer blocks of the vision tower."""
    vision_work: int = 49152
    """Vision work of one step that also decodes, in patch-blocks (patches times tower blocks, attention added); see
    `relief`. A slice has at least one block, whatever it costs."""
    vision_square: int = 4096
    """Patches of one frame at which its attention costs as much as the rest of a tower block."""
    job_patches: int = 4096
    """Patches up to which pictures are encoded together; one larger picture is a job of its own."""
    relief: int = 2
    """A backlog of this many unfinished prompts doubles `mixed_rows` and `vision_work`, twice as many triple them, and
    so on up to `max_rows`: when more comes than can be served, streams slow down a little and the queue drains."""
    vision_ahead: int = 16384
    """Tokens in front of the computed rows of a sequence up to which its pictures are encoded."""
    max_passes: int = 32
    """Later requests that may be admitted before one that waits for blocks; then all wait until it is in."""


class Visual(NamedTuple):
    """One unit of vision work and its run of placeholder rows: a still, or one temporal patch of a video."""

    key: bytes
    """Exact feature key, made by cache.features.salted: equal keys promise equal features, within one tenant."""
    start: int
    """First placeholder row in the prompt."""
    length: int
    """Tokens: placeholder rows, and rows of its features."""
    picture: int
    """Index of the picture in the request."""
    patch: int
    """Temporal patch of that picture: its frames 2 * patch and 2 * patch + 1, or the only one of a still."""

    @property
    def end(self) -> int:
        """One past its last placeholder row."""
        return self.start + self.length

    @property
    def num_patches(self) -> int:
        """Rows of the vision tower: four for each token."""
        return 4 * self.length


@dataclass(frozen=True, slots=True, eq=False)
class SequenceRequest:
    """What the scheduler needs to know of a request; made off the step path."""

    id: str
    """Unique among those the engine holds."""
    ids: tuple[int, ...]
    """Token ids of the prompt."""
    visuals: tuple[Visual, ...]
    """Units of vision work in order of their rows; they do not overlap."""
    block_keys: tuple[bytes, ...]
    """Chain keys of the full blocks of the prompt, from cache.blocks.chain_keys."""
    salt: bytes
    """Of the tenant, as given to chain_keys; what has another salt is never shared."""
    max_tokens: int
    """Tokens to generate at most, at least 1; the end of the context may come first."""
    stop_ids: frozenset[int]
    """Ids that end the sequence; empty when it ignores them."""


# --- the plan --------------------------------------------------------------------------------------------------------


class Left(NamedTuple):
    """A sequence that is no longer on the device, because it ended or because it was preempted."""

    id: str
    slot: int
    """Free from here on; an Admitted of the same plan may have it."""


class Admitted(NamedTuple):
    """A sequence that comes to the device, for the first time or after a preemption."""

    id: str
    slot: int
    """Its place, 0 <= slot < max_running, for everything the runner keeps for each sequence: block table, last id,
    sampler state."""
    generated: tuple[int, ...]
    """Ids it had generated before it was preempted (sampler state is rebuilt from them); empty the first time."""
    num_cached: int
    """Tokens whose keys and values are in shared blocks already; its first row comes right behind them."""


class Move(NamedTuple):
    """A change of where features are kept; moves are obeyed in order, before the encode slices."""

    kind: Literal["drop", "demote", "promote", "drop_host"]
    """drop: free on the GPU. demote: copy to pinned host memory, then free on the GPU. promote: copy from there to
    the GPU, then free there. drop_host: free in host memory.
    A move of a key that the runner does not hold, because its job failed in an earlier step, does nothing."""
    key: bytes


class EncodeUnit(NamedTuple):
    """A unit of vision work in a job and where its pixels are."""

    key: bytes
    """The runner keeps the features under this key until a Move says otherwise."""
    id: str
    """The sequence whose picture it is; it is on the device when the job's first slice is planned."""
    picture: int
    patch: int
    num_patches: int


class EncodeSlice(NamedTuple):
    """Tower blocks [first, last) of one job; the state between slices belongs to the runner, under `job`."""

    job: int
    """Counts up, never used again. Slices of a job that failed in an earlier step are skipped by the runner."""
    units: tuple[EncodeUnit, ...]
    """The same in every slice. Pixels are read in the first slice only, later ones need none."""
    first: int
    """0: patch embedding and positions come before it."""
    last: int
    """Equal to `vision_blocks`: the mergers come behind it and the features are there for rows of this plan."""


class FeatureRows(NamedTuple):
    """Rows [row, row + length) of a chunk are placeholders and take features [offset, offset + length)."""

    key: bytes
    row: int
    """Counted from the first row of the chunk."""
    offset: int
    length: int


class Rows(NamedTuple):
    """What one sequence computes in a step: the tokens at positions [start, start + length) of prompt and answer."""

    id: str
    slot: int
    start: int
    length: int
    first_block: int
    """Index in its block table of the first of `blocks`."""
    blocks: tuple[int, ...]
    """Blocks that join its table with this step; the table is theirs and all that came before since its admission."""
    ids: Sequence[int]
    """Ids of these tokens; empty for a decode row, whose id is the last one sampled in the slot."""
    features: tuple[FeatureRows, ...]
    samples: bool
    """Whether the last row's logits give a token."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Everything the runner does in one step, in this order; written by the scheduler alone."""

    step: int
    """Counts up from 1."""
    left: tuple[Left, ...]
    """Sequences to forget."""
    admitted: tuple[Admitted, ...]
    """Sequences to set up."""
    moves: tuple[Move, ...]
    """Changes in the tiers of the feature cache."""
    cancelled: tuple[int, ...]
    """Jobs nobody waits for any more; their state between slices is freed."""
    encodes: tuple[EncodeSlice, ...]
    """Slices of vision work."""
    rows: tuple[Rows, ...]
    """Decode rows first (length 1, no ids), each sequence at most once; together the rows of one forward pass."""
    num_decodes: int
    """How many of `rows` are decode rows."""
    num_rows: int
    """Sum of their lengths, in tokens."""

    @property
    def is_empty(self) -> bool:
        """Whether the device has nothing to compute; what left or moves must be obeyed all the same."""
        return not self.rows and not self.encodes


# --- what comes back -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What the device made of one plan; written by the runner."""

    step: int
    """Of the plan. Outputs are committed in order."""
    tokens: Sequence[int]
    """One id for each of the plan's rows that samples, in their order; what stands for a failed one is not read."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Sequences that cannot go on (logits that are not finite), with a sentence for the caller."""
    failed_jobs: Mapping[int, str] = field(default_factory=dict)
    """Jobs whose encoding failed (out of memory), with a sentence for the caller. Rows that would have read their
    features are computed on zeros; the scheduler drops what comes of them."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Sequences that cannot go on although their numbers are sound (no memory for their sampler, a grammar that allows
    nothing), with a sentence for the caller."""
    late: frozenset[str] = frozenset()
    """Sequences for which nothing was chosen because it was not known in time what may be: the row is asked for again
    with the next plan."""


class Event(NamedTuple):
    """One token of a sequence, its end, or both; exactly one Event of each sequence has `finish` set."""

    id: str
    token: int | None
    """None: an end without a token."""
    finish: FinishReason | None
    error: str | None
    sample: int
    """Index in StepOutput.tokens, for what the runner keeps beside it (logprobs); -1 without a token."""
