"""Decides what every step does: requests come in, StepPlans go out, StepOutputs come back and become Events; it knows
token ids, keys and sizes, no tensors, no text and no clock.

Constitution of this file
- No torch, no numpy, no clock, no logging, no text: a plan is a function of the calls made so far.
- There is no prefill and no decode. Every sequence has rows computed and rows wanted, and a step moves the first
  towards the second. Pictures are work of the same step (engine/encoder.py); memory is the ledgers' (cache/).
- Nothing waits here and nothing fails here: what cannot ever fit is refused by `submit`, what cannot be done now is
  done by a later plan, what failed on the device ends its own sequence and no other.
- A function on the step path has at most 60 lines, and its cost does not depend on the length of a context.

Order and fairness
- Older sequences come first. Rows of running streams come before all prompt rows, in every plan.
- Of the prompt rows of a step, half go to the oldest prompt that can go on, the rest to those with the least left. So a
  prompt is done after at most 2 / budget steps for each row of its own and of older prompts, whatever arrives later
  (time for pictures not counted), and a short one passes a huge one at once.
- A request that waits for blocks is passed by at most `max_passes` later ones. So is one that waits because another is
  computing its next `WORTH_WAITING` tokens: a hundred questions about one new picture compute it once.
- When blocks run out in the middle of an answer, the latest sequence gives all of its own back and is computed again
  later; the oldest is never chosen, so that somebody always finishes.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from saccade.cache.blocks import BlockLedger
from saccade.cache.features import FeatureLedger
from saccade.engine.encoder import Encoder
from saccade.engine.plan import (
    Admitted,
    EncodeSlice,
    Event,
    FeatureRows,
    Left,
    Limits,
    Move,
    Rows,
    SequenceRequest,
    StepOutput,
    StepPlan,
)
from saccade.engine.state import SequenceState, UnderWay
from saccade.errors import ContextLengthError, RequestError
from saccade.types import FinishReason

ORDER, ROWS_LEFT = attrgetter("order"), attrgetter("left")
WORTH_WAITING = 128
"""Tokens: for fewer of them that another is computing nobody waits."""


class Scheduler:
    """Not thread-safe. In turn: plan, commit, plan, commit; or one ahead: plan, plan, commit, plan, commit."""

    def __init__(self, limits: Limits, blocks: BlockLedger, features: FeatureLedger) -> None:
        assert limits.num_blocks == blocks.total + 1, "the ledger and the limits disagree on the number of blocks"
        self.limits = limits
        self.blocks = blocks
        self.encoder = Encoder(limits, features)
        self.max_context = min(limits.max_context, blocks.total * blocks.block_size)
        """Tokens of prompt and answer together that one sequence can have."""
        self.num_preemptions = 0
        self._worth_waiting = -(-WORTH_WAITING // blocks.block_size)
        """The same in blocks."""
        self._sequences: dict[str, SequenceState] = {}
        self._waiting: list[SequenceState] = []
        self._running: list[SequenceState] = []
        """Both in order of arrival."""
        self._under_way: deque[UnderWay] = deque()
        self._left: list[Left] = []
        self._free_slots = list(range(limits.max_running - 1, -1, -1))
        self._step = 0
        self._arrivals = 0
        self._stuck_at: tuple[int, int, int] | None = None

    @property
    def has_plan(self) -> bool:
        """Whether a plan may have something to say."""
        return bool(self._sequences or self._left or not self.encoder.is_idle)

    @property
    def has_work(self) -> bool:
        """Whether a plan may have something to say, or an output is still to come."""
        return bool(self._under_way or self.has_plan)

    @property
    def num_waiting(self) -> int:
        """Sequences that are not on the device."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences on the device."""
        return len(self._running)

    def submit(self, request: SequenceRequest) -> None:
        """Queue a request. Raises ContextLengthError when its prompt leaves no room for an answer in the context or in
        the memory there is; an answer that reaches that end ends there with "length"."""
        length = len(request.ids)
        assert length, "an empty prompt"
        assert request.id not in self._sequences, f"request {request.id} is here already"
        if request.max_tokens < 1:
            raise RequestError("max_tokens must be at least 1.", param="max_tokens")
        if length >= self.max_context:
            place = "the context" if self.max_context == self.limits.max_context else "the memory for keys and values"
            raise ContextLengthError(
                f"The prompt of {length} tokens leaves no room for an answer: {place} holds {self.max_context} tokens.",
                param="messages",
            )
        limit = min(length + request.max_tokens, self.max_context)
        ids, keys = list(request.ids), list(request.block_keys)
        sequence = SequenceState(request, self._arrivals, limit, self.blocks.block_size, ids, keys)
        self._arrivals += 1
        self._sequences[request.id] = sequence
        self._waiting.append(sequence)  # none is younger, so the order holds

    def abort(self, request_id: str) -> bool:
        """End a request in any state and free everything it holds; no Event follows. False if it is not here."""
        sequence = self._sequences.get(request_id)
        if sequence is None:
            return False
        self._end(sequence)
        return True

    # --- plan --------------------------------------------------------------------------------------------------------

    def plan(self) -> StepPlan:
        """What the next step does. At most two plans may be under way at once."""
        assert len(self._under_way) < 2, "the output of an earlier plan has to be committed first"
        self._step += 1
        cancelled = self.encoder.begin()
        rows: list[Rows] = []
        planned: list[tuple[SequenceState, int]] = []
        self._plan_streams(rows, planned)
        num_decodes = len(rows)
        admitted = self._admit() if self._waiting else ()
        encodes: tuple[EncodeSlice, ...] = ()
        behind = [s for s in self._running if not s.sampled]
        if behind:
            scale = 1 + (len(self._waiting) + len(behind)) // self.limits.relief
            encodes = self.encoder.plan(behind, self.limits.vision_work * scale if num_decodes else None)
            budget = min(self.limits.max_rows, self.limits.mixed_rows * scale) if num_decodes else self.limits.max_rows
            self._plan_prompts(behind, budget, rows, planned)
        finished = tuple(piece.job for piece in encodes if piece.last == self.limits.vision_blocks)
        plan = StepPlan(
            step=self._step,
            left=tuple(self._left),
            admitted=admitted,
            moves=tuple(Move(kind, key) for kind, key in self.encoder.features.take_moves()),
            cancelled=cancelled,
            encodes=encodes,
            rows=tuple(rows),
            num_decodes=num_decodes,
            num_rows=sum(r.length for r in rows[num_decodes:]) + num_decodes,
        )
        self._left.clear()
        self._under_way.append(UnderWay(self._step, plan.rows, tuple(planned), finished))
        return plan

    def _plan_streams(self, rows: list[Rows], planned: list[tuple[SequenceState, int]]) -> None:
        """One row for each sequence that has sampled a token and wants another."""
        at = 0
        while at < len(self._running):  # a preemption shortens the list from its end
            sequence = self._running[at]
            at += 1
            if not sequence.sampled or len(sequence.tokens) + sequence.unread >= sequence.limit:
                continue
            blocks: tuple[int, ...] = ()
            start = sequence.planned
            if start == len(sequence.blocks) * sequence.block_size:
                block = self._grow(sequence)
                if block is None:
                    break  # it was the latest, so none comes behind it
                sequence.blocks.append(block)
                blocks = (block,)
                sequence.sent += 1
            rows.append(
                Rows(sequence.request.id, sequence.slot, start, 1, sequence.sent - len(blocks), blocks, (), (), True)
            )
            planned.append((sequence, sequence.admission))
            sequence.planned += 1
            sequence.unread += 1

    def _grow(self, sequence: SequenceState) -> int | None:
        """A fresh block, for which the latest sequences are preempted if need be; None if this one was among them."""
        block = self.blocks.grow()
        while block is None:
            latest = self._running[-1]
            self._preempt(latest)
            if latest is sequence:
                return None
            block = self.blocks.grow()
        return block

    def _admit(self) -> tuple[Admitted, ...]:
        """Take in waiting sequences, oldest first, as far as slots and blocks go. A prompt gets all of its blocks."""
        state: tuple[int, int, int] | None = (self.blocks.releases, self._arrivals, len(self._free_slots))
        if state == self._stuck_at or not self._free_slots:
            return ()
        admitted: list[Admitted] = []
        blocked: list[SequenceState] = []
        # Every stream that runs may want a block before anybody gives one back.
        headroom = sum(s.sampled for s in self._running)
        for sequence in tuple(self._waiting):
            if sequence.unread:
                state = None  # its token comes with the next commit: look again then
                break
            if not self._free_slots or len(blocked) > self.limits.max_passes:
                break
            length, size = len(sequence.tokens), sequence.block_size
            # The last token is computed in any case: its logits give the next one.
            keys = sequence.block_keys[: (length - 1) // size]
            shared = self.blocks.match(keys)
            ahead = keys[len(shared) : len(shared) + self._worth_waiting]
            fresh = -(-length // size) - len(shared)
            may_wait = sequence.passes < self.limits.max_passes
            is_coming = may_wait and len(ahead) == self._worth_waiting and self.blocks.expects(ahead)
            if is_coming or not self.blocks.can_take(shared, fresh + headroom):
                if not may_wait:
                    break
                blocked.append(sequence)
                state = None if is_coming else state  # it comes with a commit
                continue
            for passed in blocked:
                passed.passes += 1
            self._waiting.remove(sequence)
            insort(self._running, sequence, key=ORDER)
            sequence.restart(self._free_slots.pop(), self.blocks.take(shared, fresh), len(shared))
            sequence.promised = len(keys)
            self.blocks.expect(keys[len(shared) :])
            generated = tuple(sequence.tokens[len(sequence.request.ids) :])
            admitted.append(Admitted(sequence.request.id, sequence.slot, generated, sequence.planned))
            if any(s.passes >= self.limits.max_passes for s in blocked):
                break
        self._stuck_at = None if admitted else state
        return tuple(admitted)

    def _plan_prompts(
        self, behind: Sequence[SequenceState], budget: int, rows: list[Rows], planned: list[tuple[SequenceState, int]]
    ) -> None:
        """Prompt rows for at most `budget` tokens: half to the oldest, the rest to those with the least left."""
        able = [s for s in behind if s.can_compute]
        if not able:
            return
        oldest, *others = able
        share = min(oldest.can_compute, budget if not others else (budget + 1) // 2)
        left = budget - share
        grants = []
        for sequence in sorted(others, key=ROWS_LEFT):
            if not left:
                break
            length = min(sequence.can_compute, left)
            left -= length
            grants.append((sequence, length))
        for sequence, length in ((oldest, min(oldest.can_compute, share + left)), *grants):
            rows.append(self._chunk(sequence, length))
            planned.append((sequence, sequence.admission))

    def _chunk(self, sequence: SequenceState, length: int) -> Rows:
        """The next `length` rows of a prompt."""
        start, end = sequence.planned, sequence.planned + length
        features = []
        for visual in sequence.visuals[sequence.consumed : sequence.ready]:
            # Chunk 100..199 and a picture at 90..129: rows 0..29 of the chunk are features 10..39.
            low, high = max(visual.start, start), min(visual.end, end)
            if low >= high:
                break
            features.append(FeatureRows(visual.key, low - start, low - visual.start, high - low))
        blocks, sent = tuple(sequence.blocks[sequence.sent :]), sequence.sent
        samples = end == len(sequence.tokens)
        ids = sequence.tokens[start:end]
        chunk = Rows(sequence.request.id, sequence.slot, start, length, sent, blocks, ids, tuple(features), samples)
        sequence.sent = len(sequence.blocks)
        sequence.planned = end
        self.encoder.read(sequence)
        if samples:
            sequence.sampled = True
            sequence.unread += 1
        return chunk

    # --- commit ------------------------------------------------------------------------------------------------------

    def commit(self, output: StepOutput) -> list[Event]:
        """Take in what the oldest plan under way gave; what came of it, in order of its rows."""
        record = self._under_way.popleft()
        assert record.step == output.step, f"output of step {output.step} where that of {record.step} was due"
        self.encoder.confirm(job for job in record.finished_jobs if job not in output.failed_jobs)
        events: list[Event] = []
        for job, message in output.failed_jobs.items():
            self._fail_job(job, message, record, events)
        for ends in (output.failed, output.refused):
            for name, message in ends.items():
                self._fail(name, message, record, events, is_sound=ends is output.refused)
        for name in output.late:
            if (sequence := self._asked_for(name, record)) and sequence.again(self._step):
                self._preempt(sequence)
        sample = -1
        for rows, (sequence, admission) in zip(record.rows, record.sequences, strict=True):
            sample += rows.samples
            if sequence.ended or record.step <= sequence.void:
                continue
            token = None
            if rows.samples:
                token = output.tokens[sample]
                sequence.unread -= 1
                sequence.tokens.append(token)
            full = (rows.start + rows.length) // sequence.block_size
            if full > sequence.published and sequence.admission == admission and sequence.slot >= 0:
                self._publish(sequence, full)
            if token is not None:
                events.append(self._event(sequence, token, sample))
        return events

    def _publish(self, sequence: SequenceState, full: int) -> None:
        """Let others find the blocks that have become full."""
        self.blocks.expect_no_more(sequence.block_keys[sequence.published : min(full, sequence.promised)])
        for index in range(sequence.published, full):
            self.blocks.publish(sequence.blocks[index], sequence.key_of_block(index))
        sequence.published = full

    def _event(self, sequence: SequenceState, token: int, sample: int) -> Event:
        """A token, and the end if it is the last."""
        finish: FinishReason | None = None
        if token in sequence.request.stop_ids:
            finish = "stop"
        elif len(sequence.tokens) >= sequence.limit:
            finish = "length"
        if finish is not None:
            self._end(sequence)
        return Event(sequence.request.id, token, finish, None, sample)

    def _asked_for(self, name: str, record: UnderWay) -> SequenceState | None:
        """The sequence of this name, if what came of its rows in this step still counts."""
        sequence = self._sequences.get(name)
        mine = any(s is sequence for s, _ in record.sequences)
        return sequence if sequence and mine and record.step > sequence.void else None

    def _fail(self, name: str, message: str, record: UnderWay, events: list[Event], *, is_sound: bool = False) -> None:
        """A sequence of this step ends; nobody will find what it computed or read, unless its numbers are sound."""
        sequence = self._asked_for(name, record)
        if sequence is None:
            return
        if not is_sound:
            self.blocks.forget(sequence.block_keys)
        self._end(sequence)
        if not is_sound:
            self.encoder.distrust(sequence)
        events.append(Event(name, None, "error", message, -1))

    def _fail_job(self, job: int, message: str, record: UnderWay, events: list[Event]) -> None:
        """Pictures could not be encoded: whoever has computed rows without them starts again, the one to blame ends."""
        keys, culprit = self.encoder.fail(job, self._running)
        for step in (record, *self._under_way) if keys else ():
            for rows, (sequence, _) in zip(step.rows, step.sequences, strict=True):
                if sequence.ended or step.step <= sequence.void or keys.isdisjoint(f.key for f in rows.features):
                    continue
                sequence.void = self._step
                sequence.unread = 0
                if sequence.slot >= 0:
                    self._preempt(sequence)
        if culprit is not None and not culprit.ended:
            self._end(culprit)
            events.append(Event(culprit.request.id, None, "error", message, -1))

    # --- leaving -----------------------------------------------------------------------------------------------------

    def _preempt(self, sequence: SequenceState) -> None:
        """Back to the queue; its full blocks stay in the cache until their room is needed."""
        self.num_preemptions += 1
        self._leave(sequence)
        insort(self._waiting, sequence, key=ORDER)

    def _end(self, sequence: SequenceState) -> None:
        sequence.ended = True
        del self._sequences[sequence.request.id]
        if sequence.slot < 0:
            self._waiting.remove(sequence)
            self._stuck_at = None  # it may have been the one that let nobody pass
        else:
            self._leave(sequence)

    def _leave(self, sequence: SequenceState) -> None:
        """Off the device: blocks, slot and pins are free for the next plan."""
        self._running.remove(sequence)
        self.encoder.release(sequence)
        self.blocks.expect_no_more(sequence.block_keys[sequence.published : sequence.promised])
        self.blocks.release(sequence.blocks)
        self._left.append(Left(sequence.request.id, sequence.slot))
        self._free_slots.append(sequence.slot)
        sequence.slot = -1
        sequence.blocks = []
