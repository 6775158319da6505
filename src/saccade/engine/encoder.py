"""The part of the scheduler that deals with pictures: sequences that want features come in, slices of vision work and
moves of features go out; it knows keys and costs, no pixels, no tensors and no KV.

Two lanes, one job each: the first serves the oldest sequence that waits for features, the second the one with the least
to go, so that a chat with one picture passes a video of hundreds of frames and the video still gets half of every step.
Features are pinned from the moment they are promised or found until their last row is planned. When there is no room,
the oldest sequence in want takes it from younger ones; those ask again later. So the oldest always goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from saccade.cache.features import FeatureLedger, Found
from saccade.engine.plan import EncodeSlice, EncodeUnit, Limits
from saccade.engine.state import SequenceState
from saccade.types import VISION_LEVELS

_LEVELS = {
    Found.READY: VISION_LEVELS.index("device"),
    Found.PENDING: VISION_LEVELS.index("wait"),
    Found.PROMISED: VISION_LEVELS.index("miss"),
}
_HOST = VISION_LEVELS.index("host")


@dataclass(slots=True, eq=False)
class _Job:
    """Pictures that go through the tower together. It holds a pin on each of them until it is done."""

    id: int
    units: tuple[EncodeUnit, ...]
    owners: tuple[SequenceState, ...]
    """Of each unit, the sequence whose pixels are read."""
    cost: int
    """Of one tower block, in patch-blocks."""
    done: int = 0
    """Tower blocks planned."""


class Encoder:
    """Plans vision work for the sequences on the device. All sequences come in order of arrival."""

    def __init__(self, limits: Limits, features: FeatureLedger) -> None:
        self.features = features
        self._limits = limits
        self._lanes: list[_Job | None] = [None, None]
        self._jobs: dict[int, _Job] = {}
        """Begun and not yet confirmed."""
        self._in_job: set[bytes] = set()
        """Keys of jobs in the lanes."""
        self._num_jobs = 0
        self.levels: dict[str, int] = {}
        """Of sequences on the device that wanted features: index in VISION_LEVELS of the worst that was found."""
        self._read: list[bytes] = []
        """Pins of visuals whose last row, or last tower block, was in the plan before: they go when the next begins."""

    @property
    def is_idle(self) -> bool:
        """Whether no job is under way."""
        return self._lanes == [None, None]

    def begin(self) -> tuple[int, ...]:
        """A new plan begins. Returns the jobs that are cancelled because nobody waits for them any more."""
        self.flush()
        cancelled = []
        for lane, job in enumerate(self._lanes):
            if job and all(self.features.pins(unit.key) == 1 for unit in job.units):
                cancelled.append(job.id)
                del self._jobs[job.id]
                self._lanes[lane] = None
                self._drop(job)
        return tuple(cancelled)

    def plan(self, behind: Sequence[SequenceState], work: int | None) -> tuple[EncodeSlice, ...]:
        """Pin what is there, promise what is not, and spend `work` patch-blocks (None: no stream waits, finish a job)
        on slices. Afterwards `ready` of each sequence says what rows of this step may read."""
        self._extend(behind)
        wanting = [s for s in behind if s.ready < s.held]
        if not wanting:
            return ()
        slices: list[EncodeSlice] = []
        self._fill(wanting, both=work is not None)
        busy = sum(job is not None for job in self._lanes)
        spare = 0
        for lane in (0, 1):
            if self._lanes[lane]:
                spare = self._run_lane(lane, wanting, None if work is None else work // busy + spare, slices)
        for sequence in wanting:
            self._mark_ready(sequence)
        return tuple(slices)

    def read(self, sequence: SequenceState) -> None:
        """Rows up to `planned` are in the plan: visuals that end there have been read and are let go by the next."""
        visuals = sequence.request.visuals
        while sequence.consumed < len(visuals) and visuals[sequence.consumed].end <= sequence.planned:
            self._read.append(visuals[sequence.consumed].key)
            sequence.consumed += 1

    def release(self, sequence: SequenceState) -> None:
        """Let go everything that is pinned for a sequence."""
        self.levels.pop(sequence.request.id, None)
        self._shrink(sequence, sequence.consumed)

    def flush(self) -> None:
        """Let go what earlier plans have read."""
        for key in self._read:
            self.features.release(key)
        self._read.clear()

    def confirm(self, jobs: Iterable[int]) -> None:
        """The steps with the last slices of these jobs are over."""
        for job in jobs:
            self._jobs.pop(job, None)

    def fail(self, job_id: int, running: Iterable[SequenceState]) -> tuple[set[bytes], SequenceState | None]:
        """A job failed. Returns its keys, which nobody holds any more, and the sequence to blame: a job of several
        pictures blames nobody, and its pictures are encoded again one by one."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return set(), None
        keys = {unit.key for unit in job.units}
        # One plan ahead, features may have come and gone since, and be promised to a younger job: those are its own.
        mine = keys - {unit.key for other in self._jobs.values() if other.id > job_id for unit in other.units}
        self.flush()
        for sequence in running:
            for index in range(sequence.consumed, sequence.held):
                if sequence.visuals[index].key in mine:
                    self._shrink(sequence, index)
                    break
        if job in self._lanes:
            self._lanes[self._lanes.index(job)] = None
            self._drop(job)
        for key in mine:
            self.features.forget(key, held=False)
        if len(job.units) == 1:
            return keys, job.owners[0]
        for owner in job.owners:
            owner.encode_alone = True
        return keys, None

    def distrust(self, sequence: SequenceState) -> None:
        """A sequence gave no finite numbers: forget the features it has read, where nobody else holds them."""
        self.flush()
        for visual in sequence.visuals:
            self.features.forget(visual.key, held=True)

    def held(self) -> Mapping[bytes, int]:
        """Pins that are not held for a sequence: by jobs, and until the next plan begins."""
        pins: dict[bytes, int] = {}
        for key in (*self._read, *(unit.key for job in self._lanes if job for unit in job.units)):
            pins[key] = pins.get(key, 0) + 1
        return pins

    def _extend(self, behind: Sequence[SequenceState]) -> None:
        """Move `held` and `ready` of each sequence forward as far as room and `vision_ahead` let it."""
        first = True  # of those that want more
        for number, sequence in enumerate(behind):
            visuals = sequence.request.visuals
            if sequence.held < len(visuals):
                found = self._hold(sequence)
                stuck = first and found is Found.NO_ROOM and sequence.held == sequence.consumed
                if stuck and not self._take_room(sequence, behind[number + 1 :]):
                    return  # and nobody younger takes the room that becomes free
                first = False
            self._mark_ready(sequence)

    def _take_room(self, sequence: SequenceState, younger: Sequence[SequenceState]) -> bool:
        """Let the latest go without until there is room for the next picture of `sequence`."""
        for other in reversed(younger):
            if other.held > other.consumed:
                self.release(other)
                self._hold(sequence)
                if sequence.held > sequence.consumed:
                    return True
        return False

    def _hold(self, sequence: SequenceState) -> Found:
        """Pin or promise visuals in order; how the last one went."""
        visuals, found = sequence.request.visuals, Found.READY
        horizon = sequence.planned + self._limits.vision_ahead
        while sequence.held < len(visuals) and visuals[sequence.held].start <= horizon:
            visual = visuals[sequence.held]
            promotions = self.features.counters.promotions
            found = self.features.acquire(visual.key, visual.length)
            if found is Found.NO_ROOM:
                break
            level = _HOST if self.features.counters.promotions > promotions else _LEVELS[found]
            sequence.vision_level = max(sequence.vision_level, level)
            self.levels[sequence.request.id] = sequence.vision_level
            sequence.held += 1
        return found

    def _mark_ready(self, sequence: SequenceState) -> None:
        visuals = sequence.request.visuals
        while sequence.ready < sequence.held and self.features.is_ready(visuals[sequence.ready].key):
            sequence.ready += 1

    def _shrink(self, sequence: SequenceState, held: int) -> None:
        for visual in sequence.visuals[held : sequence.held]:
            self.features.release(visual.key)
        sequence.held = held
        sequence.ready = min(sequence.ready, held)

    def _fill(self, wanting: Sequence[SequenceState], *, both: bool) -> None:
        """Begin jobs in empty lanes; the second lane is for streams' sake and needs a second sequence."""
        if self._lanes[0] is None:
            self._enter(0, self._gather(wanting))
        if both and self._lanes[1] is None and len(wanting) > 1:
            first = self._lanes[0]
            others = [s for s in wanting if first is None or s not in first.owners]
            self._enter(1, self._gather(sorted(others, key=_vision_left)))

    def _gather(self, order: Iterable[SequenceState]) -> _Job | None:
        """A job of the first pictures in this order that are promised and in no job, as many as go together."""
        units: dict[bytes, EncodeUnit] = {}
        owners: list[SequenceState] = []
        patches = 0
        for sequence in order:
            for visual in sequence.visuals[sequence.ready : sequence.held]:
                key = visual.key
                if key in units or key in self._in_job or self.features.is_ready(key):
                    continue
                full = patches + visual.num_patches > self._limits.job_patches
                if units and (full or sequence.encode_alone or owners[-1].encode_alone):
                    return self._job(units, owners)
                units[key] = EncodeUnit(key, sequence.request.id, visual.picture, visual.patch, visual.num_patches)
                owners.append(sequence)
                patches += visual.num_patches
        return self._job(units, owners) if units else None

    def _job(self, units: Mapping[bytes, EncodeUnit], owners: Sequence[SequenceState]) -> _Job:
        cost = sum(u.num_patches + u.num_patches**2 // self._limits.vision_square for u in units.values())
        return _Job(self._num_jobs + 1, tuple(units.values()), tuple(owners), cost)

    def _enter(self, lane: int, job: _Job | None) -> None:
        """A job begins: its first slice is in this plan, so that its pixels are read while their sequences are here."""
        if job is None:
            return
        self._lanes[lane] = job
        self._num_jobs = job.id
        self._jobs[job.id] = job
        for unit in job.units:
            self._in_job.add(unit.key)
            self.features.pin(unit.key)

    def _run_lane(
        self, lane: int, wanting: Sequence[SequenceState], work: int | None, slices: list[EncodeSlice]
    ) -> int:
        """Slices of this lane's jobs for `work`, at least one block; what is left of it."""
        job, left, least = self._lanes[lane], work or 0, 1
        order = wanting if lane == 0 else sorted(wanting, key=_vision_left)
        while job:
            count = self._limits.vision_blocks - job.done
            if work is not None:
                count = min(count, max(left // job.cost, least))
            if count == 0:
                break
            if job.done == 0 and self._lanes[lane] is None:
                self._enter(lane, job)
            slices.append(EncodeSlice(job.id, job.units, job.done, job.done + count))
            job.done += count
            left -= count * job.cost
            least = 0
            if job.done < self._limits.vision_blocks:
                break
            self._lanes[lane] = None
            for unit in job.units:  # the pin goes with the next plan: moves of this one come before its slices
                self.features.fulfil(unit.key)
                self._in_job.discard(unit.key)
                self._read.append(unit.key)
            job = self._gather(order) if left > 0 else None
        return max(left, 0)

    def _drop(self, job: _Job) -> None:
        """A job leaves its lane before it is done."""
        for unit in job.units:
            self._in_job.discard(unit.key)
            self.features.release(unit.key)


def _vision_left(sequence: SequenceState) -> int:
    """Tokens up to the end of its last picture."""
    return sequence.visuals[-1].end - sequence.planned
