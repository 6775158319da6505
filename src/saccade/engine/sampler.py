"""Logits become the next tokens: SamplingParams and raw logits come in, ids stay on the device, and one reading tells
the host ids and logprobs; knows no text, and each sequence is chosen for as if it were alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.kernels import Ops
from saccade.types import SamplingParams, TokenLogprob

GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: the division would leave fp32."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The token chosen, and what the raw distribution thought of it."""

    token: int
    logprob: float | None
    top: tuple[TokenLogprob, ...]


class Sampler:
    """How the tokens of one sequence are chosen. Its random numbers are its own: the same seed on the same device gives
    the same tokens for the same logits, whatever else runs.

    Ids from `num_valid_ids` on (padding of the embedding table) are never chosen; `stop_ids` are not chosen while
    fewer than `min_tokens` tokens have been.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        num_valid_ids: int,
        stop_ids: tuple[int, ...] = (),
        chosen: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """`chosen`: tokens that this sequence has already; the random numbers they took are passed over."""
        self._temperature = 1.0 if params.temperature is None else params.temperature
        self._top_k = params.top_k or 0
        self._top_p = 1.0 if params.top_p is None else max(params.top_p, 1e-9)
        self._logprobs = params.logprobs
        self.num_valid_ids = num_valid_ids
        self._min_tokens = params.min_tokens
        self._stops = torch.tensor(stop_ids, dtype=torch.int64, device=device)
        self._chosen = chosen
        if self._temperature >= GREEDY_BELOW:
            self._generator = torch.Generator(device)
            if params.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(params.seed & (2**64 - 1))
            candidates = self._top_k if 0 < self._top_k < num_valid_ids else num_valid_ids
            clocks = torch.empty(candidates, device=device)
            for _ in range(chosen):
                clocks.exponential_(generator=self._generator)

    @property
    def is_plain(self) -> bool:
        """Whether the next token is the highest valid logit and nothing else is asked."""
        held_back = self._chosen < self._min_tokens and len(self._stops)
        return self._temperature < GREEDY_BELOW and self._logprobs is None and not held_back

    def passed(self) -> None:
        """A plain choice was made for this sequence."""
        self._chosen += 1

    def choose(self, logits: Tensor) -> tuple[Tensor, list[Tensor]]:
        """logits fp32 [V] -> the id int64 [1], and what `told` must be given; nothing waits for the device."""
        valid = logits[: self.num_valid_ids]
        if self._chosen < self._min_tokens and len(self._stops):
            valid = valid.index_fill(0, self._stops, -math.inf)
        self._chosen += 1
        peak, index = valid.max(0, keepdim=True)
        if self._temperature >= GREEDY_BELOW:
            index = self._draw(valid - peak)
        if self._logprobs is None:
            return index, [peak]
        # Alternatives are the likeliest real ids, but all ids, padding too, share the mass, as in the raw model.
        best = logits[: self.num_valid_ids].topk(min(self._logprobs, len(valid)))
        return index, [peak, logits[index], logits.logsumexp(0, keepdim=True), best.indices.float(), best.values]

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


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """What was chosen for S sequences, still on the device."""

    ids: Tensor
    """int64 [S]."""
    facts: Tensor
    """fp32: ids and peaks of all rows, then what the rows that are not plain have to tell."""
    sizes: tuple[int, ...]
    """How many such facts each row has; 0 for plain ones."""

    def read(self) -> list[Choice | None]:
        """Wait for the device, once. None for a row whose distribution is not one (NaN or infinite logits)."""
        return self.told(self.facts.tolist())

    def told(self, facts: list[float]) -> list[Choice | None]:
        """The same of facts that have been read."""
        count, choices = len(self.sizes), list[Choice | None]()
        at = 2 * count
        for row, size in enumerate(self.sizes):
            choices.append(_told(int(facts[row]), facts[at : at + size] if size else [facts[count + row]]))
            at += size
        return choices


def choose(
    samplers: Sequence[Sampler], logits: Tensor, ops: Ops, *, greedy: tuple[Tensor, Tensor] | None = None
) -> Choices:
    """The next token of each of S sequences from the model's `logits` [S, V]: plain ones all at once, the others one
    by one."""
    logits = logits.float()
    ids, peaks = greedy or ops.greedy(logits, samplers[0].num_valid_ids)
    ids = ids.clone()
    facts: list[Tensor] = []
    sizes = []
    for row, sampler in enumerate(samplers):
        told: list[Tensor] = []
        if sampler.is_plain:
            sampler.passed()
        else:
            ids[row : row + 1], told = sampler.choose(logits[row])
        facts += told
        sizes.append(sum(len(fact) for fact in told))
    # Ids pass through fp32 exactly up to 2^24.
    return Choices(ids, torch.cat([ids.float(), peaks, *facts]), tuple(sizes))


def _told(token: int, facts: list[float]) -> Choice | None:
    """facts: peak, and if logprobs are asked for the chosen logit, the logsumexp, n ids and their n logits."""
    if not all(map(math.isfinite, facts[:3])):  # max and logsumexp carry any NaN along
        return None
    if len(facts) == 1:
        return Choice(token, None, ())
    _, value, total, *pairs = facts
    half = len(pairs) // 2
    top = tuple(TokenLogprob(int(i), v - total) for i, v in zip(pairs[:half], pairs[half:], strict=True))
    return Choice(token, value - total, top)
