"""A request as the engine is given it, and what the scheduler must know of it; no tensors and no policy in here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from saccade.cache.blocks import chain_keys
from saccade.cache.features import salted
from saccade.engine.plan import SequenceRequest, Visual
from saccade.types import Picture, Prompt, SamplingParams


@dataclass(frozen=True, slots=True)
class Thinking:
    """The prompt ends in the middle of a thought."""

    end_id: int
    """The token that ends it."""
    closing: tuple[int, ...]
    """Tokens that close it where the model does not; `end_id` is among them."""
    budget: int | None
    """Tokens of thought after which it is closed; None: the model closes it."""


@dataclass(frozen=True, slots=True, eq=False)
class EngineRequest:
    """What the engine needs to answer one request; `id` is unique among those it holds."""

    id: str
    prompt: Prompt
    pictures: tuple[Picture, ...]
    sampling: SamplingParams
    salt: bytes = b""
    """Of the tenant: what was computed for another is never found."""
    thinking: Thinking | None = None
    """The prompt ends in the middle of a thought."""


def visuals(request: EngineRequest) -> tuple[Visual, ...]:
    """Stills and temporal patches in the order of their rows; each span of the prompt shows one of them whole.

    A video of 8 frames, 4 x 6 patches: t = 4 patches of 6 tokens, spans with offsets 0, 6, 12, 18.
    """
    found = []
    for span in request.prompt.spans:
        picture = request.pictures[span.picture]
        length = picture.num_tokens // picture.grid[0]
        patch = span.offset // length
        assert (span.length, span.offset) == (length, patch * length), "a span shows one unit of vision work"
        name = picture.key if picture.kind == "image" else f"{picture.key}/{patch}"
        found.append(Visual(salted(name, request.salt), span.start, length, span.picture, patch))
    return tuple(found)


def for_scheduler(
    request: EngineRequest, *, stop_ids: Iterable[int], max_tokens: int, block_size: int
) -> SequenceRequest:
    """The request without its pixels; about 2 us for each block of the prompt."""
    units, ids = visuals(request), request.prompt.ids
    rows = [(unit.key, unit.start, unit.length) for unit in units]
    # A grammar ends somewhere, and then only a stop id is left.
    is_endless = request.sampling.ignore_eos and request.sampling.grammar is None
    return SequenceRequest(
        id=request.id,
        ids=ids,
        visuals=units,
        block_keys=chain_keys(ids, rows, request.salt, block_size=block_size),
        salt=request.salt,
        max_tokens=max_tokens,
        stop_ids=frozenset() if is_endless else frozenset(stop_ids),
    )
