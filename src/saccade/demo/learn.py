"""One training pass of a Qwen3-VL over a packed batch: the model's own pieces in the order of its forward, with segment
attention between them, so that what is trained is exactly what is served.

The pieces between two attentions are compiled (static shapes, few graphs); attention itself runs eagerly with the true
segment lengths. Legend: P patches, M = P/4 merged patches, T tokens, D vision width, E text width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.demo.pack import CHAR_CLASSES, CHARS_PER_PATCH
from saccade.kernels import reference
from saccade.model.decoder import DecoderLayer
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.vision import VisionBlock


@dataclass(slots=True)
class Segments:
    """Cumulative lengths int32 [S+1] on the device, where equal neighbours bound an empty segment; `longest` is at
    least the longest length; `lengths` are for the host."""

    bounds: Tensor
    longest: int
    lengths: list[int]


@dataclass(slots=True)
class Losses:
    """Of one pass: `text` and `chars` are means, the tensors below are per token row and per patch."""

    text: Tensor
    chars: Tensor
    right: Tensor
    """bool [T]: the most likely token is the target."""
    chars_right: Tensor
    """Share of drawn characters named right by the auxiliary head."""


def segment_attention(q: Tensor, k: Tensor, v: Tensor, segments: Segments, causal: bool) -> Tensor:
    """[N, H, d] each -> [N, H, d]; differentiable; fewer key than query heads are shared in groups. The segments cover
    all N rows."""
    if k.size(1) != q.size(1):
        k, v = (x.repeat_interleave(q.size(1) // k.size(1), dim=1) for x in (k, v))
    if q.is_cuda:
        out = torch.ops.aten._flash_attention_forward(
            q, k, v, segments.bounds, segments.bounds, segments.longest, segments.longest, 0.0, causal, False
        )
        attended: Tensor = out[0]
        return attended
    done = []
    for first, last in itertools.pairwise(segments.bounds.tolist()):
        if first == last:
            continue
        part = [x[first:last].transpose(0, 1)[None] for x in (q, k, v)]
        done.append(F.scaled_dot_product_attention(part[0], part[1], part[2], is_causal=causal)[0].transpose(0, 1))
    return torch.cat(done)


class Learner(nn.Module):
    """The model with the auxiliary character head, and the compiled pieces of its training pass."""

    frequencies: Tensor

    def __init__(self, model: Qwen3VL, *, compiled: bool) -> None:
        super().__init__()
        self.model = model
        config = model.config.vision
        self.char_head = nn.Linear(config.hidden_size, CHARS_PER_PATCH * CHAR_CLASSES)
        head_dim = config.hidden_size // config.num_heads
        frequencies = 10000.0 ** (-torch.arange(0, head_dim // 2, 2).float() / (head_dim // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        table = round(config.num_position_embeddings**0.5)
        self.table_side = table

        def maybe(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, dynamic=False) if compiled else function

        self._open_vision = maybe(self._open_vision_eager)
        self._vision_step = maybe(_block_step)
        self._vision_end = maybe(_block_end)
        self._merge = maybe(_merge)
        self._open_text = maybe(self._open_text_eager)
        self._text_step = maybe(_layer_step)
        self._text_step_deep = maybe(_layer_step_deep)
        self._text_end = maybe(self._text_end_eager)
        self._name_chars = maybe(self._name_chars_eager)

    def forward(
        self, b: dict[str, Tensor], vision: Segments, text: Segments, *, noise: float, apart: bool = False
    ) -> Losses:
        """`b` holds the arrays of a packed batch on the device; noise > 0 changes each picture's light a little. With
        `apart` the character loss teaches its head alone, not the tower."""
        visual, language = self.model.visual, self.model.language
        gain = offset = b["rows"].new_zeros((), dtype=torch.float32)
        if noise > 0:
            pictures = b["rows"].size(0)
            gain = torch.randn(pictures, device=gain.device)[b["picture"].int()] * noise
            offset = torch.randn(pictures, device=gain.device)[b["picture"].int()] * noise
        speckle = torch.rand((), device=b["rows"].device) * (noise * 0.5)
        blocks = list(visual.blocks)
        cos, sin, x, q, k, v = self._open_vision(
            b["rows"], b["second"], b["second_at"].long(), b["place"], gain, offset, speckle, blocks[0]
        )
        levels = []
        taps = {block: level for level, block in enumerate(self.model.config.vision.deepstack_visual_indexes)}
        for i, block in enumerate(blocks):
            attended = segment_attention(q, k, v, vision, causal=False)
            if i + 1 < len(blocks):
                x, q, k, v = self._vision_step(block, blocks[i + 1], x, attended, cos, sin)
            else:
                x = self._vision_end(block, x, attended)
            if i in taps:
                levels.append(self._merge(visual.deepstack_mergers[taps[i]], x))
        pooled = self._merge(visual.merger, x)
        char_loss, char_right = self._name_chars(x.detach() if apart else x, b["chars"])

        rows = b["features_at"].long()
        layers = list(language.layers)
        cos, sin = language.rotary(b["positions"].long())
        x, q, k, v = self._open_text(b["ids"].long(), cos, sin, pooled, rows, layers[0])
        for i, layer in enumerate(layers):
            attended = segment_attention(q, k, v, text, causal=True)
            if i + 1 == len(layers):
                break
            if i < len(levels):
                x, q, k, v = self._text_step_deep(layer, layers[i + 1], x, attended, cos, sin, rows, levels[i])
            else:
                x, q, k, v = self._text_step(layer, layers[i + 1], x, attended, cos, sin)
        loss, right = self._text_end(layers[-1], x, attended, b["targets"].long(), b["weights"])
        return Losses(loss, char_loss, right, char_right)

    def _open_vision_eager(
        self, rows: Tensor, second: Tensor, second_at: Tensor, place: Tensor, gain: Tensor, offset: Tensor,
        speckle: Tensor, first: VisionBlock,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        visual = self.model.visual
        weight, bias = visual.patch_embed.weight, visual.patch_embed.bias  # [D, 3, 2, 16, 16], [D]
        dtype = weight.dtype
        # Training rows are (y, x, channel); the frames of a still are equal, so their two kernels add up.
        still = weight.sum(2).permute(0, 2, 3, 1).reshape(weight.size(0), 768)
        later = weight[:, :, 1].permute(0, 2, 3, 1).reshape(weight.size(0), 768)
        pixels = (rows.float() - 127.5) / 127.5
        change = (second.float() - rows[second_at].float()) / 127.5
        pixels = pixels * (1 + gain[..., None]) + offset[..., None] + torch.randn_like(pixels) * speckle
        x = F.linear(pixels.to(dtype), still, bias)
        x = x.index_add(0, second_at, F.linear(change.to(dtype), later))
        x = x + self._table(place)
        angle = place[:, :2].float()[..., None] * self.frequencies  # [P, 2, d/4]
        angle = angle.flatten(1)
        angle = torch.cat([angle, angle], dim=-1)
        cos, sin = angle.cos(), angle.sin()
        return (cos, sin, *first.qkv(x, None, cos, sin))

    def _table(self, place: Tensor) -> Tensor:
        """Bilinear sample of the position table with aligned corners (spec 4.1.2), [P, 4] -> [P, D]."""
        side = self.table_side
        at = place[:, :2].float() * (side - 1) / (place[:, 2:].float() - 1).clamp(min=1)
        low = at.floor().clamp(max=side - 1)
        part = at - low
        low = low.long()
        high = (low + 1).clamp(max=side - 1)
        y0, x0, y1, x1 = low[:, 0] * side, low[:, 1], high[:, 0] * side, high[:, 1]
        fy, fx = part[:, :1], part[:, 1:]
        table = self.model.visual.pos_embed.weight
        picked = [F.embedding(i, table).float() for i in (y0 + x0, y0 + x1, y1 + x0, y1 + x1)]
        shares = [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx]
        total = picked[0] * shares[0] + picked[1] * shares[1] + picked[2] * shares[2] + picked[3] * shares[3]
        placed: Tensor = total.to(table.dtype)
        return placed

    def _open_text_eager(
        self, ids: Tensor, cos: Tensor, sin: Tensor, pooled: Tensor, rows: Tensor, first: DecoderLayer
    ) -> tuple[Tensor, ...]:
        x = self.model.language.embed(ids).index_copy(0, rows, pooled)
        return (x, *_heads(first, x, cos, sin))

    def _text_end_eager(
        self, layer: DecoderLayer, x: Tensor, attended: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        x = layer.finish(x, attended)
        logits = self.model.language.head(x).float()
        losses = F.cross_entropy(logits, targets, reduction="none")
        return (losses * weights).sum() / weights.sum().clamp(min=1), logits.argmax(-1) == targets

    def _name_chars_eager(self, x: Tensor, chars: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.char_head(x).view(-1, CHAR_CLASSES).float()
        truth = chars.flatten().long()
        losses = F.cross_entropy(logits, truth, reduction="none")
        drawn = (truth > 0).float()
        # Empty places are 19 of 20; they count a little so that the head learns to say "nothing".
        weight = drawn + 0.05
        right = ((logits.argmax(-1) == truth) * drawn).sum() / drawn.sum().clamp(min=1)
        return (losses * weight).sum() / weight.sum(), right


def _block_step(
    block: Any, following: Any, x: Tensor, attended: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, ...]:
    opened: tuple[Tensor, ...] = following.qkv(_block_end(block, x, attended), None, cos, sin)
    return opened


def _block_end(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    out: Tensor = torch.add(*block.finish(x, attended))
    return out


def _merge(merger: Any, x: Tensor) -> Tensor:
    out: Tensor = merger(x)
    return out


def _heads(layer: Any, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a layer attends with. The op that serves stores keys and values on the way; this is its first half."""
    weights = layer.q_norm.weight, layer.k_norm.weight
    return reference.qk_norm_rope(layer.qkv(x), *weights, cos, sin, layer.eps, layer.num_kv_heads)


def _layer_step(
    layer: Any, following: Any, x: Tensor, attended: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, ...]:
    x = layer.finish(x, attended)
    return (x, *_heads(following, x, cos, sin))


def _layer_step_deep(
    layer: Any, following: Any, x: Tensor, attended: Tensor, cos: Tensor, sin: Tensor, rows: Tensor, level: Tensor
) -> tuple[Tensor, ...]:
    x = layer.finish(x, attended).index_add(0, rows, level)
    return (x, *_heads(following, x, cos, sin))
