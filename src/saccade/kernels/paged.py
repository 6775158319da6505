"""Keys and values in blocks, in plain torch: rows are stored at their slots and queries attend through block tables.

    N rows of S sequences (see AttentionBatch)     Hq, Hk query and key heads     D head width
    m keys of a sequence     group = Hq / Hk query heads that share a key head

On a CPU lengths are read and each sequence costs what it has; on another device nothing waits and everything is padded
to the longest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.kernels.batch import AttentionBatch
from saccade.kernels.reference import causal_attention

SHORT = 512
"""Decoding rows with up to this many keys are padded into batches on a CPU: for short ones the calls cost most, for
longer ones the copies that padding needs."""


def store_kv(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    """Write k, v [N, Hk, D] into k_cache, v_cache [num_blocks, block_size, Hk, D] at slots int64 [N], in place."""
    heads, width = k.shape[1:]
    k_cache.view(-1, heads, width).index_copy_(0, slots, k)
    v_cache.view(-1, heads, width).index_copy_(0, slots, v)


def paged_attention(q: Tensor, k_cache: Tensor, v_cache: Tensor, batch: AttentionBatch) -> Tensor:
    """q [N, Hq, D] attends causally to the stored keys of its own sequence -> [N, Hq, D]; scores scaled by D^-0.5.

    The rows of this step must have been stored. Query head h reads key head h // group.
    """
    if q.device.type != "cpu":
        d = batch.num_decodes
        if not d:
            return _padded(q, k_cache, v_cache, batch)
        tables, contexts = batch.block_tables, batch.context_lens
        out = _decode(q[:d], k_cache, v_cache, *_seen(tables[:d], contexts[:d], batch.max_context, k_cache.shape[1]))
        out = out * (contexts[:d] > 0)[:, None, None]
        if d == len(tables):
            return out
        rest = replace(
            batch, block_tables=tables[d:], cu_q=batch.cu_q[d:] - d, context_lens=contexts[d:], num_decodes=0
        )
        return torch.cat((out, _padded(q[d:], k_cache, v_cache, rest)))
    if batch.first_row is not None:
        return _alone(q, k_cache, v_cache, batch.first_row, batch.max_context)
    shares = _shares(batch, k_cache.shape[1])
    if shares.all_in_one:
        return _decode(q, k_cache, v_cache, *shares.padded[0][1:])
    out = torch.zeros_like(q)
    for s, first, end, length in shares.single:
        out[first:end] = causal_attention(q[first:end], *_rows(k_cache, v_cache, batch.block_tables[s], length))
    for rows, tables, seen in shares.padded:
        out[rows] = _decode(q[rows], k_cache, v_cache, tables, seen)
    return out


def _alone(q: Tensor, k_cache: Tensor, v_cache: Tensor, first: int, length: int) -> Tensor:
    """Attention of one sequence whose `length` keys lie in a row from slot `first` on, read where they are."""
    _, _, heads, width = k_cache.shape
    if q.shape[0] > 1:
        keys, values = (cache.flatten(0, 1).narrow(0, first, length) for cache in (k_cache, v_cache))
        return causal_attention(q, keys, values)
    # One row, which is decoding: as few calls as there can be.
    shape, strides, at = (1, heads, length, width), (0, width, heads * width, 1), first * heads * width
    keys = k_cache.as_strided(shape, strides, k_cache.storage_offset() + at)
    values = v_cache.as_strided(shape, strides, v_cache.storage_offset() + at)
    out = F.scaled_dot_product_attention(q.view(1, heads, -1, width), keys, values)
    return out.view(1, -1, width)


@dataclass(frozen=True, slots=True)
class _Shares:
    """Which sequences of a step attend together on a CPU."""

    single: list[tuple[int, int, int, int]]
    """Those that attend by themselves: sequence, first row, end, keys."""
    padded: list[tuple[list[int], Tensor, Tensor]]
    """Those that decode, padded to one length: their rows, and what `_seen` says of them."""
    all_in_one: bool
    """Whether all rows are those of one group."""


@lru_cache(maxsize=1)
def _shares(batch: AttentionBatch, block_size: int) -> _Shares:
    """Read from the batch once for all layers; whoever changes what is in its tensors makes a batch of its own."""
    lengths: list[int] = batch.context_lens.tolist()
    bounds: list[int] = batch.cu_q.tolist()
    single, short = [], []
    for s, length in enumerate(lengths):
        first, end = bounds[s], bounds[s + 1]
        if length and end - first == 1 and length <= SHORT and len(lengths) > 1:
            short.append(s)
        elif length and end > first:
            single.append((s, first, end, length))
    padded = []
    for group in _about_equal(short, lengths, block_size):
        longest = max(lengths[s] for s in group)
        told = _seen(batch.block_tables[group], batch.context_lens[group], longest, block_size)
        padded.append(([bounds[s] for s in group], *told))
    return _Shares(single, padded, len(padded) == 1 and padded[0][0] == list(range(bounds[-1])))


def _about_equal(sequences: list[int], lengths: list[int], block_size: int) -> Iterable[list[int]]:
    """Groups to pad to one length, which at most doubles the work.

    Lengths 20, 30, 300 in blocks of 16: 2, 2 and 19 blocks, so 20 and 30 go together and 300 goes alone.
    """
    groups: dict[int, list[int]] = {}
    for s in sequences:
        groups.setdefault((-(-lengths[s] // block_size)).bit_length(), []).append(s)
    return groups.values()


def _rows(k_cache: Tensor, v_cache: Tensor, table: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Keys and values of one sequence [length, Hk, D]: views where its blocks follow each other, otherwise copies."""
    block_size = k_cache.shape[1]
    blocks: list[int] = table.tolist()[: -(-length // block_size)]
    first, last = blocks[0], blocks[-1]
    if last - first == len(blocks) - 1 and blocks == list(range(first, last + 1)):
        keys, values = k_cache.flatten(0, 1), v_cache.flatten(0, 1)
        return keys.narrow(0, first * block_size, length), values.narrow(0, first * block_size, length)
    table = table[: len(blocks)]
    keys, values = k_cache.index_select(0, table), v_cache.index_select(0, table)
    return keys.flatten(0, 1)[:length], values.flatten(0, 1)[:length]


def _decode(q: Tensor, k_cache: Tensor, v_cache: Tensor, tables: Tensor, seen: Tensor) -> Tensor:
    """One row for each of S sequences: q [S, Hq, D], tables [S, b] and seen [S, m] of `_seen` -> [S, Hq, D].

    The group of query heads is seen as rows of one attention per key head, so keys are not repeated.
    """
    rows = q.view(len(q), k_cache.shape[2], -1, q.shape[2])
    keys, values = _gather(k_cache, v_cache, tables)
    return F.scaled_dot_product_attention(rows, keys, values, attn_mask=seen[:, None, None, :]).reshape(q.shape)


def _seen(tables: Tensor, lengths: Tensor, longest: int, block_size: int) -> tuple[Tensor, Tensor]:
    """The blocks [S, b] that hold up to `longest` keys, and bool [S, m] that says which of their m rows are there. An
    absent sequence shows its first key, for a softmax over nothing is NaN."""
    tables = tables[:, : max(1, -(-longest // block_size))]
    place = torch.arange(tables.shape[1] * block_size, device=tables.device)
    return tables, place < lengths.clamp(min=1)[:, None]


def _gather(k_cache: Tensor, v_cache: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [S, Hk, m, D] in the blocks [S, b] of S sequences."""
    keys, values = (
        cache.index_select(0, tables.flatten()).view(len(tables), -1, *cache.shape[2:]).transpose(1, 2)
        for cache in (k_cache, v_cache)
    )
    return keys, values


def _padded(q: Tensor, k_cache: Tensor, v_cache: Tensor, batch: AttentionBatch) -> Tensor:
    """Any rows, with queries padded to max_q and keys to max_context; every index is computed on the device."""
    starts, ends = batch.cu_q[:-1, None].long(), batch.cu_q[1:, None].long()
    place = torch.arange(batch.max_q, device=q.device)
    rows = torch.minimum(starts + place, (ends - 1).clamp(min=0))
    tables, seen = _seen(batch.block_tables, batch.context_lens, batch.max_context, k_cache.shape[1])
    keys, values = _gather(k_cache, v_cache, tables)
    group = q.shape[1] // k_cache.shape[2]
    keys, values = keys.repeat_interleave(group, dim=1), values.repeat_interleave(group, dim=1)
    last = batch.context_lens[:, None] - (ends - starts) + place
    key = torch.arange(keys.shape[2], device=q.device)
    mask = seen[:, None, :] & (key <= last.clamp(min=0)[:, :, None])
    out = F.scaled_dot_product_attention(q[rows].transpose(1, 2), keys, values, attn_mask=mask[:, None])
    row = torch.arange(len(q), device=q.device)
    sequence = torch.searchsorted(batch.cu_q[1:].long(), row, right=True).clamp(max=len(batch.context_lens) - 1)
    out = out.transpose(1, 2)[sequence, (row - batch.cu_q.long()[sequence]).clamp(max=batch.max_q - 1)]
    return out * (batch.context_lens[sequence] > 0)[:, None, None]
