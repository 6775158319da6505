"""Requests of ids and pictures become ids, one step at a time; knows no text, no HTTP and no threads.

    submit --> scheduler.plan --> runner.launch ... choose ... read --> scheduler.commit --> TokenOuts
    abort: in any state

A step is one pass over whatever rows its plan names: one token of each running sequence, and pieces of the prompts and
pictures of others. Sequences share the pass and what is equal in their prompts, and nothing else: each gets the tokens
that it would get alone. Where steps run beside the host, the next one is launched before this one's tokens are read.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import asdict, dataclass

import torch

from saccade.cache.blocks import BlockLedger
from saccade.cache.features import FeatureLedger
from saccade.engine.footprint import tokens_per_block
from saccade.engine.grammar import Compiled, Grammars
from saccade.engine.memory import feature_bytes_per_token, plan_memory
from saccade.engine.options import MAX_RUNNING, EngineOptions
from saccade.engine.plan import MAX_ROWS, Event, Limits, StepPlan
from saccade.engine.request import EngineRequest, for_scheduler
from saccade.engine.runner import Launched, Runner, StepResult
from saccade.engine.scheduler import Scheduler
from saccade.errors import RequestError, SaccadeError
from saccade.model.qwen3vl import Qwen3VL
from saccade.types import VISION_LEVELS, CacheHits, EngineStats, Grammar, StageTimes, TokenOut

logger = logging.getLogger(__name__)

PACE: dict[str, dict[str, int]] = {
    "cuda": {},
    "cpu": {"mixed_rows": 96, "vision_work": 1600, "relief": 4},
}
"""What a step that also decodes may take on, where it differs from the defaults of `Limits`: about 3 ms on a GPU, 40 ms
on a CPU with the bundled model."""
WHOLE = 1 << 40
"""A budget that cuts nothing."""
IN_BLOCKS = ("num_blocks", "block_size")
"""What a plan of memory says that is not in bytes."""


@dataclass(slots=True, eq=False)
class _Stages:
    """Where a request that has no token yet has been: seconds of the clock, and milliseconds of vision."""

    submitted: float
    admitted: float | None = None
    vision: float = 0.0
    cached: int = 0
    """Tokens of its prompt that were found in the prefix cache when it was first admitted."""
    has_pictures: bool = False
    level: int = 0
    """Index in VISION_LEVELS."""


class Engine:
    """Runs sequences through one model. Not thread-safe: one thread submits, steps and aborts.

    Every submitted request ends exactly once, with the one TokenOut that carries its finish_reason.
    """

    def __init__(
        self,
        model: Qwen3VL,
        *,
        stop_ids: Iterable[int],
        num_valid_ids: int | None = None,
        options: EngineOptions | None = None,
        grammars: Grammars | None = None,
        block_size: int | None = None,
        **limits: int,
    ) -> None:
        """Ids from `num_valid_ids` on are never chosen. `grammars`: of this vocabulary and these stop ids; without, no
        request may have one. `block_size`: tokens of a block of keys and values, where it is not left to the device.
        `limits`: fields of `Limits` that are not.
        Raises SettingsError when the device is too small for the options."""
        options = options or EngineOptions()
        device = model.device.type
        self.max_context = options.max_context or model.config.text.max_position_embeddings
        self.max_running = options.max_running or MAX_RUNNING[device]
        vocabulary = model.config.text.vocab_size
        valid = min(num_valid_ids or vocabulary, vocabulary)
        self._stop_ids = tuple(sorted(id for id in stop_ids if id < valid))
        self.memory = plan_memory(
            model,
            options,
            max_context=self.max_context,
            max_running=self.max_running,
            block_size=block_size or tokens_per_block(is_gpu=device == "cuda"),
        )
        chosen = Limits(
            **{
                "num_blocks": self.memory.num_blocks,
                "max_running": self.max_running,
                "max_context": self.max_context,
                "vision_blocks": model.config.vision.depth,
            }
            | (PACE[device] if options.slices else {"vision_work": WHOLE, "mixed_rows": MAX_ROWS})
            | limits
        )
        self._scheduler = Scheduler(
            chosen,
            BlockLedger(chosen.num_blocks, self.memory.block_size, prefix_cache=options.prefix_cache),
            FeatureLedger(
                bytes_per_token=feature_bytes_per_token(model),
                gpu_bytes=self.memory.features,
                host_bytes=self.memory.host_features,
                keep=options.feature_cache,
            ),
        )
        self.max_context = self._scheduler.max_context
        self._runner = Runner(
            model,
            num_blocks=chosen.num_blocks,
            block_size=self.memory.block_size,
            max_running=self.max_running,
            max_context=self.max_context,
            stop_ids=self._stop_ids,
            num_valid_ids=valid,
            graphs=options.graphs,
        )
        overlap = device == "cuda" if options.overlap is None else options.overlap
        self._ahead = 2 if overlap else 1
        self._under_way: deque[tuple[Launched, float]] = deque()
        """Steps that have been launched and not read, and when they were planned."""
        self._num_steps = 0
        self._grammars = grammars
        self._stages: dict[str, _Stages] = {}
        """Of the requests that have given no token yet."""
        self._aborted: list[str] = []
        self.on_plan: Callable[[StepPlan], None] = lambda _: None
        """Hears of every plan before it is launched."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do or tell anything."""
        return bool(self._aborted or self._under_way) or self._scheduler.has_work

    def compile(self, grammar: Grammar) -> Future[Compiled]:
        """A grammar for `submit`; its result raises RequestError if it cannot be used. May be called in any thread."""
        if self._grammars is None:
            raise RequestError("This engine was made without a vocabulary for grammars.", param=grammar.param)
        return self._grammars.begin(grammar)

    def submit(self, request: EngineRequest, compiled: Compiled | None = None) -> None:
        """Queue a request. Raises ContextLengthError when its prompt leaves no room for an answer; an answer that
        reaches the end of the context ends there with "length". Its grammar, if it has one, is waited for unless it
        comes compiled."""
        if compiled is None and request.sampling.grammar:
            compiled = self.compile(request.sampling.grammar).result()
        asked = request.sampling.max_tokens
        max_tokens = self.max_context if asked is None else asked
        size = self.memory.block_size
        self._scheduler.submit(for_scheduler(request, stop_ids=self._stop_ids, max_tokens=max_tokens, block_size=size))
        self._runner.add(request, compiled)
        self._stages[request.id] = _Stages(time.perf_counter(), has_pictures=bool(request.pictures))

    def abort(self, request_id: str) -> None:
        """End a request in any state and free what it holds; the next step tells. Does nothing if it has ended."""
        if self._scheduler.abort(request_id):
            self._forget(request_id)
            self._aborted.append(request_id)

    def step(self) -> list[TokenOut]:
        """Launch one plan, and read the oldest under way if no more may be; what came of that one.

        A failure of one sequence or of its pictures, memory included, ends that sequence with finish_reason "error".
        When this raises (torch.AcceleratorError: the device is lost) the engine is of no use from then on.
        """
        out = [TokenOut(id, None, finish_reason="abort") for id in self._aborted]
        self._aborted.clear()
        began = time.perf_counter()
        idle = True
        if self._scheduler.has_plan:
            plan = self._scheduler.plan()
            self.on_plan(plan)
            self._admitted(plan, began)
            self._under_way.append((self._runner.launch(plan), began))
            idle = plan.is_empty
        launched = result = None
        if self._under_way and (idle or len(self._under_way) == self._ahead):
            launched, _ = self._under_way.popleft()
            self._runner.choose(launched)
            result = self._runner.read(launched)
        if self._under_way:
            # What may be said next depends on the tokens that have just been read; the device is busy meanwhile.
            self._runner.choose(self._under_way[-1][0])
        if launched and result:
            out.extend(self._told_of(launched, result))
        return out

    def stats(self) -> EngineStats:
        """Counters and levels since the start."""
        scheduler = self._scheduler
        features = scheduler.encoder.features
        return EngineStats(
            running=scheduler.num_running,
            waiting=scheduler.num_waiting,
            steps=self._num_steps,
            preemptions=scheduler.num_preemptions,
            kv_blocks_used=scheduler.blocks.num_used,
            kv_blocks=scheduler.blocks.total,
            feature_bytes_used=features.gpu_used,
            host_feature_bytes_used=features.host_used,
            prefix_hits=scheduler.blocks.counters.hits,
            feature_counters=asdict(features.counters),
            memory={name: value for name, value in asdict(self.memory).items() if name not in IN_BLOCKS},
        )

    def _told_of(self, launched: Launched, result: StepResult) -> list[TokenOut]:
        """What came of a step."""
        self._num_steps += 1
        for part, milliseconds in zip(launched.plan.encodes, result.slice_times, strict=True):
            for id in {unit.id for unit in part.units}:
                if id in self._stages:
                    self._stages[id].vision += milliseconds
        for error in result.errors:
            if not isinstance(error, SaccadeError | torch.OutOfMemoryError):
                logger.warning("A step failed in part: %s", error, exc_info=error)
        return [self._told(event, result) for event in self._scheduler.commit(result.output)]

    def _admitted(self, plan: StepPlan, began: float) -> None:
        for admitted in plan.admitted:
            stages = self._stages.get(admitted.id)
            if stages and stages.admitted is None:
                stages.admitted, stages.cached = began, admitted.num_cached
        levels = self._scheduler.encoder.levels
        for row in plan.rows[plan.num_decodes :]:
            if row.samples and (stages := self._stages.get(row.id)):
                stages.level = levels.get(row.id, 0)

    def _told(self, event: Event, result: StepResult) -> TokenOut:
        """An event for the caller, with what the runner knows of its token."""
        times = None
        stages = self._stages.pop(event.id, None)
        if stages and stages.admitted is not None:
            passed = (time.perf_counter() - stages.admitted) * 1e3
            queue = (stages.admitted - stages.submitted) * 1e3
            vision = VISION_LEVELS[stages.level] if stages.has_pictures else None
            cache = CacheHits(vision=vision, prefix_tokens=stages.cached)
            times = StageTimes(queue=queue, vision=stages.vision, prefill=passed - stages.vision, cache=cache)
        if event.finish is not None:
            self._runner.remove(event.id)
        choice = result.choices[event.sample] if event.sample >= 0 else None
        if choice is None:
            param = result.faults.get(event.id)
            return TokenOut(event.id, None, finish_reason=event.finish, error=event.error, param=param)
        cached = stages.cached if stages else 0
        return TokenOut(event.id, event.token, choice.logprob, choice.top, event.finish, times, cached_tokens=cached)

    def _forget(self, request_id: str) -> None:
        self._stages.pop(request_id, None)
        self._runner.remove(request_id)
