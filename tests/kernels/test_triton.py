"""Triton kernels against their twins in plain torch: under the interpreter on a CPU, compiled on a CUDA device."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interpreted import DEVICE, HAS_DEVICE, MARKS, TYPES, attention, decode, few, pointwise, stream, vision
from test_paged import BLOCK, CASES, make_batch
from torch import Tensor

from saccade.kernels import AttentionBatch, fused, ops, paged, reference

pytestmark = MARKS
LIMITS = {torch.float32: 2e-3 if HAS_DEVICE else 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""Relative error, over a whole tensor, that a type's rounding explains (on a device: tf32)."""


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(DEVICE, dtype)


def agree(out: Tensor, twin: Tensor) -> None:
    """As near to the twin as its type allows."""
    assert out.shape == twin.shape
    assert out.dtype == twin.dtype
    error = (out.double() - twin.double()).norm() / twin.double().norm().clamp(min=1e-30)
    assert error <= LIMITS[out.dtype], f"relative error {error:.2e}"


def placed(batch: AttentionBatch) -> AttentionBatch:
    tensors = (batch.slots, batch.block_tables, batch.cu_q, batch.context_lens)
    return AttentionBatch(*(x.to(DEVICE) for x in tensors), batch.max_q, batch.max_context, batch.num_decodes)


TILES = [
    None,
    attention.Tile(parts=1),
    attention.Tile(keys=16, parts=4),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("heads", [(2, 2), (4, 1)])
@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("contexts", [[90], [5, 0, 70, 6]], ids=str)
def test_decode(contexts: list[int], tile: attention.Tile | None, heads: tuple[int, int], dtype: torch.dtype) -> None:
    batch, num_blocks = make_batch([1] * len(contexts), contexts)
    batch = placed(batch)
    k_cache, v_cache = draw(2, num_blocks, BLOCK, heads[1], 16, dtype=dtype).unbind()
    q = draw(len(contexts), heads[0] + 2, 16, dtype=dtype)[:, : heads[0]]
    twin = paged.paged_attention(q, k_cache, v_cache, batch)
    for _ in range(2):  # tickets are put back
        agree(attention.paged_attention(q, k_cache, v_cache, batch, tile=tile), twin)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("heads", [(2, 2), (4, 1)])
@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("contexts", [[90], [5, 1, 65, 64, 17]], ids=str)
def test_decode_from_raw_rows(
    contexts: list[int], tile: attention.Tile | None, heads: tuple[int, int], dtype: torch.dtype
) -> None:
    batch, num_blocks = make_batch([1] * len(contexts), contexts)
    batch = placed(batch)
    caches = draw(2, num_blocks, BLOCK, heads[1], 16, dtype=dtype)
    expected = caches.clone()
    qkv = draw(len(contexts), (heads[0] + 2 * heads[1]) * 16 + 8, dtype=dtype)[:, :-8]
    weights, tables = draw(2, 16, dtype=dtype), draw(2, len(contexts), 16, dtype=dtype)
    twin = fused.decode_attention(qkv.contiguous(), *weights, *tables, 1e-6, *expected, batch)
    for _ in range(2):  # tickets are put back
        agree(decode.decode_attention(qkv, *weights, *tables, 1e-6, *caches, batch, tile=tile), twin)
    agree(caches[0], expected[0])
    assert torch.equal(caches[1], expected[1])


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_that_fill_up_a_step_attend_to_nothing_and_store_nothing(dtype: torch.dtype) -> None:
    batch, num_blocks = make_batch([1, 1], [20, 0])
    batch = placed(batch)
    caches = draw(2, num_blocks, BLOCK, 2, 16, dtype=dtype)
    before = caches[:, 0].clone()
    qkv, weights, tables = draw(2, 8 * 16, dtype=dtype), draw(2, 16, dtype=dtype), draw(2, 2, 16, dtype=dtype)
    out = decode.decode_attention(qkv, *weights, *tables, 1e-6, *caches, batch)
    assert not out[1].any()
    assert torch.equal(caches[:, 0], before)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("heads", [(2, 2), (4, 1)])
@pytest.mark.parametrize(("rows", "contexts"), [*CASES[2:4], *CASES[6:], ([40], [75])], ids=str)
def test_prefill(rows: list[int], contexts: list[int], heads: tuple[int, int], dtype: torch.dtype) -> None:
    batch, num_blocks = make_batch(rows, contexts)
    batch = placed(batch)
    k_cache, v_cache = draw(2, num_blocks, BLOCK, heads[1], 16, dtype=dtype).unbind()
    q = draw(sum(rows), heads[0], 16, dtype=dtype)
    twin = paged.paged_attention(q, k_cache, v_cache, batch)
    for tile in (None, attention.Tile(rows=16, keys=16)):
        agree(attention.paged_attention(q, k_cache, v_cache, batch, tile=tile), twin)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("heads", [(2, 2), (4, 1)])
@pytest.mark.parametrize("block", [16, 32])
@pytest.mark.parametrize(("rows", "contexts"), [CASES[6], ([40], [75])], ids=str)
def test_prefill_by_descriptions(
    rows: list[int], contexts: list[int], block: int, heads: tuple[int, int], dtype: torch.dtype
) -> None:
    """A tile of keys is a piece of one block; what lies there behind the last key does not matter."""
    batch, num_blocks = make_batch(rows, contexts, block=block)
    caches = draw(2, num_blocks, block, heads[1], 16, dtype=dtype)
    for table, length in zip(batch.block_tables, contexts, strict=True):
        caches[:, table[length // block], length % block :] = torch.nan
    batch, q = placed(batch), draw(sum(rows), heads[0], 16, dtype=dtype)
    twin = attention.paged_attention(q, *caches, batch, tile=attention.Tile(rows=16, keys=16))
    described = attention.Tile(rows=16, keys=16, described=True)
    whole = replace(batch, num_decodes=0) if batch.num_decodes else batch
    agree(attention.paged_attention(q, *caches, whole, tile=described), twin)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", [64, 40])
def test_norms(width: int, dtype: torch.dtype) -> None:
    x, residual = draw(3, width + 8, dtype=dtype)[:, :width], draw(3, width, dtype=dtype)
    weight, bias = draw(2, width, dtype=dtype).unbind()
    agree(pointwise.rms_norm(x, weight, 1e-6), reference.rms_norm(x, weight, 1e-6))
    agree(pointwise.rms_norm(x[0], weight, 1e-6), reference.rms_norm(x[0], weight, 1e-6))
    agree(pointwise.layer_norm(x, weight, bias, 1e-6), reference.layer_norm(x, weight, bias, 1e-6))
    for out, twin in zip(
        pointwise.add_layer_norm(x, residual, weight, bias, 1e-6),
        fused.add_layer_norm(x, residual, weight, bias, 1e-6),
        strict=True,
    ):
        agree(out, twin)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("heads", [(4, 2), (3, 3), (16, 8)])
def test_qk_norm_rope_store(heads: tuple[int, int], dtype: torch.dtype) -> None:
    qkv = draw(3, (heads[0] + 2 * heads[1]) * 16, dtype=dtype)
    weights, cos, sin = draw(2, 16, dtype=dtype), draw(3, 16, dtype=dtype), draw(3, 16, dtype=dtype)
    caches = [draw(5, BLOCK, heads[1], 16, dtype=dtype) for _ in range(2)]
    expected = [cache.clone() for cache in caches]
    slots = torch.tensor([17, 4, 6], device=DEVICE)
    twin = fused.qk_norm_rope_store(qkv, *weights.unbind(), cos, sin, 1e-6, *expected, slots)
    agree(pointwise.qk_norm_rope_store(qkv, *weights.unbind(), cos, sin, 1e-6, *caches, slots), twin)
    agree(caches[0], expected[0])
    assert torch.equal(caches[1], expected[1])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(3, 64), (2, 3, 1200)])
def test_silu_mul(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = draw(*shape, dtype=dtype)
    agree(pointwise.silu_mul(x), reference.silu_mul(x))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [[], [4, -1, 0, -1, 2]])
def test_add_rows(rows: list[int], dtype: torch.dtype) -> None:
    x, values, at = draw(6, 40, dtype=dtype), draw(len(rows), 40, dtype=dtype), torch.tensor(rows, device=DEVICE).long()
    twin = fused.add_rows_(x.clone(), at, values)
    assert pointwise.add_rows_(x, at, values) is x
    agree(x, twin)


STREAMS = [None, stream.Tile(16, 32, 4, 2), stream.Tile(16, 16, 2, 3, splits=4)]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("tile", STREAMS, ids=str)
@pytest.mark.parametrize(("inner", "outputs"), [(64, 32), (80, 24)])
def test_stream(rows: int, inner: int, outputs: int, tile: stream.Tile | None, dtype: torch.dtype) -> None:
    x, weight = draw(rows, inner + 8, dtype=dtype)[:, :inner], draw(outputs, inner, dtype=dtype) / 8
    norm, residual = draw(inner, dtype=dtype), draw(rows, outputs, dtype=dtype)
    for _ in range(2):  # tickets are put back
        agree(stream.norm_linear(x, norm, 1e-6, weight, tile=tile), fused.norm_linear(x, norm, 1e-6, weight))
    agree(stream.linear(x, weight, tile=tile), x @ weight.t())
    agree(stream.linear_add(x, weight, residual, tile=tile), fused.linear_add(x, weight, residual))
    agree(stream.norm_gate_up(x, norm, 1e-6, weight, tile=tile), fused.norm_gate_up(x, norm, 1e-6, weight))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [2, 19])
@pytest.mark.parametrize("tile", [stream.Tile(16, 32, 4, 2), stream.Tile(64, 16, 4, 3, splits=4)], ids=str)
@pytest.mark.parametrize(("inner", "outputs"), [(64, 32), (80, 24)])
def test_few(rows: int, inner: int, outputs: int, tile: stream.Tile, dtype: torch.dtype) -> None:
    x, weight = draw(rows, inner + 8, dtype=dtype)[:, :inner], draw(outputs, inner, dtype=dtype) / 8
    residual = draw(rows, outputs, dtype=dtype)
    for _ in range(2):  # tickets are put back
        agree(few.linear_add(x, weight, residual, tile=tile), fused.linear_add(x, weight, residual))
    agree(few.gate_up(x, weight, tile=tile), reference.silu_mul(x @ weight.t()))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", [16, 24])
@pytest.mark.parametrize("lengths", [[40], [20, 20], [7, 33, 1]], ids=str)
def test_segment_attention(lengths: list[int], width: int, dtype: torch.dtype) -> None:
    q, k, v = draw(sum(lengths), 3 * 2 * width, dtype=dtype).view(-1, 3, 2, width).unbind(1)
    cu_seqlens = torch.tensor([0, *lengths], device=DEVICE).cumsum(0).to(torch.int32)
    twin = reference.segment_attention(q, k, v, cu_seqlens, max(lengths))
    for tile in (None, vision.TILE, vision.Tile(rows=16, keys=16)):
        agree(vision.segment_attention(q, k, v, cu_seqlens, max(lengths), tile=tile), twin)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("tile", [vision.Tile(16, 16, 4), vision.Tile(16, 16, 4, described=True)], ids=str)
def test_pictures_see_nothing_of_each_other(tile: vision.Tile, dtype: torch.dtype) -> None:
    """Whatever is in the rows of another picture, which a tile may reach into."""
    lengths, width = [7, 33, 24], 16
    qkv = draw(sum(lengths), 3 * 2 * width, dtype=dtype)
    q, k, v = qkv.view(-1, 3, 2, width).unbind(1)
    cu_seqlens = torch.tensor([0, *lengths], device=DEVICE).cumsum(0).to(torch.int32)
    twin = reference.segment_attention(q, k, v, cu_seqlens, 33)
    agree(vision.segment_attention(q, k, v, cu_seqlens, 33, tile=tile), twin)
    v[40:] = torch.nan
    agree(vision.segment_attention(q, k, v, cu_seqlens, 33, tile=tile)[:40], twin[:40])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("heads", "width"), [(2, 16), (3, 24)])
def test_rope_2d(heads: int, width: int, dtype: torch.dtype) -> None:
    qkv = draw(5, 3 * heads * width, dtype=dtype)
    cos, sin = draw(2, 5, width).unbind()
    twins = reference.rope_2d(qkv.clone(), cos, sin)
    for out, twin in zip(vision.rope_2d(qkv, cos, sin), twins, strict=True):
        agree(out, twin)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 64, 96), (1, 32, 32), (4, 64, 32)])
def test_patch_rows(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    pixels = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8).to(DEVICE)
    agree(vision.patch_rows(pixels, dtype), reference.patch_rows(pixels, dtype))


@pytest.mark.parametrize("dtype", TYPES)
def test_place_rows(dtype: torch.dtype) -> None:
    x, table = draw(5, 40, dtype=dtype), draw(9, 40, dtype=dtype)
    index, weight = torch.randint(0, 9, (5, 4)).to(DEVICE), draw(5, 4)
    agree(vision.place_rows(x, table, index, weight), fused.place_rows(x, table, index, weight))


def test_select_takes_fast_ops_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = [name for name in ops._fast() if getattr(ops.select("cuda"), name) is ops._fast()[name]]
    assert set(fast) == set(ops._fast()) - set(ops.SLOWER)
    for other in (ops.select("cpu", fused=False), ops.select("cuda", fused=False)):
        assert all(getattr(other, name) is getattr(ops._plain(), name) for name in fast)
    assert not {getattr(ops.select("cpu"), name) for name in fast} & set(ops._fast().values())
    monkeypatch.setattr(ops, "SLOWER", ("rms_norm",))
    assert ops.select("cuda").rms_norm is reference.rms_norm
    assert "rms_norm" in ops.explain(ops.select("cuda"))


@pytest.mark.slow
def test_every_kernel_compiles_without_a_device(tmp_path: Path) -> None:
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
