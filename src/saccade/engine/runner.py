"""A StepPlan becomes tokens: the runner owns everything that lies on the device and does what the plan says, in the
order of its fields; plans come in, StepOutputs go out.

What may never enter here:
- decisions about memory, order or who is served: the scheduler and the ledgers make them;
- text, HTTP, settings, logging;
- a wait for the device between the plan and the sampled ids; they are read once, at the end of `run`;
- arithmetic of a layer (model/), of an op (kernels/), of a choice (sampler), of packing (batch).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.cache.blocks import BLOCK
from saccade.engine.batch import Slots, StepInputs
from saccade.engine.plan import Admitted, EncodeSlice, EncodeUnit, Move, StepOutput, StepPlan
from saccade.engine.request import EngineRequest
from saccade.engine.sampler import Choice, Choices, Sampler, choose
from saccade.errors import SaccadeError
from saccade.kernels import AttentionBatch
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.vision import Encoding

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
    ) -> None:
        text = model.config.text
        shape = (2, text.num_hidden_layers, num_blocks, BLOCK, text.num_key_value_heads, text.head_dim)
        self._model = model
        self._device = model.device
        self._stop_ids = stop_ids
        self._num_valid_ids = num_valid_ids
        self._kv = torch.zeros(shape, dtype=model.dtype, device=self._device)
        self._keys, self._values = list(self._kv[0]), list(self._kv[1])
        self._last_ids = torch.zeros(max_running, dtype=torch.int64, device=self._device)
        """The id sampled last in each slot."""
        self._samplers: list[Sampler | None] = [None] * max_running
        self._slots = Slots(max_running, max_context)
        self._requests: dict[str, EngineRequest] = {}
        self._features: dict[bytes, Tensor] = {}
        """[1+L, tokens, E] of each unit, on the device."""
        self._host_features: dict[bytes, Tensor] = {}
        """The same in host memory."""
        self._jobs: dict[int, Encoding] = {}
        """Between two slices."""
        self._angles = self._all_angles(max_context)

    def add(self, request: EngineRequest) -> None:
        """Hold what plans will ask of this request: pixels, positions, sampling."""
        self._requests[request.id] = request

    def remove(self, request_id: str) -> None:
        """A request has ended; no later plan computes rows for it."""
        del self._requests[request_id]

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> StepResult:
        """Obey a plan. A failure is told in the output, of one job or of the sequences in `rows`; only a lost device
        raises (torch.AcceleratorError)."""
        for left in plan.left:
            self._samplers[left.slot] = None
        for admitted in plan.admitted:
            self._admit(admitted)
        for move in plan.moves:
            self._move(move)
        for job in plan.cancelled:
            self._jobs.pop(job, None)
        failures: dict[int, Exception] = {}
        times = tuple(self._encode(part, failures) for part in plan.encodes)
        failed_jobs = {job: _sentence(error) for job, error in failures.items()}
        errors = tuple(failures.values())
        try:
            choices = self._forward(plan) if plan.rows else None
            told = choices.read() if choices else []
        except torch.AcceleratorError:
            raise
        except Exception as error:
            # Whose fault it was cannot be told, and keys and values of these rows are incomplete.
            failed = {row.id: _sentence(error) for row in plan.rows}
            none = sum(row.samples for row in plan.rows)
            output = StepOutput(plan.step, (0,) * none, failed, failed_jobs)
            return StepResult(output, (None,) * none, times, (*errors, error))
        return StepResult(_output(plan, told, failed_jobs), tuple(told), times, errors)

    def _admit(self, admitted: Admitted) -> None:
        request = self._requests[admitted.id]
        prompt = request.prompt
        self._slots.admit(admitted.slot, prompt.positions, prompt.delta, admitted.num_cached)
        self._samplers[admitted.slot] = Sampler(
            request.sampling,
            num_valid_ids=self._num_valid_ids,
            stop_ids=self._stop_ids,
            chosen=len(admitted.generated),
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
            target[move.key] = features.to("cpu")
        elif move.kind == "promote":
            target[move.key] = features.to(self._device)

    # --- pictures ----------------------------------------------------------------------------------------------------

    def _encode(self, part: EncodeSlice, failures: dict[int, Exception]) -> float:
        """One slice of a job, and its milliseconds. What goes wrong ends the job and is kept in `failures`."""
        began = self._clock()
        tower = self._model.visual
        try:
            if part.first == 0:
                pixels = [self._pixels(unit) for unit in part.units]
                grids = [self._requests[unit.id].pictures[unit.picture].grid for unit in part.units]
                self._jobs[part.job] = tower.begin(pixels, [(1, height, width) for _, height, width in grids])
            encoding = self._jobs.get(part.job)
            if encoding is None:  # it failed in an earlier step
                return 0.0
            tower.encode_slice(encoding, part.last)
            if part.last == len(tower.blocks):
                del self._jobs[part.job]
                self._keep(part.units, tower.finish(encoding))
        except torch.AcceleratorError:
            raise
        except Exception as error:
            self._jobs.pop(part.job, None)
            failures[part.job] = error
        return (self._clock() - began) * 1e3

    def _pixels(self, unit: EncodeUnit) -> Tensor:
        """uint8 [1 or 2, H, W, 3] of a still or a temporal patch, on the device."""
        picture = self._requests[unit.id].pictures[unit.picture]
        frames = picture.pixels if len(picture.pixels) == 1 else picture.pixels[2 * unit.patch : 2 * unit.patch + 2]
        return torch.tensor(frames).to(self._device, non_blocking=True)

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
        """All rows through the decoder, and the choices of those that sample; nothing waits for the device."""
        language = self._model.language
        inputs = self._slots.build(plan, self._device)
        if len(inputs.fresh_blocks):
            # Rows behind the last key of a sequence are read with a weight of 0, and 0 times NaN is NaN.
            self._kv.index_fill_(2, inputs.fresh_blocks, 0)
        if count := len(inputs.decode_slots):
            torch.index_select(self._last_ids, 0, inputs.decode_slots, out=inputs.ids[:count])
        x = language.embed(inputs.ids)
        if plan.num_decodes == plan.num_rows:
            cos, sin = (table.index_select(0, inputs.positions[0]) for table in self._angles)
        else:
            cos, sin = language.rotary(inputs.positions)
        deepstack = rows = None
        if inputs.features:
            shown, rows = self._shown(inputs), inputs.feature_rows
            x = x.index_copy_(0, rows, shown[0])
            deepstack = shown[1:]
        attend = _PagedAttention(self._model, self._keys, self._values, cos, sin, inputs.attention)
        hidden = language.forward(x, attend, deepstack, rows)
        samplers = [sampler for row in plan.rows if row.samples and (sampler := self._samplers[row.slot])]
        if not samplers:
            return None
        choices = choose(samplers, language.head(hidden[inputs.sampled_rows]))
        self._last_ids.index_copy_(0, inputs.sampled_slots, choices.ids)
        return choices

    @torch.inference_mode()
    def _all_angles(self, max_context: int) -> tuple[Tensor, Tensor]:
        """cos and sin [max_context + 1, D] of generated tokens, whose three positions are equal: as many bytes as the
        keys and values of one whole context in one layer with one head."""
        places = torch.arange(max_context + 1, device=self._device)
        return self._model.language.rotary(places.expand(3, -1))

    def _shown(self, inputs: StepInputs) -> Tensor:
        """Features [1+L, R, E] of the rows that show a picture; zeros for what was never encoded."""
        levels, width = 1 + len(self._model.visual.deepstack_mergers), self._model.config.text.hidden_size
        parts = []
        for key, _, offset, length in inputs.features:
            features = self._features.get(key)
            if features is None:
                features = torch.zeros(1, 1, 1, dtype=self._model.dtype, device=self._device)
                parts.append(features.expand(levels, length, width))
            else:
                parts.append(features[:, offset : offset + length])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _clock(self) -> float:
        """Seconds, once the device has done all it was asked; for encode slices only."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class _PagedAttention:
    """Attention of one step over all layers' blocks; see `Attend`."""

    def __init__(
        self,
        model: Qwen3VL,
        keys: list[Tensor],
        values: list[Tensor],
        cos: Tensor,
        sin: Tensor,
        batch: AttentionBatch,
    ) -> None:
        self._ops, self._eps = model.ops, model.config.text.rms_norm_eps
        self._keys, self._values, self._batch = keys, values, batch
        self._cos, self._sin = cos, sin

    def __call__(self, index: int, qkv: Tensor, q_weight: Tensor, k_weight: Tensor, /) -> Tensor:
        keys, values, batch = self._keys[index], self._values[index], self._batch
        q = self._ops.qk_norm_rope_store(
            qkv, q_weight, k_weight, self._cos, self._sin, self._eps, keys, values, batch.slots
        )
        return self._ops.paged_attention(q, keys, values, batch)


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
