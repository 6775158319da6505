"""Logits become the next token of one sequence: SamplingParams and raw logits come in, an id and its logprobs go out;
knows no text and no other sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.errors import EngineError
from saccade.types import SamplingParams, TokenLogprob

GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: the division would leave fp32."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The token chosen, what the raw distribution thought of it, and the id still on the device for the next step."""

    token: int
    logprob: float | None
    top: tuple[TokenLogprob, ...]
    index: Tensor
    """int64 [1], on the device of the logits."""


class Sampler:
    """Chooses the tokens of one sequence, one call each. Its random numbers are its own: the same seed on the same
    device gives the same tokens for the same logits, whatever else runs.

    Ids from `num_valid_ids` on (padding of the embedding table) are never chosen; `stop_ids` are not chosen while
    fewer than `min_tokens` tokens have been.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        stop_ids: tuple[int, ...] = (),
        num_valid_ids: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._temperature = 1.0 if params.temperature is None else params.temperature
        self._top_k = params.top_k or 0
        self._top_p = 1.0 if params.top_p is None else max(params.top_p, 1e-9)
        self._logprobs = params.logprobs
        self._num_valid = num_valid_ids
        self._min_tokens = params.min_tokens
        self._stops = torch.tensor(stop_ids, dtype=torch.int64, device=device)
        self._chosen = 0
        self._generator = torch.Generator(device)
        if params.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(params.seed & (2**64 - 1))

    def choose(self, logits: Tensor) -> Choice:
        """The next token from the model's `logits` [V]. Reads the device once.

        Raises EngineError when the distribution is not one (NaN or infinite logits).
        """
        logits = logits.float()
        valid = logits[: self._num_valid]
        if self._chosen < self._min_tokens and len(self._stops):
            valid = valid.index_fill(0, self._stops, -math.inf)
        peak, index = valid.max(0, keepdim=True)
        if self._temperature >= GREEDY_BELOW:
            index = self._draw(valid - peak)
        facts = [index.float(), peak]  # ids pass through fp32 exactly up to 2^24
        if self._logprobs is not None:
            # Alternatives are the likeliest real ids, but all ids, padding too, share the mass, as in the raw model.
            best = logits[: self._num_valid].topk(min(self._logprobs, len(valid)))
            facts += [logits[index], logits.logsumexp(0, keepdim=True), best.indices.float(), best.values]
        token, highest, *rest = torch.cat(facts).tolist()
        if not all(map(math.isfinite, [highest, *rest[:2]])):  # max and logsumexp carry any NaN along
            raise EngineError("The model produced no finite probabilities.")
        self._chosen += 1
        if self._logprobs is None:
            return Choice(int(token), None, (), index)
        value, total, *pairs = rest
        half = len(pairs) // 2
        top = tuple(TokenLogprob(int(i), v - total) for i, v in zip(pairs[:half], pairs[half:], strict=True))
        return Choice(int(token), value - total, top, index)

    def _draw(self, logits: Tensor) -> Tensor:
        """A random id [1] after temperature, then top-k, then top-p of what is left (the order of transformers).
        The highest of `logits` is 0, so that a small temperature overflows only downwards."""
        scaled = logits / self._temperature
        ids: Tensor | None = None
        if 0 < self._top_k < len(scaled):
            scaled, ids = scaled.topk(self._top_k)
        elif self._top_p < 1.0:
            scaled, ids = scaled.sort(descending=True)
        probs = scaled.softmax(0)
        if self._top_p < 1.0:  # sorted by now; a token stays while the mass before it is below top_p
            probs = torch.where(probs.cumsum(0) - probs < self._top_p, probs, 0.0)
        # A race of exponential clocks: the first to ring is i with probability proportional to probs[i].
        clocks = torch.empty_like(probs).exponential_(generator=self._generator).clamp_min_(1e-30)
        winner = (probs / clocks).argmax(0, keepdim=True)
        return winner if ids is None else ids[winner]
