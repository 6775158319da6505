"""Requests of ids and pictures become ids, one step at a time; knows no text, no HTTP and no threads.

    submit --> scheduler.plan --> runner.run --> scheduler.commit --> TokenOuts        abort: in any state

A step is one pass over whatever rows its plan names: one token of each running sequence, and pieces of the prompts and
pictures of others. Sequences share the pass and what is equal in their prompts, and nothing else: each gets the tokens
that it would get alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from saccade.cache.blocks import BlockLedger
from saccade.cache.features import FeatureLedger
from saccade.engine import memory
from saccade.engine.plan import Event, Limits, StepPlan
from saccade.engine.request import EngineRequest, for_scheduler
from saccade.engine.runner import Runner, StepResult
from saccade.engine.scheduler import Scheduler
from saccade.errors import SaccadeError
from saccade.model.qwen3vl import Qwen3VL
from saccade.types import StageTimes, TokenOut

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Stages:
    """When a request that has no token yet passed where: seconds of the clock, and milliseconds of vision."""

    submitted: float
    admitted: float | None = None
    vision: float = 0.0


class Engine:
    """Runs sequences through one model. Not thread-safe: one thread submits, steps and aborts.

    Every submitted request ends exactly once, with the one TokenOut that carries its finish_reason.
    """

    def __init__(
        self,
        model: Qwen3VL,
        *,
        stop_ids: Iterable[int],
        max_context: int,
        max_running: int = 8,
        num_valid_ids: int | None = None,
        num_blocks: int | None = None,
        feature_bytes: int = 256 * 2**20,
        host_feature_bytes: int = 0,
        prefix_cache: bool = True,
        feature_cache: bool = True,
        **pace: int,
    ) -> None:
        """`max_context`: tokens of prompt and answer together. Ids from `num_valid_ids` on are never chosen.

        `num_blocks`: blocks of keys and values; None: what the running sequences can need, as far as memory allows
        (see `memory.default_blocks`). `feature_bytes`, `host_feature_bytes`: features of pictures kept on the device
        and in host memory. Without the caches nothing outlives its last reader. `pace`: other fields of `Limits`.
        """
        self.max_context = max_context
        self.max_running = max_running
        vocabulary = model.config.text.vocab_size
        valid = min(num_valid_ids or vocabulary, vocabulary)
        self._stop_ids = tuple(sorted(id for id in stop_ids if id < valid))
        num_blocks = num_blocks or memory.default_blocks(model, max_context=max_context, max_running=max_running)
        limits = Limits(
            num_blocks=num_blocks,
            max_running=max_running,
            max_context=max_context,
            vision_blocks=model.config.vision.depth,
            **pace,
        )
        self._scheduler = Scheduler(
            limits,
            BlockLedger(num_blocks, prefix_cache=prefix_cache),
            FeatureLedger(
                bytes_per_token=memory.feature_bytes_per_token(model),
                gpu_bytes=feature_bytes,
                host_bytes=host_feature_bytes,
                keep=feature_cache,
            ),
        )
        self._runner = Runner(
            model,
            num_blocks=num_blocks,
            max_running=max_running,
            max_context=max_context,
            stop_ids=self._stop_ids,
            num_valid_ids=valid,
        )
        self._stages: dict[str, _Stages] = {}
        """Of the requests that have given no token yet."""
        self._aborted: list[str] = []

    @property
    def has_work(self) -> bool:
        """Whether a step would do or tell anything."""
        return bool(self._aborted) or self._scheduler.has_work

    def submit(self, request: EngineRequest) -> None:
        """Queue a request. Raises ContextLengthError when its prompt leaves no room for an answer; an answer that
        reaches the end of the context ends there with "length"."""
        asked = request.sampling.max_tokens
        max_tokens = self.max_context if asked is None else asked
        self._scheduler.submit(for_scheduler(request, stop_ids=self._stop_ids, max_tokens=max_tokens))
        self._runner.add(request)
        self._stages[request.id] = _Stages(time.perf_counter())

    def abort(self, request_id: str) -> None:
        """End a request in any state and free what it holds; the next step tells. Does nothing if it has ended."""
        if self._scheduler.abort(request_id):
            self._forget(request_id)
            self._aborted.append(request_id)

    def step(self) -> list[TokenOut]:
        """Run one plan; what came of it.

        A failure of one sequence or of its pictures, memory included, ends that sequence with finish_reason "error".
        Only a lost device raises (torch.AcceleratorError): the engine is of no use from then on.
        """
        out = [TokenOut(id, None, finish_reason="abort") for id in self._aborted]
        self._aborted.clear()
        began = time.perf_counter()
        plan = self._scheduler.plan()
        result = self._runner.run(plan)
        self._note(plan, result, began)
        out.extend(self._told(event, result) for event in self._scheduler.commit(result.output))
        return out

    def _note(self, plan: StepPlan, result: StepResult, began: float) -> None:
        """Keep the times of those that wait for their first token, and log what went wrong for no known reason."""
        for admitted in plan.admitted:
            stages = self._stages.get(admitted.id)
            if stages and stages.admitted is None:
                stages.admitted = began
        for part, milliseconds in zip(plan.encodes, result.slice_times, strict=True):
            for id in {unit.id for unit in part.units}:
                if id in self._stages:
                    self._stages[id].vision += milliseconds
        for error in result.errors:
            if not isinstance(error, SaccadeError | torch.OutOfMemoryError):
                logger.warning("A step failed in part: %s", error, exc_info=error)

    def _told(self, event: Event, result: StepResult) -> TokenOut:
        """An event for the caller, with what the runner knows of its token."""
        times = None
        stages = self._stages.pop(event.id, None)
        if stages and stages.admitted is not None:
            passed = (time.perf_counter() - stages.admitted) * 1e3
            queue = (stages.admitted - stages.submitted) * 1e3
            times = StageTimes(queue=queue, vision=stages.vision, prefill=passed - stages.vision)
        if event.finish is not None:
            self._runner.remove(event.id)
        choice = result.choices[event.sample] if event.sample >= 0 else None
        if choice is None:
            return TokenOut(event.id, None, finish_reason=event.finish, error=event.error)
        return TokenOut(event.id, event.token, choice.logprob, choice.top, event.finish, times)

    def _forget(self, request_id: str) -> None:
        self._stages.pop(request_id, None)
        self._runner.remove(request_id)
