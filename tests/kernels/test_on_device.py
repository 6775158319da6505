"""The ops of a CUDA device against plain torch in fp32 over the same rounded inputs, at the shapes of the 2B and 4B
models; and what a graph of them needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.engine.footprint import tokens_per_block
from saccade.kernels import AttentionBatch, Ops, fused, paged, prepare, reference, select

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
BLOCK = tokens_per_block(is_gpu=True)
SHAPES = {"2B": (2048, 16, 8, 6144), "4B": (2560, 32, 8, 9728)}
"""Width, query heads, key heads, inner width; heads of 128."""
ROWS = (1, 2, 5, 8, 16, 17, 100, 1536)
LIMITS = {torch.bfloat16: 6e-3, torch.float16: 1e-3, torch.float32: 2e-5}
"""Relative error over a whole tensor: a few roundings of the type."""
EPS = 1e-6

dtypes = pytest.mark.parametrize("dtype", list(LIMITS), ids=str)
cases = pytest.mark.parametrize(
    ("shape", "dtype"),
    [(SHAPES["4B"], torch.bfloat16), *((SHAPES["2B"], dtype) for dtype in LIMITS)],
    ids=["4B bf16", "2B bf16", "2B fp16", "2B fp32"],
)
"""Most of the time goes into compiling, once for each of these."""


@pytest.fixture(scope="module")
def ops() -> Ops:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    prepare(DEVICE)
    return select(DEVICE)


@pytest.fixture(autouse=True)
def _seeded(ops: Ops) -> None:
    torch.manual_seed(0)


def draw(*shape: int, dtype: torch.dtype = torch.float32, std: float = 1.0) -> Tensor:
    return torch.empty(*shape, device=DEVICE).normal_(0, std).to(dtype)


def agree(out: Tensor, twin: Tensor) -> None:
    assert out.shape == twin.shape
    error = (out.double() - twin.double()).norm() / twin.double().norm().clamp(min=1e-30)
    assert error <= LIMITS[out.dtype], f"relative error {error:.2e}"


def both(op: Callable[..., object], twin: Callable[..., object], *inputs: object) -> None:
    """`op` as it is, `twin` in fp32; inputs are copied first, for an op may write into them."""
    copied = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
    wide = [x.float() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs]
    outs, twins = op(*copied), twin(*wide)
    if isinstance(outs, Tensor):
        outs, twins = (outs,), (twins,)
    for ours, theirs in zip(outs, twins, strict=True):  # type: ignore[call-overload]
        agree(ours, theirs)


@cases
@pytest.mark.parametrize("rows", ROWS)
def test_products(ops: Ops, rows: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    width, heads, kv_heads, inner = shape
    x, norm = draw(rows, width, dtype=dtype), draw(width, dtype=dtype)
    qkv = draw((heads + 2 * kv_heads) * 128, width, dtype=dtype, std=0.02)
    both(ops.norm_linear, fused.norm_linear, x, norm, EPS, qkv)
    both(ops.norm_gate_up, fused.norm_gate_up, x, norm, EPS, draw(2 * inner, width, dtype=dtype, std=0.02))
    for k in (heads * 128, inner):
        args = draw(rows, k, dtype=dtype), draw(width, k, dtype=dtype, std=0.02), draw(rows, width, dtype=dtype)
        both(ops.linear_add, fused.linear_add, *args)


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_the_head(ops: Ops, rows: int) -> None:
    dtype = torch.bfloat16
    weight = draw(151936, 2048, dtype=dtype, std=0.02)
    both(ops.norm_linear, fused.norm_linear, draw(rows, 2048, dtype=dtype), draw(2048, dtype=dtype), EPS, weight)


@cases
@pytest.mark.parametrize("rows", ROWS)
def test_norm_rotation_and_storing(ops: Ops, rows: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    _, heads, kv_heads, _ = shape
    qkv = draw(rows, (heads + 2 * kv_heads) * 128, dtype=dtype)
    weights, tables = draw(2, 128, dtype=dtype), draw(2, rows, 128, dtype=dtype)
    caches = [draw(rows // BLOCK + 3, BLOCK, kv_heads, 128, dtype=dtype) for _ in range(2)]
    wide = [cache.float() for cache in caches]
    slots = torch.randperm((rows // BLOCK + 2) * BLOCK, device=DEVICE)[:rows] + BLOCK
    q = ops.qk_norm_rope_store(qkv, *weights, *tables, EPS, *caches, slots)
    agree(q, fused.qk_norm_rope_store(qkv.float(), *weights.float(), *tables.float(), EPS, *wide, slots))
    agree(caches[0], wide[0])
    assert torch.equal(caches[1].float(), wide[1])


def batch_of(rows: list[int], contexts: list[int], num_decodes: int, max_context: int) -> tuple[AttentionBatch, int]:
    """Sequences in blocks drawn at random; tables go on with block 0 as far as `max_context`."""
    counts = [-(-length // BLOCK) for length in contexts]
    blocks = (torch.randperm(sum(counts)) + 1).split(counts)
    tables = torch.zeros(len(rows), -(-max_context // BLOCK), dtype=torch.int32)
    for table, own in zip(tables, blocks, strict=True):
        table[: len(own)] = own
    cu_q = F.pad(torch.tensor(rows).cumsum(0), (1, 0)).to(torch.int32)
    parts = torch.zeros(sum(rows), dtype=torch.int64), tables, cu_q, torch.tensor(contexts, dtype=torch.int32)
    return AttentionBatch(
        *(part.to(DEVICE) for part in parts), max_q=max(rows), max_context=max_context, num_decodes=num_decodes
    ), sum(counts) + 1


BATCHES = {
    "one": ([1], [1620], 1),
    "decodes at the borders of blocks": ([1] * 6, [1, 15, 16, 17, 63, 64], 6),
    "decodes with fillers": ([1] * 8, [1620, 0, 65, 4096, 0, 128, 3, 0], 8),
    "32 decodes": ([1] * 32, list(range(60, 1660, 50)), 32),
    "whole prompt": ([1536], [1536], 0),
    "chunk": ([512], [1700], 0),
    "chunks": ([100, 17, 1, 64], [100, 1000, 300, 64], 0),
    "mixed": ([1, 1, 1, 200, 1, 33], [70, 0, 1025, 200, 50, 500], 3),
    "mixed with filler rows": ([1, 1, 90, 166], [70, 0, 333, 0], 2),
}


@cases
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("room", [0, 3000], ids=["tight", "room"])
def test_attention(ops: Ops, name: str, room: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    _, heads, kv_heads, _ = shape
    rows, contexts, num_decodes = BATCHES[name]
    batch, num_blocks = batch_of(rows, contexts, num_decodes, max(contexts) + room)
    caches = [draw(num_blocks, BLOCK, kv_heads, 128, dtype=dtype) for _ in range(2)]
    q = draw(sum(rows), heads, 128, dtype=dtype)
    twin = paged.paged_attention(q.float(), *(cache.float() for cache in caches), batch)
    for _ in range(2):  # tickets are put back
        out = ops.paged_attention(q, *caches, batch)
        agree(out, twin)
    bounds = [sum(rows[:s]) for s in range(len(rows) + 1)]
    for s, length in enumerate(contexts):
        assert length or not out[bounds[s] : bounds[s + 1]].any(), "an absent sequence sees nothing"


@dtypes
def test_a_graph_may_be_replayed_with_other_lengths(ops: Ops, dtype: torch.dtype) -> None:
    heads, kv_heads, width = 16, 8, 2048
    batch, num_blocks = batch_of([1] * 4, [2000] * 4, 4, 4096)
    caches = [draw(num_blocks, BLOCK, kv_heads, 128, dtype=dtype) for _ in range(2)]
    x, norm = draw(4, width, dtype=dtype), draw(width, dtype=dtype)
    qkv, o = (draw(n, width, dtype=dtype, std=0.02) for n in ((heads + 2 * kv_heads) * 128, width))
    weights, tables = draw(2, 128, dtype=dtype), draw(2, 4, 128, dtype=dtype)

    def layer() -> Tensor:
        q = ops.qk_norm_rope_store(ops.norm_linear(x, norm, EPS, qkv), *weights, *tables, EPS, *caches, batch.slots)
        return ops.linear_add(ops.paged_attention(q, *caches, batch).flatten(1), o, x.clone())

    layer()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = layer()
    for contexts in ([5, 0, 1999, 64], [1, 1, 1, 1], [2000, 700, 16, 0]):
        batch.context_lens.copy_(torch.tensor(contexts))
        batch.slots.copy_(torch.tensor([int(t[max(n - 1, 0) // BLOCK]) * BLOCK + max(n - 1, 0) % BLOCK
                                        for t, n in zip(batch.block_tables, contexts, strict=True)]))  # fmt: skip
        x.normal_()
        graph.replay()
        assert torch.equal(out, layer())


@pytest.mark.parametrize(
    ("width", "dtype"),
    [(1024, torch.float16), (1024, torch.float32), *((n, torch.bfloat16) for n in (1024, 1152, 2048, 2560, 4608))],
)
def test_norms(ops: Ops, width: int, dtype: torch.dtype) -> None:
    for rows in ROWS[::3]:
        x, more = draw(2, rows, width, dtype=dtype)
        weight, bias = draw(2, width, dtype=dtype)
        both(ops.rms_norm, reference.rms_norm, x, weight, EPS)
        both(ops.layer_norm, reference.layer_norm, x, weight, bias, EPS)
        both(ops.add_layer_norm, fused.add_layer_norm, more, x, weight, bias, EPS)


@dtypes
@pytest.mark.parametrize("width", [2048, 2560])
def test_added_rows(ops: Ops, width: int, dtype: torch.dtype) -> None:
    rows = torch.randperm(100, device=DEVICE)[:60].masked_fill(torch.arange(60, device=DEVICE) % 3 == 0, -1)
    both(ops.add_rows_, fused.add_rows_, draw(100, width, dtype=dtype), rows, draw(60, width, dtype=dtype))


VISION = {"head 64": (1024, 16, 4096), "head 72": (1152, 16, 4304)}
"""Width, heads, inner width."""
towers = pytest.mark.parametrize("tower", VISION.values(), ids=list(VISION))


@dtypes
@towers
@pytest.mark.parametrize("lengths", [[4096], [1024] * 3, [100, 784, 36], [1, 65, 64]], ids=str)
def test_segment_attention(ops: Ops, lengths: list[int], tower: tuple[int, ...], dtype: torch.dtype) -> None:
    width, heads, _ = tower
    q, k, v = draw(sum(lengths), 3 * width, dtype=dtype).view(-1, 3, heads, width // heads).unbind(1)
    cu_seqlens = F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).to(DEVICE, torch.int32)
    twin = reference.segment_attention(q.float(), k.float(), v.float(), cu_seqlens, max(lengths))
    agree(ops.segment_attention(q, k, v, cu_seqlens, max(lengths)), twin)


@dtypes
@towers
@pytest.mark.parametrize("rows", [4, 100, 784, 4096])
def test_pieces_of_a_block(ops: Ops, rows: int, tower: tuple[int, ...], dtype: torch.dtype) -> None:
    width, heads, inner = tower
    tables = draw(rows, width // heads), draw(rows, width // heads)
    both(ops.rope_2d, reference.rope_2d, draw(rows, 3 * width, dtype=dtype), *tables)
    fc1 = draw(inner, width, dtype=dtype, std=0.02), draw(inner, dtype=dtype)
    both(ops.linear_gelu, fused.linear_gelu, draw(rows, width, dtype=dtype), *fc1)
    index = torch.randint(0, 2304, (rows, 4), device=DEVICE)
    x, table = draw(rows, width, dtype=dtype), draw(2304, width, dtype=dtype)
    both(ops.place_rows, fused.place_rows, x, table, index, torch.rand(rows, 4, device=DEVICE))


@dtypes
@pytest.mark.parametrize("shape", [(1, 64, 96), (1, 1024, 1024), (4, 224, 448)], ids=str)
def test_patch_rows(ops: Ops, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    pixels = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, device=DEVICE)
    agree(ops.patch_rows(pixels, dtype), reference.patch_rows(pixels, torch.float32))
