"""Logits become the next tokens: SamplingParams and raw logits come in, ids stay on the device, and facts that the host
may read later tell ids and logprobs; knows no text, and each sequence is chosen for as if it were alone.

    raw logits --> logprobs, which are told
        those a mask forbids left out
        + bias, stop ids held back --> repetition, frequency, presence penalty      as edited, the likeliest if greedy
        / temperature --> min_p --> top_k --> top_p                                 what is left, of which
        a uniform number of the sequence's own                                      picks one

The order is that of vLLM's sampler. Nothing here waits for the device: what depends on ids that were chosen (the
penalties) lies there and is brought up to date there. Rows of one kind are chosen for by a few launches together; the
kind of a row depends on its own parameters alone, so that its neighbours change nothing.
"""

from __future__ import annotations

import enum
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.engine.constraint import Constraint
from saccade.engine.grammar import Mask
from saccade.kernels import Ops
from saccade.types import SamplingParams, TokenLogprob

FEW = 64
"""The largest top_k for which the candidates are picked without sorting all ids."""
TOGETHER = 32
"""Rows that are drawn for from many ids at once: some 40 bytes for each id of each, 0.2 GB with 152,000 ids."""
LOGPROBS = 20
"""Alternatives that are looked up whenever any are asked for, so that equal ones come in the same order for all."""
MASK = 2**64 - 1


class Kind(enum.Enum):
    """How a row is chosen for."""

    GREEDY = enum.auto()
    """The likeliest."""
    FEW = enum.auto()
    """At random from at most FEW."""
    CUT = enum.auto()
    """At random from more, with top_k or top_p."""
    WHOLE = enum.auto()
    """At random from all, or those above min_p."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The token chosen, and what the raw distribution thought of it."""

    token: int
    logprob: float | None
    top: tuple[TokenLogprob, ...]


class Sampler:
    """How the tokens of one sequence are chosen.

    Its random numbers are its own: number i is a function of the seed and i, on any device, whatever else runs, and
    also after the sequence was preempted. Ids from `num_valid_ids` on (padding of the embedding table) are never
    chosen; `stop_ids` are not chosen while fewer than `min_tokens` tokens have been, unless they mean nothing
    (`ignore_eos`).
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        num_valid_ids: int,
        stop_ids: Sequence[int] = (),
        prompt_ids: Sequence[int] = (),
        generated_ids: Sequence[int] = (),
        device: torch.device | str = "cpu",
        constraint: Constraint | None = None,
    ) -> None:
        """`generated_ids`: tokens that this sequence has already; the random numbers they took are passed over."""
        self.constraint = constraint
        """What may be chosen; None: anything."""
        temperature = 1.0 if params.temperature is None else params.temperature
        top_k = params.top_k if params.top_k and params.top_k < num_valid_ids else num_valid_ids
        top_p = 1.0 if params.top_p is None else params.top_p
        self.num_valid_ids = num_valid_ids
        self.logprobs = params.logprobs
        if params.is_greedy or top_k == 1:
            self.kind = Kind.GREEDY
        elif top_k <= FEW and params.top_k:
            self.kind = Kind.FEW
        else:
            self.kind = Kind.CUT if top_k < num_valid_ids or top_p < 1 else Kind.WHOLE
        self._numbers = (temperature, float(top_k), max(top_p, 1e-9), params.min_p or 0.0)
        self._seed = _mixed(secrets.randbits(64) if params.seed is None else params.seed & MASK)
        self._chosen = len(generated_ids)
        # Under a grammar it is the constraint that holds stop ids back, where something else is possible.
        self._min_tokens = 0 if params.ignore_eos or params.grammar or not stop_ids else params.min_tokens
        self.edits: Edits | None = None
        """None: the logits are taken as they are."""
        self.place = 0
        """The row of `edits` that is this sequence's."""
        self._held: tuple[Tensor, Tensor] | None = None
        """Stop ids that are held back, and their bias without that."""
        held = stop_ids if self._chosen < self._min_tokens else ()
        penalties = (_or(params.repetition_penalty, 1.0), params.frequency_penalty, params.presence_penalty)
        self._is_edited = bool(params.logit_bias) or penalties != (1.0, 0.0, 0.0)
        """Also when nothing is held back."""
        if self._is_edited or held:
            edits = self.edits = Edits.of_one(num_valid_ids, device, params.logit_bias, penalties)
            if penalties != (1.0, 0.0, 0.0):
                edits.count(prompt_ids if penalties[0] != 1.0 else (), generated_ids)
            if held:
                stops = upload(held, torch.int64, device)
                self._held = stops, edits.bias[0].index_select(0, stops)
                edits.bias[0].index_fill_(0, stops, -math.inf)

    @property
    def is_plain(self) -> bool:
        """Whether the next token is the highest valid logit and nothing else is asked."""
        return self.kind is Kind.GREEDY and self.edits is None and self.logprobs is None and self.constraint is None

    def numbers(self) -> tuple[float, ...]:
        """What the random choice of the next token depends on: temperature, top_k, top_p, min_p, uniform number."""
        bits = _mixed(self._seed + self._chosen & MASK)
        # fp32 has 24 bits and fp64 53: with more, the highest numbers would be rounded to 1.
        uniform = (bits >> 40) / 2**24 if self.kind is Kind.FEW else (bits >> 11) / 2**53
        return *self._numbers, uniform

    def passed(self) -> None:
        """A token was chosen for this sequence."""
        self._chosen += 1
        if self._held is not None and self._chosen >= self._min_tokens:
            assert self.edits is not None
            self.edits.bias[self.place].index_copy_(0, *self._held)
            self._held = None
            if not self._is_edited:
                self.edits = None


class Edits:
    """What changes the raw logits of S sequences, on the device; n ids may be chosen. 8 n bytes for each sequence."""

    def __init__(self, bias: Tensor, uses: Tensor, penalties: Tensor) -> None:
        self.bias = bias
        """fp32 [S, n], added first; -inf where an id is held back."""
        self.uses = uses
        """int32 [S, n]: see `fused.penalize`."""
        self.penalties = penalties
        """fp32 [3, S]: repetition, frequency, presence."""

    @classmethod
    def of_one(
        cls,
        num_ids: int,
        device: torch.device | str,
        logit_bias: Sequence[tuple[int, float]],
        penalties: tuple[float, float, float],
    ) -> Edits:
        """Of one sequence that has used nothing."""
        bias = torch.zeros(1, num_ids, device=device)
        if logit_bias:
            ids, values = zip(*logit_bias, strict=True)
            assert max(ids) < num_ids, "a bias of an id that there is not"
            bias[0].index_copy_(0, upload(ids, torch.int64, device), upload(values, torch.float32, device))
        uses = torch.zeros(1, num_ids, dtype=torch.int32, device=device)
        return cls(bias, uses, upload([[value] for value in penalties], torch.float32, device))

    def count(self, prompt_ids: Sequence[int], generated_ids: Sequence[int]) -> None:
        """The one sequence has used these."""
        device, num_ids = self.uses.device, self.uses.shape[1]
        if asked := [id for id in set(prompt_ids) if id < num_ids]:
            self.uses[0].index_fill_(0, upload(asked, torch.int64, device), 1)
        if generated_ids:
            ids = upload(generated_ids, torch.int64, device)
            self.uses[0].index_add_(0, ids, torch.full_like(ids, 2, dtype=torch.int32))

    @classmethod
    def of(cls, samplers: Sequence[Sampler]) -> Edits:
        """Of sequences that all have some, in their order. Those that were chosen for together last time lie so
        already; otherwise they are copied, and do from now on."""
        parts = [(sampler.edits, sampler.place) for sampler in samplers if sampler.edits is not None]
        first, _ = parts[0]
        if parts == [(first, place) for place in range(len(first.uses))]:
            return first
        joined = cls(
            torch.stack([part.bias[place] for part, place in parts]),
            torch.stack([part.uses[place] for part, place in parts]),
            torch.stack([part.penalties[:, place] for part, place in parts], dim=1),
        )
        for place, sampler in enumerate(samplers):
            sampler.edits, sampler.place = joined, place
        return joined


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """What was chosen for S sequences, still on the device."""

    ids: Tensor
    """int64 [S]."""
    facts: Tensor
    """fp32: ids and highest raw logits of all S; of the L rows that tell logprobs, the chosen logits, the logsumexps,
    and [L, width] values and ids of the likeliest. Ids pass through fp32 exactly up to 2^24."""
    logprobs: tuple[int | None, ...]
    """How many alternatives each row tells; None: not even its own logprob."""
    width: int

    def read(self) -> list[Choice | None]:
        """Wait for the device, once; see `told`."""
        return self.told(self.facts.tolist())

    def told(self, facts: Sequence[float]) -> list[Choice | None]:
        """The choices, from the values of `facts`. None for a row whose distribution is not one (NaN or infinite
        logits)."""
        count, width = len(self.logprobs), self.width
        num_telling = sum(wanted is not None for wanted in self.logprobs)
        told: list[Choice | None] = []
        at = 2 * count
        for row, wanted in enumerate(self.logprobs):
            is_finite = math.isfinite(facts[count + row])
            logprob, top = None, list[TokenLogprob]()
            if wanted is not None:
                total = facts[at + num_telling]
                logprob = facts[at] - total
                is_finite = is_finite and math.isfinite(logprob)
                values = 2 * count + 2 * num_telling + (at - 2 * count) * width
                for place in range(values, values + min(wanted, width)):
                    top.append(TokenLogprob(int(facts[place + num_telling * width]), facts[place] - total))
                at += 1
            told.append(Choice(int(facts[row]), logprob, tuple(top)) if is_finite else None)
        return told


def choose(
    samplers: Sequence[Sampler],
    logits: Tensor,
    ops: Ops,
    *,
    greedy: tuple[Tensor, Tensor] | None = None,
    masks: Sequence[Mask | None] | None = None,
) -> Choices:
    """The next token of each of S sequences from the model's `logits` [S, V]. `greedy`: what `ops.greedy` said of them,
    if that is known already; `masks`: what each may say, None anything. When this raises nothing was chosen."""
    ids, peaks = greedy or ops.greedy(logits, samplers[0].num_valid_ids)
    masks = masks or [None] * len(samplers)
    kinds: dict[tuple[Kind, bool, bool], list[int]] = {}
    for row, (sampler, mask) in enumerate(zip(samplers, masks, strict=True)):
        if sampler.kind is not Kind.GREEDY or sampler.edits is not None or mask is not None:
            kinds.setdefault((sampler.kind, sampler.edits is not None, mask is not None), []).append(row)
    used: list[tuple[Edits, Tensor]] = []
    if sum(map(len, kinds.values())) == len(samplers) and len(kinds) == 1:
        ids = _choose_alike(samplers, logits, ops, masks, used)
    elif kinds:
        places = upload([row for rows in kinds.values() for row in rows], torch.int64, logits.device)
        for mine, rows in zip(torch.split(places, [*map(len, kinds.values())]), kinds.values(), strict=True):
            alike = [samplers[row] for row in rows]
            chosen = _choose_alike(alike, logits.index_select(0, mine), ops, [masks[row] for row in rows], used)
            ids = ids.index_copy(0, mine, chosen)
    asked = tuple(sampler.logprobs for sampler in samplers)
    told, width = _logprobs(asked, samplers[0].num_valid_ids, logits, ids)
    choices = Choices(ids, torch.cat([ids.float(), peaks, *told]), asked, width)
    for edits, chosen in used:
        edits.uses.scatter_add_(1, chosen[:, None], torch.full_like(chosen[:, None], 2, dtype=torch.int32))
    for sampler in samplers:
        sampler.passed()
    return choices


def _choose_alike(
    samplers: Sequence[Sampler],
    logits: Tensor,
    ops: Ops,
    masks: Sequence[Mask | None],
    used: list[tuple[Edits, Tensor]],
) -> Tensor:
    """Ids int64 [S] of sequences of one kind, all of which have edits or none, and masks or none. What was chosen for
    edits goes to `used`."""
    kind, num_valid = samplers[0].kind, samplers[0].num_valid_ids
    edits = None
    if given := [mask for mask in masks if mask is not None]:
        logits = _only(logits[:, :num_valid], np.stack(given))
    if samplers[0].edits is not None:
        edits = Edits.of(samplers)
        repetition, frequency, presence = _apart(edits.penalties)
        logits = ops.penalize(logits, edits.bias, edits.uses, repetition, frequency, presence)
    if kind is Kind.GREEDY:
        ids, _ = ops.greedy(logits, num_valid)
    else:
        columns = list(zip(*(sampler.numbers() for sampler in samplers), strict=True))
        if kind is Kind.FEW:
            temperature, top_k, top_p, min_p, uniform = _apart(upload(columns, torch.float32, logits.device))
            ids = ops.draw(logits, num_valid, temperature, top_k, top_p, min_p, uniform, FEW)
        else:
            numbers = upload(columns, torch.float64, logits.device)
            parts = zip(torch.split(logits[:, :num_valid], TOGETHER), torch.split(numbers, TOGETHER, 1), strict=True)
            ids = torch.cat([_draw_from_many(*part, is_cut=kind is Kind.CUT) for part in parts])
    if edits is not None:
        used.append((edits, ids))
    return ids


def _only(logits: Tensor, masks: Mask) -> Tensor:
    """logits [S, n], masks [S, ceil(n / 32)] -> [S, n]: -inf where the bit of an id is not set."""
    octets = torch.from_numpy(masks.view(np.uint8))
    if logits.is_cuda:
        octets = octets.pin_memory().to(logits.device, non_blocking=True)
    places = torch.arange(8, dtype=torch.uint8, device=logits.device)
    parts = []
    for rows, some in zip(torch.split(logits, TOGETHER), torch.split(octets, TOGETHER), strict=True):
        bits = (some[:, :, None] >> places & 1).view(len(some), -1)[:, : logits.shape[1]]
        parts.append(rows.masked_fill(bits == 0, -math.inf))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _apart(rows: Tensor) -> Tensor:
    """rows fp32 [n, S], the same but each beginning at a multiple of 16 bytes: kernels are compiled apart for pointers
    that do and pointers that do not."""
    count = rows.shape[1]
    return F.pad(rows, (0, -count % 4))[:, :count] if count % 4 else rows


def warm_up(ops: Ops, logits: Tensor, num_valid_ids: int) -> None:
    """Choose once in every way from logits [1, V], so that nobody waits while kernels are compiled or loaded."""
    all_ids = np.full(-(-num_valid_ids // 32), -1, dtype=np.int32)
    for top_k in (1, FEW, num_valid_ids):
        for penalty in (0.0, 1.0):
            params = SamplingParams(temperature=1.0, top_k=top_k, top_p=0.9, presence_penalty=penalty)
            sampler = Sampler(params, num_valid_ids=num_valid_ids, device=logits.device)
            for masks in ([None], [all_ids]):
                choose([sampler], logits, ops, masks=masks)


def _draw_from_many(logits: Tensor, numbers: Tensor, *, is_cut: bool) -> Tensor:
    """logits [S, n], numbers fp64 [5, S] -> ids int64 [S]; see `fused.draw`. Without `is_cut` top_k and top_p cut
    nothing, and nothing is sorted. fp64 holds the mass: the last of 150,000 ids have less than fp32 can tell from the
    mass before them."""
    temperature, top_k, top_p, min_p, _ = numbers.float()[..., None]
    logits = logits.float()
    weights = ((logits - logits.amax(1, keepdim=True)) / temperature).exp()  # 1 for the likeliest
    weights = torch.where(weights < min_p, 0.0, weights)
    order = None
    if is_cut:
        weights, order = weights.sort(dim=1, descending=True)
        weights = torch.where(torch.arange(weights.shape[1], device=weights.device) < top_k, weights, 0.0)
        mass = weights.cumsum(1, dtype=torch.float64)
        weights = torch.where(mass - weights < top_p * mass[:, -1:], weights, 0.0)
    mass = weights.cumsum(1, dtype=torch.float64)
    # The first whose mass with all before it passes the mark; a row without finite logits may have none.
    place = torch.searchsorted(mass, numbers[4, :, None] * mass[:, -1:], right=True).clamp(max=weights.shape[1] - 1)
    return (place if order is None else order.gather(1, place))[:, 0]


def _logprobs(asked: Sequence[int | None], num_valid: int, logits: Tensor, ids: Tensor) -> tuple[list[Tensor], int]:
    """What `Choices.facts` has of the rows that tell logprobs, and its width."""
    rows = [row for row, wanted in enumerate(asked) if wanted is not None]
    if not rows:
        return [], 0
    if len(rows) < len(asked):
        places = upload(rows, torch.int64, logits.device)
        logits, ids = logits.index_select(0, places), ids.index_select(0, places)
    logits = logits.float()
    told = [logits.gather(1, ids[:, None])[:, 0], logits.logsumexp(1)]
    most = max(wanted or 0 for wanted in asked)
    if not most:
        return told, 0
    # Alternatives are the likeliest real ids, but all ids, padding too, share the mass, as in the raw model.
    best = logits[:, :num_valid].topk(min(max(most, LOGPROBS), num_valid))
    return [*told, best.values.flatten(), best.indices.float().flatten()], best.values.shape[1]


def upload(values: Sequence[object], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """A tensor on the device; the host does not wait until it is there."""
    is_cuda = torch.device(device).type == "cuda"
    return torch.tensor(values, dtype=dtype, pin_memory=is_cuda).to(device, non_blocking=True)


def _mixed(bits: int) -> int:
    """64 bits of which each depends on all of the given ones (one number of splitmix64, Steele et al. 2014)."""
    bits = bits + 0x9E3779B97F4A7C15 & MASK
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & MASK
    return bits ^ bits >> 31


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
