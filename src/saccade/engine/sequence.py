"""One sequence on its way through the model: a prompt and pictures come in, tokens go out one by one; knows no queue
and no other sequence."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from saccade.engine.kv import KV
from saccade.engine.sampler import Choice, Sampler
from saccade.model.qwen3vl import Qwen3VL
from saccade.types import MediaSpan, Picture, Prompt

ROOM_AHEAD = 256
"""Rows of keys and values taken beside the prompt's at first; the memory doubles from there."""
ANGLES_AHEAD = 64
"""Rotary tables are computed for this many coming tokens at once."""


class Sequence:
    """`begin` gives the first token, each `decode` one more. All memory goes with the object."""

    def __init__(
        self, model: Qwen3VL, prompt: Prompt, pictures: tuple[Picture, ...], sampler: Sampler, max_tokens: int
    ) -> None:
        """`max_tokens` bounds the tokens that will be asked for."""
        config, length = model.config.text, len(prompt.ids)
        self._model = model
        self._prompt = prompt
        self._pictures = pictures
        self._sampler = sampler
        self._kv = KV(
            num_layers=config.num_hidden_layers,
            num_kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            capacity=length + min(max_tokens, ROOM_AHEAD),
            limit=length + max_tokens,
            dtype=model.dtype,
            device=model.device,
            attention=model.ops.causal_attention,
        )
        self._token: Tensor
        self._angles: tuple[Tensor, Tensor]
        self._angles_from = -ANGLES_AHEAD

    def begin(self) -> tuple[Choice, float, float]:
        """See the pictures, read the whole prompt: the first token, and milliseconds of vision and of the rest."""
        model, prompt, device = self._model, self._prompt, self._model.device
        began = self._clock()
        features = self._see() if self._pictures else None
        seen = self._clock()
        x = model.language.embed(torch.tensor(prompt.ids, device=device))
        rows = deepstack = None
        if features is not None:
            # 2 pictures of 6 and 4 tokens, spans at 3 and 12: rows 3..8, 12..15 of the prompt are features 0..5, 6..9.
            rows, source = (index.to(device) for index in places(prompt.spans, self._pictures))
            features = features[:, source]
            x = x.index_copy(0, rows, features[0])
            deepstack = features[1:]
        cos, sin = model.language.rotary(torch.tensor(prompt.positions, device=device))
        choice = self._forward(x, cos, sin, deepstack, rows)
        return choice, (seen - began) * 1e3, (self._clock() - seen) * 1e3

    def decode(self) -> Choice:
        """The token after the last one."""
        ahead = self._kv.length - self._angles_from
        if ahead >= ANGLES_AHEAD:
            self._angles_from, ahead = self._kv.length, 0
            first = self._kv.length + self._prompt.delta
            positions = torch.arange(first, first + ANGLES_AHEAD, device=self._model.device)
            self._angles = self._model.language.rotary(positions.expand(3, -1))
        cos, sin = self._angles
        x = self._model.language.embed(self._token)
        return self._forward(x, cos[ahead : ahead + 1], sin[ahead : ahead + 1])

    def _see(self) -> Tensor:
        """Features [1+L, M, E] of all pictures, one after the other."""
        pixels = [torch.tensor(picture.pixels).to(self._model.device) for picture in self._pictures]
        return self._model.visual.forward(pixels, [picture.grid for picture in self._pictures])

    def _forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, deepstack: Tensor | None = None, rows: Tensor | None = None
    ) -> Choice:
        """Rows x [N, E] through the decoder, behind all rows so far, and the choice after the last."""
        language = self._model.language
        self._kv.reserve(len(x))
        hidden = language.forward(x, cos, sin, self._kv.attend, deepstack, rows)
        self._kv.advance(len(x))
        choice = self._sampler.choose(language.head(hidden[-1:])[0])
        self._token = choice.index
        return choice

    def _clock(self) -> float:
        """Seconds, once the device has done all it was asked."""
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return time.perf_counter()


def places(spans: tuple[MediaSpan, ...], pictures: tuple[Picture, ...]) -> tuple[Tensor, Tensor]:
    """Prompt rows of all picture tokens, and for each its row in the features of all pictures: int64 [R] both."""
    first, total = [], 0
    for picture in pictures:
        first.append(total)
        total += picture.num_tokens
    rows = [torch.arange(span.start, span.start + span.length) for span in spans]
    source = [first[s.picture] + torch.arange(s.offset, s.offset + s.length) for s in spans]
    return torch.cat(rows), torch.cat(source)
