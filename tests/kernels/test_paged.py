"""Paged keys and values against attention written out, sequence by sequence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saccade.kernels import AttentionBatch, paged

BLOCK = 4


def make_batch(
    rows: list[int], contexts: list[int], *, spare: int = 1, block: int = BLOCK
) -> tuple[AttentionBatch, int]:
    """Sequences with these rows and contexts in blocks drawn at random, and how many blocks there are."""
    counts = [-(-length // block) for length in contexts]
    free = (torch.randperm(sum(counts)) + 1).tolist()
    tables = torch.zeros(len(rows), max(counts) + spare, dtype=torch.int32)
    slots = []
    for s, (q, length) in enumerate(zip(rows, contexts, strict=True)):
        tables[s, : counts[s]] = torch.tensor([free.pop() for _ in range(counts[s])], dtype=torch.int32)
        for i in range(length - q, length):
            slots.append(int(tables[s, i // block]) * block + i % block if length else 0)
    cu_q = torch.tensor([0, *rows]).cumsum(0).to(torch.int32)
    batch = AttentionBatch(
        torch.tensor(slots),
        tables,
        cu_q,
        torch.tensor(contexts, dtype=torch.int32),
        max(rows),
        max(contexts),
        next((s for s, q in enumerate(rows) if q > 1), len(rows)),
    )
    return batch, sum(counts) + 1


def attention(q: Tensor, k_cache: Tensor, v_cache: Tensor, batch: AttentionBatch) -> Tensor:
    """The definition, in double: each row of each sequence over the keys it may see."""
    out = torch.zeros_like(q, dtype=torch.float64)
    group = q.shape[1] // k_cache.shape[2]
    for s, length in enumerate(batch.context_lens.tolist()):
        first, end = batch.cu_q[s : s + 2].tolist()
        keys, values = (
            torch.stack([c[batch.block_tables[s, i // BLOCK], i % BLOCK] for i in range(length)]).double()
            if length
            else c[0, :0].double()
            for c in (k_cache, v_cache)
        )
        for row in range(first, end if length else first):
            seen = length - (end - row) + 1
            for head in range(q.shape[1]):
                k, v = keys[:seen, head // group], values[:seen, head // group]
                out[row, head] = (k @ q[row, head].double() * q.shape[2] ** -0.5).softmax(0) @ v
    return out.to(q.dtype)


CASES = [
    ([1], [1]),
    ([1], [9]),
    ([7], [7]),
    ([3], [13]),
    ([1, 1, 1], [5, 17, 4]),
    ([1, 1, 1, 1], [5, 0, 40, 6]),
    ([1, 5, 1, 8], [5, 9, 17, 8]),
    ([2, 3], [2, 11]),
]


@pytest.mark.parametrize(("rows", "contexts"), CASES)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2)])
def test_rows_see_their_own_past(rows: list[int], contexts: list[int], heads: int, kv_heads: int) -> None:
    batch, num_blocks = make_batch(rows, contexts)
    k_cache, v_cache = torch.randn(2, num_blocks, BLOCK, kv_heads, 16).unbind()
    q = torch.randn(sum(rows), heads, 16)
    expected = attention(q, k_cache, v_cache, batch)
    torch.testing.assert_close(paged.paged_attention(q, k_cache, v_cache, batch), expected)
    torch.testing.assert_close(paged._padded(q, k_cache, v_cache, batch), expected)


def test_blocks_in_a_row_are_read_in_place() -> None:
    caches = torch.randn(9, BLOCK, 2, 16), torch.randn(9, BLOCK, 2, 16)
    table = torch.tensor([3, 4, 5, 0], dtype=torch.int32)
    for cache, rows in zip(caches, paged._rows(*caches, table, 10), strict=True):
        assert rows.data_ptr() == cache[3].data_ptr()
        assert torch.equal(rows, cache[3:6].flatten(0, 1)[:10])
    table = torch.tensor([3, 5, 4], dtype=torch.int32)
    for cache, rows in zip(caches, paged._rows(*caches, table, 10), strict=True):
        assert torch.equal(rows, torch.cat((cache[3], cache[5], cache[4]))[:10])


def test_rows_are_stored_at_their_slots_and_nowhere_else() -> None:
    k_cache, v_cache = torch.randn(2, 5, BLOCK, 2, 8).unbind()
    before = k_cache.clone(), v_cache.clone()
    k, v = torch.randn(2, 3, 2, 8).unbind()
    slots = torch.tensor([17, 4, 6])
    paged.store_kv(k, v, k_cache, v_cache, slots)
    for rows, cache, old in ((k, k_cache, before[0]), (v, v_cache, before[1])):
        assert torch.equal(cache.flatten(0, 1)[slots], rows)
        untouched = [i for i in range(20) if i not in slots.tolist()]
        assert torch.equal(cache.flatten(0, 1)[untouched], old.flatten(0, 1)[untouched])


def test_a_row_gets_the_same_alone_and_among_others() -> None:
    rows, contexts = [1, 6, 1, 1, 1], [33, 14, 2, 70, paged.SHORT + 1]
    batch, num_blocks = make_batch(rows, contexts)
    k_cache, v_cache = torch.randn(2, num_blocks, BLOCK, 2, 16).unbind()
    q = torch.randn(sum(rows), 4, 16)
    together = paged.paged_attention(q, k_cache, v_cache, batch)
    for s, (n, length) in enumerate(zip(rows, contexts, strict=True)):
        first = int(batch.cu_q[s])
        alone = AttentionBatch(
            batch.slots[first : first + n],
            batch.block_tables[s : s + 1],
            torch.tensor([0, n], dtype=torch.int32),
            batch.context_lens[s : s + 1],
            n,
            length,
            int(n == 1),
        )
        out = paged.paged_attention(q[first : first + n], k_cache, v_cache, alone)
        torch.testing.assert_close(out, together[first : first + n])
