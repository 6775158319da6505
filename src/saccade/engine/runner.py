"""A StepPlan becomes tokens: the runner owns everything that lies on the device and does what the plan says, in the
order of its fields; plans come in, StepResults go out.

    launch(plan) -> Launched      everything is in the device's queue
    read(Launched) -> StepResult  waits for it; one more plan may have been launched in between

What may never enter here:
- decisions about memory, order or who is served: the scheduler and the ledgers make them;
- text, HTTP, settings, logging;
- a wait for the device anywhere but in `read`;
- arithmetic of a layer (model/), of an op (kernels/), of a choice (sampler), of packing (batch).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.cache.blocks import BLOCK
from saccade.engine.attend import PagedAttention
from saccade.engine.batch import Layout, Packed, Slots, StepInputs, sampled_slots
from saccade.engine.graphs import Graphs, Passed, longest
from saccade.engine.plan import Admitted, EncodeSlice, EncodeUnit, Move, StepOutput, StepPlan
from saccade.engine.request import EngineRequest
from saccade.engine.sampler import Choice, Choices, Sampler, choose, warm_up
from saccade.engine.staging import WORDS, Fetched, Staging
from saccade.errors import SaccadeError
from saccade.kernels import paged, prepare
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.vision import Encoding

WARM_ROWS = (1088, 1280, 1536, 2048, 3072)
NOT_FINITE = "The model produced no finite probabilities."


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of one plan."""

    output: StepOutput
    """For the scheduler."""
    choices: tuple[Choice | None, ...]
    """Beside each of the output's tokens, what was told of it; None where it failed."""
    slice_times: tuple[float, ...]
    """Milliseconds of each encode slice of the plan."""
    errors: tuple[Exception, ...]
    """What was raised and told in one sentence."""


@dataclass(slots=True, eq=False)
class Launched:
    """A plan in the device's queue."""

    plan: StepPlan
    choices: Choices | None = None
    facts: Fetched | None = None
    """What will be told of the choices; where there are none, something to wait for."""
    slices: list[tuple[Any, Any]] = field(default_factory=list)
    """Marks before and after each encode slice."""
    failed_jobs: dict[int, Exception] = field(default_factory=dict)
    failure: Exception | None = None
    """Of the forward pass."""


class Runner:
    """Runs plans on one device. Its memory for keys and values is taken at once: [2, layers, num_blocks, BLOCK, Hk,
    D]. Features come and go with the plans."""

    def __init__(
        self,
        model: Qwen3VL,
        *,
        num_blocks: int,
        max_running: int,
        max_context: int,
        stop_ids: tuple[int, ...],
        num_valid_ids: int,
        graphs: bool = True,
    ) -> None:
        """`graphs`: capture steps, on a CUDA device with fused kernels; all of them are ready when this returns."""
        text = model.config.text
        shape = (2, text.num_hidden_layers, num_blocks, BLOCK, text.num_key_value_heads, text.head_dim)
        self._model = model
        self._device = model.device
        self._stop_ids = stop_ids
        self._num_valid_ids = num_valid_ids
        self._kv = _zeros(shape, model.dtype, self._device)
        self._keys, self._values = list(self._kv[0]), list(self._kv[1])
        self._is_plain = model.ops.paged_attention is paged.paged_attention
        """Plain attention pads to what a layout says, so that layouts with room to spare are not for it; and it reads
        rows behind the last key of a sequence with a weight of 0, and 0 times NaN is NaN, so that blocks are wiped."""
        fixed = self._device.type == "cuda" and not self._is_plain
        least_context = longest(max_context) if fixed else 0
        self._slots = Slots(max_running, max_context, self._device, least_context=least_context)
        self._last_ids = torch.zeros(max_running + 1, dtype=torch.int64, device=self._device)
        """The id sampled last in each slot."""
        self._samplers: list[Sampler | None] = [None] * max_running
        self._requests: dict[str, EngineRequest] = {}
        self._features: dict[bytes, Tensor] = {}
        """[1+L, tokens, E] of each unit, on the device."""
        self._host_features: dict[bytes, Tensor] = {}
        """The same in host memory."""
        self._jobs: dict[int, Encoding] = {}
        """Between two slices."""
        self._levels, self._width = 1 + len(model.visual.deepstack_mergers), text.hidden_size
        self._staging = Staging(self._device)
        self._angles = self._all_angles(max_context)
        self._graphs: Graphs | None = None
        if fixed:
            torch.cuda.set_device(self._device)
            prepare(self._device)
            if graphs:
                self._capture(Graphs(max_running, max_context))
            self._warm()

    def add(self, request: EngineRequest) -> None:
        """Hold what plans will ask of this request: pixels, positions, sampling."""
        self._requests[request.id] = request

    def remove(self, request_id: str) -> None:
        """A request has ended; no later plan computes rows for it."""
        del self._requests[request_id]

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> Launched:
        """Obey a plan; nothing waits for the device. What fails in the tower or in the pass is kept for `read`; a lost
        device (torch.AcceleratorError) raises, and no memory for what a sequence or a move brings with it."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)  # of this thread: kernels, events and graphs go to its current one
        launched = Launched(plan)
        for left in plan.left:
            self._samplers[left.slot] = None
        for admitted in plan.admitted:
            self._admit(admitted)
        for move in plan.moves:
            self._move(move)
        for job in plan.cancelled:
            self._jobs.pop(job, None)
        for part in plan.encodes:
            before = self._mark()
            self._encode(part, launched.failed_jobs)
            launched.slices.append((before, self._mark()))
        if plan.rows:
            try:
                launched.choices = choices = self._forward(plan)
                # Without a choice there is something to wait for all the same: host and device stay a step apart, or
                # the next but one would be written where this one's arrays still wait to be copied.
                launched.facts = self._staging.fetch(choices.facts if choices else self._last_ids[:1])
            except torch.AcceleratorError:
                raise
            except Exception as error:
                launched.failure = error
        return launched

    def read(self, launched: Launched) -> StepResult:
        """Wait for a plan that was launched, and what came of it. Raises torch.AcceleratorError when the device is
        lost."""
        plan, failures = launched.plan, launched.failed_jobs
        failed_jobs = {job: _sentence(error) for job, error in failures.items()}
        errors = tuple(failures.values())
        if launched.failure is not None:
            # Whose fault it was cannot be told, and keys and values of these rows are incomplete.
            failed = {row.id: _sentence(launched.failure) for row in plan.rows}
            none = sum(row.samples for row in plan.rows)
            output = StepOutput(plan.step, (0,) * none, failed, failed_jobs)
            return StepResult(output, (None,) * none, self._times(launched), (*errors, launched.failure))
        facts = launched.facts.wait() if launched.facts else []
        told = launched.choices.told(facts) if launched.choices else []
        return StepResult(_output(plan, told, failed_jobs), tuple(told), self._times(launched), errors)

    def _admit(self, admitted: Admitted) -> None:
        request = self._requests[admitted.id]
        prompt = request.prompt
        self._slots.admit(admitted.slot, prompt.positions, prompt.delta, admitted.num_cached)
        self._samplers[admitted.slot] = Sampler(
            request.sampling,
            num_valid_ids=self._num_valid_ids,
            stop_ids=self._stop_ids,
            prompt_ids=prompt.ids,
            generated_ids=admitted.generated,
            device=self._device,
        )

    def _move(self, move: Move) -> None:
        source, target = self._features, self._host_features
        if move.kind in ("promote", "drop_host"):
            source, target = target, source
        features = source.pop(move.key, None)
        if features is None:
            return
        if move.kind == "demote":
            pinned = torch.empty(features.shape, dtype=features.dtype, pin_memory=features.is_cuda)
            target[move.key] = pinned.copy_(features, non_blocking=True)
        elif move.kind == "promote":
            target[move.key] = features.to(self._device, non_blocking=True)

    # --- pictures ----------------------------------------------------------------------------------------------------

    def _encode(self, part: EncodeSlice, failures: dict[int, Exception]) -> None:
        """One slice of a job. What goes wrong ends the job and is kept in `failures`."""
        tower = self._model.visual
        try:
            if part.first == 0:
                pixels = [self._pixels(unit) for unit in part.units]
                grids = [self._requests[unit.id].pictures[unit.picture].grid for unit in part.units]
                self._jobs[part.job] = tower.begin(pixels, [(1, height, width) for _, height, width in grids])
            encoding = self._jobs.get(part.job)
            if encoding is None:  # it failed in an earlier step
                return
            tower.encode_slice(encoding, part.last)
            if part.last == len(tower.blocks):
                del self._jobs[part.job]
                self._keep(part.units, tower.finish(encoding))
        except torch.AcceleratorError:
            raise
        except Exception as error:
            self._jobs.pop(part.job, None)
            failures[part.job] = error

    def _pixels(self, unit: EncodeUnit) -> Tensor:
        """uint8 [1 or 2, H, W, 3] of a still or a temporal patch, on the device."""
        picture = self._requests[unit.id].pictures[unit.picture]
        frames = picture.pixels if len(picture.pixels) == 1 else picture.pixels[2 * unit.patch : 2 * unit.patch + 2]
        return self._staging.pixels(frames, self._device)

    def _keep(self, units: tuple[EncodeUnit, ...], features: Tensor) -> None:
        """features [1+L, M, E] of all units, one after the other, each in memory of its own."""
        if len(units) == 1:
            self._features[units[0].key] = features
            return
        parts = torch.split(features, [unit.num_patches // 4 for unit in units], dim=1)
        for unit, part in zip(units, parts, strict=True):
            self._features[unit.key] = part.contiguous()

    # --- tokens ------------------------------------------------------------------------------------------------------

    def _forward(self, plan: StepPlan) -> Choices | None:
        """All rows through the decoder, and the choices of those that sample."""
        graphs, step = self._graphs, None
        inputs = self._slots.next(plan)
        if inputs is not None:
            passed, slots = self._pass(inputs, None), inputs.sampled_slots
        else:
            room = graphs.room_for(plan) if graphs else None
            step = self._slots.pack(plan, room)
            if room and len(step.array) > WORDS:  # too long a table of blocks to lie where graphs read
                step, room = self._slots.pack(plan), None
            packed = self._staging.send(step.array)
            fresh, slots = self._slots.learn(packed, step), sampled_slots(packed, step.layout)
            parts = self._shown_parts(step)
            if graphs and room:
                for shown, part in zip(step.features, parts, strict=True):
                    self._shown[:, shown.row : shown.row + shown.length].copy_(part)
                passed = graphs.replay(room)
            else:
                if len(fresh) and self._is_plain:
                    self._kv.index_fill_(2, fresh, 0)
                inputs = self._slots.inputs(packed, step.layout)
                passed = self._pass(inputs, torch.cat(parts, dim=1) if parts else None)
                self._slots.keep(plan, inputs)
        samplers = [sampler for row in plan.rows if row.samples and (sampler := self._samplers[row.slot])]
        if not samplers:
            return None
        count = len(samplers)
        plain = all(sampler.is_plain for sampler in samplers)
        ids, peaks = passed.ids[:count], passed.peaks[:count]
        choices = choose(samplers, passed.logits[:count], self._model.ops, greedy=(ids, peaks))
        if not plain:
            self._last_ids.index_copy_(0, slots[:count], choices.ids)
        return choices

    def _pass(self, inputs: StepInputs, shown: Tensor | None) -> Passed:
        """One forward pass, as it is or captured. shown [1+L, R, E]: features of the rows that show a picture."""
        language, ops, rows = self._model.language, self._model.ops, inputs.feature_rows
        if count := inputs.attention.num_decodes:
            torch.index_select(self._last_ids, 0, inputs.sequence_slots[:count], out=inputs.ids[:count])
        x = language.embed(inputs.ids)
        if inputs.only_decodes:
            cos, sin = (table.index_select(0, inputs.positions[0]) for table in self._angles)
        else:
            cos, sin = language.rotary(inputs.positions)
        deepstack = None
        if shown is not None:
            deepstack = shown[1:]
            if len(rows) == len(x):
                x = torch.where((rows >= 0)[:, None], shown[0], x)
            else:
                x = x.index_copy_(0, rows, shown[0])
        attend = PagedAttention(self._model, self._keys, self._values, cos, sin, inputs.attention)
        hidden = language.forward(x, attend, deepstack, rows)
        if not len(inputs.sampled_rows):
            return Passed(hidden[:0], inputs.sampled_slots, hidden.new_empty(0, dtype=torch.float32))
        logits = language.head(hidden.index_select(0, inputs.sampled_rows))
        ids, peaks = ops.greedy(logits, self._num_valid_ids)
        self._last_ids.index_copy_(0, inputs.sampled_slots, ids)
        return Passed(logits, ids, peaks)

    def _shown_parts(self, step: Packed) -> list[Tensor]:
        """Features [1+L, length, E] of each run of rows that show a picture; zeros for what was never encoded."""
        parts = []
        for key, _, offset, length in step.features:
            features = self._features.get(key)
            if features is None:
                features = torch.zeros(1, 1, 1, dtype=self._model.dtype, device=self._device)
                parts.append(features.expand(self._levels, length, self._width))
            else:
                parts.append(features[:, offset : offset + length])
        return parts

    @torch.inference_mode()
    def _warm(self) -> None:
        """Run what no graph holds once with nothing in it, so that nobody waits while kernels are compiled or loaded:
        pictures of some sizes, steps with many prompt rows, any number of decode rows beside prompts, all choices."""
        for side in (256, 512, 768, 1024, 1536):
            picture = torch.zeros(1, side, side, 3, dtype=torch.uint8, device=self._device)
            self._model.visual([picture], [(1, side // 16, side // 16)])
        context = longest(self._slots.tables.shape[1] * BLOCK)
        steps = [(0, rows) for rows in WARM_ROWS] + [(1 << n, 64) for n in range(self._slots.nobody.bit_length())]
        for decodes, rows in steps:
            n, s = decodes + rows, decodes + 1
            layout = Layout(n, decodes, s, s, rows, rows, context)
            packed = self._staging.send(self._slots.empty(layout))
            shown = torch.zeros(self._levels, rows, self._width, dtype=self._model.dtype, device=self._device)
            passed = self._pass(self._slots.inputs(packed, layout), shown if rows == n else None)
            torch.cuda.synchronize()  # the pinned memory of this step is written again by the third one behind it
        warm_up(self._model.ops, passed.logits[:1], self._num_valid_ids)
        torch.cuda.empty_cache()

    @torch.inference_mode()
    def _capture(self, graphs: Graphs) -> None:
        """Every layout, reading its inputs where `Staging` puts them and features where `_forward` copies them."""
        most = max(layout.rows for layout in graphs.layouts())
        self._shown = torch.zeros(self._levels, most, self._width, dtype=self._model.dtype, device=self._device)
        # One place for the logits of all: each for itself, they would be 2 GB with 152,000 ids and 256 sequences.
        most = max(layout.sampled for layout in graphs.layouts())
        logits = self._shown.new_zeros(most, self._model.config.text.vocab_size)
        for layout in graphs.layouts():
            packed = self._staging.send(self._slots.empty(layout))
            shown = self._shown[:, : layout.rows] if layout.feature_rows else None
            graphs.capture(layout, partial(self._captured_step, packed, layout, shown, logits))
        self._graphs = graphs

    def _captured_step(self, packed: Tensor, layout: Layout, shown: Tensor | None, logits: Tensor) -> Passed:
        passed = self._pass(self._slots.inputs(packed, layout), shown)
        return replace(passed, logits=logits[: layout.sampled].copy_(passed.logits))

    @torch.inference_mode()
    def _all_angles(self, max_context: int) -> tuple[Tensor, Tensor]:
        """cos and sin [max_context + 1, D] of generated tokens, whose three positions are equal: as many bytes as the
        keys and values of one whole context in one layer with one head."""
        places = torch.arange(max_context + 1, device=self._device)
        return self._model.language.rotary(places.expand(3, -1))

    # --- time --------------------------------------------------------------------------------------------------------

    def _mark(self) -> Any:
        """A point in time of the device."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _times(self, launched: Launched) -> tuple[float, ...]:
        """Milliseconds of each encode slice."""
        if self._device.type != "cuda":
            return tuple((after - before) * 1e3 for before, after in launched.slices)
        for _, after in launched.slices[-1:]:
            after.synchronize()
        return tuple(before.elapsed_time(after) for before, after in launched.slices)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU memory is taken when it is first written."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros((*shape[:-1], shape[-1] * dtype.itemsize), dtype=np.uint8)).view(dtype)


def _output(plan: StepPlan, choices: list[Choice | None], failed_jobs: Mapping[int, str]) -> StepOutput:
    """Tokens in the order of the rows that sample; sequences without a finite distribution are told apart."""
    ids = [row.id for row in plan.rows if row.samples]
    failed = {id: NOT_FINITE for id, choice in zip(ids, choices, strict=True) if choice is None}
    return StepOutput(plan.step, tuple(choice.token if choice else 0 for choice in choices), failed, failed_jobs)


def _sentence(error: Exception) -> str:
    """One sentence for the caller."""
    if isinstance(error, SaccadeError):
        return error.message
    if isinstance(error, torch.OutOfMemoryError):
        return "There is not enough device memory for this request."
    return f"The engine failed at this request: {type(error).__name__}."
