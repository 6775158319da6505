"""A StepPlan becomes tokens: the runner owns everything that lies on the device and does what the plan says, in the
order of its fields; plans come in, StepResults go out.

    launch(plan) -> Launched      everything is in the device's queue, but for tokens that depend on the tokens before
    choose(Launched)              those too; the plans before have been read
    read(Launched) -> StepResult  waits for it; one more plan may have been launched in between

What may never enter here:
- decisions about memory, order or who is served: the scheduler and the ledgers make them;
- text, HTTP, settings, logging;
- a wait for the device anywhere but in `read`;
- arithmetic of a layer (model/), of an op (kernels/), of a choice (draws, sampler), of packing (batch).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.engine.attend import PagedAttention
from saccade.engine.batch import Layout, Slots, StepInputs, sampled_slots
from saccade.engine.constraint import Constraint, Rules
from saccade.engine.draws import Draws, sentence
from saccade.engine.grammar import Compiled, deep_pool
from saccade.engine.graphs import Graphs, Passed, longest
from saccade.engine.pictures import Pictures
from saccade.engine.plan import Admitted, StepOutput, StepPlan
from saccade.engine.request import EngineRequest
from saccade.engine.sampler import Choice, Sampler, warm_up
from saccade.engine.staging import WORDS, Fetched, Staging
from saccade.kernels import paged, prepare
from saccade.model.qwen3vl import Qwen3VL

WARM_ROWS = (1088, 1280, 1536, 2048, 3072)
NOT_FINITE = "The model produced no finite probabilities."
NO_FEATURES = "There is not enough device memory for the pictures of this request."


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
    faults: Mapping[str, str] = field(default_factory=dict)
    """Sequences that ended for a fault of their request, and its field."""


@dataclass(slots=True, eq=False)
class Launched:
    """A plan in the device's queue."""

    plan: StepPlan
    draws: Draws | None = None
    is_chosen: bool = False
    end: Fetched | None = None
    """Something to wait for where there are no choices."""
    slices: list[tuple[Any, Any]] = field(default_factory=list)
    """Marks before and after each encode slice."""
    failed_jobs: dict[int, Exception] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Sequences whose pictures should be on the device and are not."""
    errors: list[Exception] = field(default_factory=list)
    """Of moves."""
    failure: Exception | None = None
    """Of the forward pass."""


class Runner:
    """Runs plans on one device. Its memory for keys and values is taken at once: [2, layers, num_blocks,
    block_size, Hk, D]. Features come and go with the plans."""

    def __init__(
        self,
        model: Qwen3VL,
        *,
        num_blocks: int,
        block_size: int,
        max_running: int,
        max_context: int,
        stop_ids: tuple[int, ...],
        num_valid_ids: int,
        graphs: bool = True,
    ) -> None:
        """`graphs`: capture steps, on a CUDA device with fused kernels; all of them are ready when this returns."""
        text = model.config.text
        shape = (2, text.num_hidden_layers, num_blocks, block_size, text.num_key_value_heads, text.head_dim)
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
        self._slots = Slots(max_running, max_context, block_size, self._device, least_context=least_context)
        self._last_ids = torch.zeros(max_running + 1, dtype=torch.int64, device=self._device)
        """The id sampled last in each slot."""
        self._samplers: list[Sampler | Exception | None] = [None] * max_running
        """Of each slot; why there is none for the sequence in it."""
        self._requests: dict[str, EngineRequest] = {}
        self._compiled: dict[str, Compiled] = {}
        """Of the requests that have a grammar."""
        self._masks: ThreadPoolExecutor | None = None
        """Where masks are computed; made when a request has a grammar."""
        self._staging = Staging(self._device)
        self._pictures = Pictures(model, self._staging, self._requests)
        self._angles = self._all_angles(max_context)
        self._graphs: Graphs | None = None
        if fixed:
            torch.cuda.set_device(self._device)
            prepare(self._device)
            if graphs:
                self._capture(Graphs(max_running, max_context))
                self._pictures.capture()
            self._warm()

    def add(self, request: EngineRequest, compiled: Compiled | None = None) -> None:
        """Hold what plans will ask of this request: pixels, positions, sampling, its grammar."""
        self._requests[request.id] = request
        if compiled:
            self._compiled[request.id] = compiled

    def remove(self, request_id: str) -> None:
        """A request has ended; no later plan computes rows for it."""
        del self._requests[request_id]
        self._compiled.pop(request_id, None)

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> Launched:
        """Obey a plan; nothing waits for the device. What fails is kept for `read`, beside the sequence it concerns if
        that can be told; only a lost device raises (torch.AcceleratorError)."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)  # of this thread: kernels, events and graphs go to its current one
        launched = Launched(plan)
        for left in plan.left:
            self._samplers[left.slot] = None
        for admitted in plan.admitted:
            self._admit(admitted)
        for move in plan.moves:
            if error := self._pictures.move(move):
                launched.errors.append(error)
        for job in plan.cancelled:
            self._pictures.cancel(job)
        with self._pictures.beside():
            for part in plan.encodes:
                before = self._mark()
                self._pictures.encode(part, launched.failed_jobs)
                launched.slices.append((before, self._mark()))
        if plan.rows:
            try:
                launched.draws = self._forward(launched)
                if not (launched.draws and launched.draws.waits):
                    self.choose(launched)
            except torch.AcceleratorError:
                raise
            except Exception as error:
                launched.failure = error
        return launched

    @torch.inference_mode()
    def choose(self, launched: Launched) -> None:
        """The tokens of a plan that was launched, if that was not done then. Raises as `launch`."""
        if launched.is_chosen or launched.failure or not launched.plan.rows:
            return
        launched.is_chosen = True
        if launched.draws:
            launched.draws.choose(self._model.ops, self._staging, self._last_ids)
        if not (launched.draws and launched.draws.is_read_later):
            # Without a choice there is something to wait for all the same: host and device stay a step apart, or the
            # next but one would be written where this one's arrays still wait to be copied.
            launched.end = self._staging.fetch(self._last_ids[:1])

    def read(self, launched: Launched) -> StepResult:
        """Wait for a plan that was launched, and what came of it. Raises torch.AcceleratorError when the device is
        lost."""
        plan, draws, jobs = launched.plan, launched.draws, launched.failed_jobs
        failed_jobs = {job: sentence(error) for job, error in jobs.items()}
        errors = (*jobs.values(), *launched.errors)
        if launched.failure is not None:
            # Whose fault it was cannot be told, and keys and values of these rows are incomplete.
            failed = {row.id: sentence(launched.failure) for row in plan.rows}
            none = sum(row.samples for row in plan.rows)
            output = StepOutput(plan.step, (0,) * none, failed, failed_jobs)
            return StepResult(output, (None,) * none, self._times(launched), (*errors, launched.failure))
        if launched.end:
            launched.end.wait()
        choices = draws.read() if draws else []
        output = _output(plan, draws, choices, launched.lost, failed_jobs)
        errors += tuple(draws.errors) if draws else ()
        return StepResult(output, tuple(choices), self._times(launched), errors, draws.faults if draws else {})

    def _admit(self, admitted: Admitted) -> None:
        request = self._requests[admitted.id]
        prompt = request.prompt
        self._slots.admit(admitted.slot, prompt.positions, prompt.delta, admitted.num_cached)
        try:
            self._samplers[admitted.slot] = Sampler(
                request.sampling,
                num_valid_ids=self._num_valid_ids,
                stop_ids=self._stop_ids,
                prompt_ids=prompt.ids,
                generated_ids=admitted.generated,
                device=self._device,
                constraint=self._constraint(request, admitted.generated),
            )
        except torch.AcceleratorError:
            raise
        except Exception as error:
            self._samplers[admitted.slot] = error

    def _constraint(self, request: EngineRequest, generated: tuple[int, ...]) -> Constraint | None:
        """What a request says of its tokens; None if nothing."""
        compiled, thinking, sampling = self._compiled.get(request.id), request.thinking, request.sampling
        if compiled is None and (thinking is None or thinking.budget is None):
            return None
        self._masks = self._masks or deep_pool(min(4, os.cpu_count() or 1), "saccade-mask")
        rules = Rules(self._num_valid_ids, self._stop_ids, thinking, compiled, sampling.min_tokens, sampling.ignore_eos)
        constraint = Constraint(rules, length=len(request.prompt.ids), generated=generated, pool=self._masks)
        return None if constraint.is_ready and constraint.is_over else constraint

    # --- tokens ------------------------------------------------------------------------------------------------------

    def _forward(self, launched: Launched) -> Draws | None:
        """All rows through the decoder; those that sample."""
        plan, graphs, step = launched.plan, self._graphs, None
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
            parts = self._pictures.shown(step.features)
            for row in plan.rows[plan.num_decodes :]:
                if any(not self._pictures.has(shown.key) for shown in row.features):
                    launched.lost.add(row.id)
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
        rows = plan.rows if plan.num_decodes == len(plan.rows) else [row for row in plan.rows if row.samples]
        if not rows:
            return None
        count, samplers = len(rows), [sampler for row in rows if (sampler := self._samplers[row.slot])]
        return Draws(rows, samplers, passed.logits[:count], (passed.ids[:count], passed.peaks[:count]), slots[:count])

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
        wanted = None if inputs.only_decodes else inputs.sampled_rows
        hidden = language.forward(x, attend, deepstack, rows, wanted)
        if not len(inputs.sampled_rows):
            return Passed(hidden, inputs.sampled_slots, hidden.new_empty(0, dtype=torch.float32))
        logits = language.head(hidden)
        ids, peaks = ops.greedy(logits, self._num_valid_ids)
        self._last_ids.index_copy_(0, inputs.sampled_slots, ids)
        return Passed(logits, ids, peaks)

    @torch.inference_mode()
    def _warm(self) -> None:
        """Run what no graph holds once with nothing in it, so that nobody waits while kernels are compiled or loaded:
        pictures of some sizes, steps with many prompt rows, any number of decode rows beside prompts, all choices."""
        with self._pictures.beside():
            for side in (256, 512, 768, 1024, 1536):
                picture = torch.zeros(1, side, side, 3, dtype=torch.uint8, device=self._device)
                self._model.visual([picture], [(1, side // 16, side // 16)])
        steps = [(0, rows) for rows in WARM_ROWS] + [(1 << n, 64) for n in range(self._slots.nobody.bit_length())]
        for decodes, rows in steps:
            n, s = decodes + rows, decodes + 1
            layout = Layout(n, decodes, s, s, rows, rows, self._slots.least_context)
            packed = self._staging.send(self._slots.empty(layout))
            shown = self._pictures.blank(rows)
            passed = self._pass(self._slots.inputs(packed, layout), shown if rows == n else None)
            torch.cuda.synchronize()  # the pinned memory of this step is written again by the third one behind it
        warm_up(self._model.ops, passed.logits[:1], self._num_valid_ids)
        torch.cuda.empty_cache()

    @torch.inference_mode()
    def _capture(self, graphs: Graphs) -> None:
        """Every layout, reading its inputs where `Staging` puts them and features where `_forward` copies them."""
        most = max(layout.rows for layout in graphs.layouts())
        self._shown = self._pictures.blank(most)
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


def _output(
    plan: StepPlan, draws: Draws | None, choices: list[Choice | None], lost: set[str], failed_jobs: Mapping[int, str]
) -> StepOutput:
    """Tokens in the order of the rows that sample; sequences without a finite distribution are told apart."""
    failed = dict.fromkeys(lost, NO_FEATURES)
    refused, late = (draws.refused, draws.late) if draws else ({}, set[str]())
    for row, choice in zip(draws.rows if draws else (), choices, strict=True):
        if choice is None and row.id not in refused and row.id not in late:
            failed[row.id] = NOT_FINITE
    tokens = tuple(choice.token if choice else 0 for choice in choices)
    return StepOutput(plan.step, tokens, failed, failed_jobs, refused, frozenset(late))
