"""Requests of ids and pictures become ids, one step at a time; knows no text, no HTTP and no threads.

    submit -> waiting --step--> running --step--> ... --> ended         abort: from either state
                       vision,           one token
                       prefill,          per step
                       first token

A step admits at most one waiting request (first come, first served) and then takes one token of every sequence that
was running already, one after the other. Each sequence has its own keys and values, so that none can touch another:
whatever one does or fails at, the others give the same tokens as they would alone.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from saccade.engine.sampler import Choice, Sampler
from saccade.engine.sequence import Sequence
from saccade.errors import ContextLengthError, RequestError, SaccadeError
from saccade.model.qwen3vl import Qwen3VL
from saccade.types import FinishReason, Picture, Prompt, SamplingParams, StageTimes, TokenOut

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class EngineRequest:
    """What the engine needs to answer one request; `id` is unique among those it holds."""

    id: str
    prompt: Prompt
    pictures: tuple[Picture, ...]
    sampling: SamplingParams


@dataclass(slots=True, eq=False)
class _Job:
    """A request the engine holds, waiting or running."""

    request: EngineRequest
    max_tokens: int
    submitted: float
    num_tokens: int = 0
    sequence: Sequence | None = None
    """None while it waits."""


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
    ) -> None:
        """`max_context`: tokens of prompt and answer together. Ids from `num_valid_ids` on are never chosen."""
        self.max_context = max_context
        self.max_running = max_running
        self._model = model
        self._num_valid_ids = min(num_valid_ids or model.config.text.vocab_size, model.config.text.vocab_size)
        self._stop_ids = tuple(sorted(id for id in stop_ids if id < self._num_valid_ids))
        self._waiting: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._aborted: list[str] = []

    @property
    def has_work(self) -> bool:
        """Whether a step would do or tell anything."""
        return bool(self._waiting or self._running or self._aborted)

    def submit(self, request: EngineRequest) -> None:
        """Queue a request. Raises ContextLengthError when its prompt leaves no room for an answer; an answer that
        reaches the end of the context ends there with "length"."""
        length, max_tokens = len(request.prompt.ids), request.sampling.max_tokens
        room = self.max_context - length
        if room < 1:
            raise ContextLengthError(
                f"The prompt of {length} tokens leaves no room for an answer in the context of {self.max_context}.",
                param="messages",
            )
        if max_tokens is not None and max_tokens < 1:
            raise RequestError("max_tokens must be at least 1.", param="max_tokens")
        assert self._find(request.id) is None, f"request {request.id} is here already"
        self._waiting.append(_Job(request, room if max_tokens is None else min(max_tokens, room), time.perf_counter()))

    def abort(self, request_id: str) -> None:
        """End a request in either state and free what it holds; the next step tells. Does nothing if it has ended."""
        job = self._find(request_id)
        if job is None:
            return
        if job.sequence is None:
            self._waiting.remove(job)
        else:
            self._running.remove(job)
        self._aborted.append(request_id)

    @torch.inference_mode()
    def step(self) -> list[TokenOut]:
        """Admit one request if there is room, take one token of each sequence that was running; what came of it.

        A failure of one sequence, memory included, ends that sequence with finish_reason "error". Only a lost device
        raises (torch.AcceleratorError): the engine is of no use from then on.
        """
        out = [TokenOut(id, None, finish_reason="abort") for id in self._aborted]
        self._aborted.clear()
        running = tuple(self._running)
        if self._waiting and len(running) < self.max_running:
            job = self._waiting.popleft()
            self._running.append(job)
            out.append(self._advance(job))
        out.extend(self._advance(job) for job in running)
        return out

    def _find(self, request_id: str) -> _Job | None:
        return next((job for job in (*self._waiting, *self._running) if job.request.id == request_id), None)

    def _advance(self, job: _Job) -> TokenOut:
        """One more token of a running job, or its failure."""
        try:
            choice, times = self._begin(job) if job.sequence is None else (job.sequence.decode(), None)
        except torch.AcceleratorError:
            raise
        except Exception as error:
            self._running.remove(job)
            known = isinstance(error, SaccadeError | torch.OutOfMemoryError)
            logger.warning("Request %s failed: %s", job.request.id, error, exc_info=not known)
            return TokenOut(job.request.id, None, finish_reason="error", error=_told(error))
        job.num_tokens += 1
        reason = self._reason(job, choice)
        if reason is not None:
            self._running.remove(job)
        return TokenOut(job.request.id, choice.token, choice.logprob, choice.top, reason, times)

    def _begin(self, job: _Job) -> tuple[Choice, StageTimes]:
        began = time.perf_counter()
        request = job.request
        sampler = Sampler(
            request.sampling,
            stop_ids=self._stop_ids,
            num_valid_ids=self._num_valid_ids,
            device=self._model.device,
        )
        job.sequence = Sequence(self._model, request.prompt, request.pictures, sampler, job.max_tokens)
        choice, vision, prefill = job.sequence.begin()
        return choice, StageTimes(queue=(began - job.submitted) * 1e3, vision=vision, prefill=prefill)

    def _reason(self, job: _Job, choice: Choice) -> FinishReason | None:
        """Why a job ends with this token, if it does."""
        if choice.token in self._stop_ids and not job.request.sampling.ignore_eos:
            return "stop"
        return "length" if job.num_tokens == job.max_tokens else None


def _told(error: Exception) -> str:
    """One sentence for the caller."""
    if isinstance(error, SaccadeError):
        return error.message
    if isinstance(error, torch.OutOfMemoryError):
        return "There is not enough device memory for this request."
    return f"The engine failed at this request: {type(error).__name__}."
