"""Checks and times every Triton kernel against plain torch at the shapes of the 2B and 4B models, on one CUDA device.

    PYTHONPATH=src python benchmarks/kernels.py --json kernels.json

Every kernel is compared with its twin computed in fp32, then timed as replays of a graph of many calls over inputs that
together exceed the L2 cache. Floor: bytes over the measured copy rate or operations over the measured rate of a matrix
product, whichever is longer. Each group runs in a process of its own, so that one fault leaves the others; all of them
compile at once, then they time one after the other. The JSON has every variant; the table printed has, for each case,
the best one and what `select` chooses today. `--tiny` rehearses on a CPU under the interpreter (TRITON_INTERPRET=1).
"""

# ruff: noqa: B023 (every variant runs in the pass of the loop that makes it)

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from saccade.engine.footprint import tokens_per_block
from saccade.kernels import AttentionBatch, Ops, fused, paged, reference, select

if __name__ == "__main__" and "--tiny" in sys.argv:
    from triton.runtime import interpreter

    _patch = interpreter._patch_lang_tensor

    def _patch_for_numpy(tensor: object, scope: object) -> None:
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda scalar: scalar.handle.data.item())

    interpreter._patch_lang_tensor = _patch_for_numpy

from saccade.kernels.gpu import attention, pointwise, products, sampling, stream, vision


@dataclass(frozen=True)
class Shape:
    """One model's sizes: width, query and key heads of 128, inner width, layers, vocabulary."""

    width: int
    heads: int
    kv_heads: int
    inner: int
    layers: int
    vocabulary: int = 151936
    head_dim: int = 128

    @property
    def qkv(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.head_dim


MODELS = {"2B": Shape(2048, 16, 8, 6144, 28), "4B": Shape(2560, 32, 8, 9728, 36)}
TINY = {"tiny": Shape(64, 4, 2, 96, 2, vocabulary=3000, head_dim=16)}
BLOCK = tokens_per_block(is_gpu=True)
COPY, MATRIX = 4.29e12, 800e12
"""Bytes and operations a second, until measured."""


@dataclass
class Row:
    """One variant of one case."""

    group: str
    model: str
    case: str
    variant: str
    bytes: float
    operations: float
    floor_us: float
    time_us: float | None = None
    error: float | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Bench:
    """Where and how things are run."""

    device: str
    dtype: torch.dtype
    warm: bool
    copy: float
    matrix: float

    def draw(self, *shape: int, std: float = 1.0) -> Tensor:
        return torch.empty(*shape, dtype=self.dtype, device=self.device).normal_(0, std)

    def copies(self, size: float) -> int:
        """How many sets of inputs of `size` bytes exceed the L2 cache four times."""
        return 1 if self.device == "cpu" else max(1, min(64, int(256e6 / max(size, 1)) + 1))

    def time(self, call: Callable[[int], object], sets: int) -> float:
        """Seconds of one call, the median of 10 replays."""
        call(0)
        if self.device == "cpu":
            start = time.perf_counter()
            call(0)
            return time.perf_counter() - start
        calls = max(20, sets)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for i in range(min(sets, 3)):
                call(i)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(calls):
                call(i % sets)
        times = []
        for i in range(13):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            graph.replay()
            last.record()
            torch.cuda.synchronize()
            if i >= 3:
                times.append(first.elapsed_time(last) / 1e3 / calls)
        return statistics.median(times)

    def race(
        self,
        head: tuple[str, str, str],
        moved: float,
        operations: float,
        sets: int,
        truth: Callable[[], Tensor | None],
        variants: dict[str, Callable[[int], object]],
    ) -> Iterator[Row]:
        """One row for each variant; `truth` is what call 0 returns, in fp32."""
        floor = max(moved / self.copy, operations / self.matrix) * 1e6
        expected = truth()
        for name, call in variants.items():
            row = Row(*head, name, moved, operations, floor)
            try:
                out = call(0)
                if isinstance(out, tuple):
                    out = out[0]
                compared = not name.endswith("alone") and not name.startswith("SDPA over")
                if compared and expected is not None and isinstance(out, Tensor):
                    error = (out.double() - expected.double()).norm() / expected.double().norm()
                    row.error = float(error)
                if not self.warm:
                    row.time_us = self.time(call, sets) * 1e6
            except Exception as fault:  # one variant that does not run must not end the others
                row.fault = f"{type(fault).__name__}: {str(fault)[:200]}"
            yield row


def ceilings(device: str) -> tuple[float, float]:
    """Bytes a second of a device-to-device copy, read and written; operations a second of a bf16 product of 8192^3."""
    if device == "cpu":
        return COPY, MATRIX
    bench = Bench(device, torch.bfloat16, False, COPY, MATRIX)
    x, y = torch.empty(2, 1 << 31, dtype=torch.uint8, device=device).random_().unbind()
    copy = 2 * x.numel() / bench.time(lambda _: y.copy_(x), 1)
    a, b = bench.draw(8192, 8192), bench.draw(8192, 8192)
    return copy, 2 * 8192**3 / bench.time(lambda _: a @ b, 1)


# --- products ---------------------------------------------------------------------------------------------------------

ONE_ROW = (
    stream.Tile(16, 256, 4, 5),
    stream.Tile(8, 512, 4, 3),
    stream.Tile(8, 512, 4, 4),
    stream.Tile(4, 1024, 4, 3),
)
FEW_ROWS = (stream.Tile(64, 128, 4, 5), stream.Tile(64, 128, 4, 5, splits=2))


def label(tile: object) -> str:
    """The fields of a tile that are set, by their first letters (x for splits)."""
    letters = {"splits": "x"}
    return " ".join(
        f"{letters.get(name, name[0])}{value}"
        for name, value in asdict(tile).items()  # type: ignore[call-overload]
        if value and (name, value) != ("splits", 1)
    )


def streams(bench: Bench, model: str, m: Shape, name: str) -> Iterator[Row]:
    """One matrix of a layer, or the head, with few rows: every cut of the streaming kernel, and cuBLAS with kernels."""
    outputs, inner, kind = {
        "qkv": (m.qkv, m.width, "norm"),
        "o": (m.width, m.heads * m.head_dim, "add"),
        "gate_up": (2 * m.inner, m.width, "gate"),
        "down": (m.width, m.inner, "add"),
        "head": (m.vocabulary, m.width, "norm"),
    }[name]
    moved = 2.0 * outputs * inner
    sets = bench.copies(moved)
    weights = [bench.draw(outputs, inner, std=0.02) for _ in range(sets)]
    norm = bench.draw(inner)
    twin: Callable[..., Tensor]
    fast: Callable[..., Tensor]
    chosen: Callable[..., Tensor]
    for n in (1, 8) if kind == "add" else (1, 8, 32):  # with more rows a sum goes where its residual was
        x, r = bench.draw(n, inner), bench.draw(n, outputs)
        if kind == "add":
            twin, fast, chosen = fused.linear_add, stream.linear_add, products.linear_add
            args = lambda w, x=x, r=r: (x, w, r)  # noqa: E731
            cublas = lambda i, x=x, r=r: torch.addmm(r, x, weights[i].t(), out=r)  # noqa: E731
        elif kind == "gate":
            twin, fast, chosen = fused.norm_gate_up, stream.norm_gate_up, products.norm_gate_up
            args = lambda w, x=x: (x, norm, 1e-6, w)  # noqa: E731
            cublas = lambda i, x=x: pointwise.silu_mul(F.linear(pointwise.rms_norm(x, norm, 1e-6), weights[i]))  # noqa: E731
        else:
            twin, fast, chosen = fused.norm_linear, stream.norm_linear, products.norm_linear
            args = lambda w, x=x: (x, norm, 1e-6, w)  # noqa: E731
            cublas = lambda i, x=x: F.linear(pointwise.rms_norm(x, norm, 1e-6), weights[i])  # noqa: E731
        truth = twin(*(a.float() if isinstance(a, Tensor) else a for a in args(weights[0])))
        variants: dict[str, Callable[[int], object]] = {
            "cuBLAS, product alone": lambda i, x=x: F.linear(x, weights[i]),
            "twin": lambda i, args=args: twin(*args(weights[i])),
            "default": lambda i, args=args: chosen(*args(weights[i])),
        }
        for tile in ONE_ROW if n == 1 else FEW_ROWS if n <= stream.MOST_ROWS else ():
            variants[label(tile)] = lambda i, args=args, tile=tile: fast(*args(weights[i]), tile=tile)
        variants["cuBLAS and kernels"] = cublas  # the last: it adds into its residual
        head = (f"stream {name}", model, f"{n} rows")
        yield from bench.race(head, moved, moved * n, sets, lambda t=truth: t, variants)


def many_rows(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    """Products of prefill and of batches that cuBLAS performs, with what lies before and behind them."""
    for n in (40,) if bench.device == "cpu" else (32, 128, 1536, 4096):
        x, inner, r = bench.draw(n, m.width), bench.draw(n, m.inner), bench.draw(n, m.width)
        norm = bench.draw(m.width)
        down, gate_up = (bench.draw(*shape, std=0.02) for shape in ((m.width, m.inner), (2 * m.inner, m.width)))
        operations, moved = 2.0 * n * m.width * m.inner, 2.0 * (n * (m.inner + 2 * m.width) + down.numel())
        truth = fused.linear_add(inner.float(), down.float(), r.float())
        variants: dict[str, Callable[[int], object]] = {
            "product alone": lambda i: F.linear(inner, down),
            "linear + add": lambda i: r + F.linear(inner, down),
            "addmm": lambda i: torch.addmm(r, inner, down.t()),
            "default": lambda i: products.linear_add(inner, down, r if i else r.clone()),
        }
        yield from bench.race(
            ("down + residual", model, f"{n} rows"), moved, operations, 1, lambda t=truth: t, variants
        )
        truth = fused.norm_gate_up(x.float(), norm.float(), 1e-6, gate_up.float())
        variants = {
            "product alone": lambda i: F.linear(x, gate_up),
            "twin": lambda i: fused.norm_gate_up(x, norm, 1e-6, gate_up),
            "default": lambda i: products.norm_gate_up(x, norm, 1e-6, gate_up),
        }
        moved = 2.0 * (n * (m.width + m.inner) + gate_up.numel())
        yield from bench.race(
            ("norm + gate_up", model, f"{n} rows"), moved, 2 * operations, 1, lambda t=truth: t, variants
        )


# --- attention --------------------------------------------------------------------------------------------------------


def batch_of(bench: Bench, sequences: int, q: int, context: int) -> tuple[AttentionBatch, int]:
    """`sequences` of one length in blocks of BLOCK tokens handed out at random, and the number of blocks."""
    blocks = -(-context // BLOCK)
    table = (torch.randperm(sequences * blocks) + 1).view(sequences, blocks).to(bench.device, torch.int32)
    cu_q = torch.arange(0, (sequences + 1) * q, q, device=bench.device, dtype=torch.int32)
    lengths = torch.full((sequences,), context, device=bench.device, dtype=torch.int32)
    slots = torch.zeros(sequences * q, device=bench.device, dtype=torch.int64)
    return AttentionBatch(slots, table, cu_q, lengths, q, context, sequences if q == 1 else 0), sequences * blocks + 1


def attentions(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    tiny = bench.device == "cpu"
    decode = ((1, 1, 512), (1, 1, 1620), (8, 1, 1620), (32, 1, 1620), (128, 1, 1620), (1, 1, 8192), (32, 1, 8192))
    prefill = ((1, 1536, 1536), (4, 512, 512), (1, 512, 1536), (1, 256, 8192), (1, 32, 1536))
    tiles: tuple[attention.Tile, ...]
    for s, n, context in ((2, 1, 70), (1, 40, 40)) if tiny else (*decode, *prefill):
        batch, num_blocks = batch_of(bench, s, n, context)
        caches = [
            bench.draw(2, num_blocks, BLOCK, m.kv_heads, m.head_dim)
            for _ in range(bench.copies(4.0 * num_blocks * BLOCK * m.kv_heads * m.head_dim))
        ]
        q = bench.draw(s * n, m.heads, m.head_dim)
        dense = [bench.draw(s, m.kv_heads, context, m.head_dim) for _ in range(2 * len(caches))]
        query = q.view(s, n, m.heads, m.head_dim).transpose(1, 2)

        def library(i: int, query: Tensor = query, dense: list[Tensor] = dense, square: bool = n == context) -> Tensor:
            k, v = dense[2 * i], dense[2 * i + 1]
            return F.scaled_dot_product_attention(query, k, v, is_causal=square, enable_gqa=True)

        def call(i: int, tile: attention.Tile | None = None, q: Tensor = q, caches: list[Tensor] = caches,
                 batch: AttentionBatch = batch) -> Tensor:  # fmt: skip
            return attention.paged_attention(q, *caches[i].unbind(), batch, tile=tile)

        variants: dict[str, Callable[[int], object]] = {"default": call}
        if n == 1:
            tiles = tuple(
                attention.Tile(keys=keys, stages=stages, parts=parts, warps=warps)
                for keys, stages, parts, warps in (
                    (64, 3, 1, 4), (64, 3, 2, 4), (64, 3, 4, 4), (64, 3, 8, 4), (64, 3, 16, 4), (64, 3, 32, 4),
                    (64, 3, 64, 4), (64, 2, 2, 4), (64, 4, 4, 4), (32, 3, 32, 2), (32, 3, 64, 2), (128, 2, 16, 4),
                )
            )  # fmt: skip
        else:
            tiles = tuple(
                attention.Tile(rows=rows, keys=keys, warps=warps, stages=stages)
                for rows, keys, warps, stages in (
                    (64, 64, 4, 2), (64, 64, 4, 3), (64, 128, 4, 2), (64, 128, 4, 3), (128, 64, 8, 2), (128, 64, 8, 3),
                    (128, 128, 8, 2), (128, 64, 4, 2), (64, 32, 4, 4),
                )
            )  # fmt: skip
        variants |= {
            label(tile): lambda i, tile=tile, call=call: call(i, tile) for tile in tiles[: 2 if tiny else None]
        }
        if n == 1 or n == context:
            variants["SDPA over dense keys"] = library
        if n == context and s == 1:
            first_of = batch.block_tables[0].long()[:, None] * BLOCK
            rows_of = (first_of + torch.arange(BLOCK, device=bench.device)).flatten()[:n]

            def gathered(i: int, query: Tensor = query, caches: list[Tensor] = caches, at: Tensor = rows_of) -> Tensor:
                k, v = caches[i].flatten(1, 2).index_select(1, at).transpose(1, 2)[:, None].unbind()
                return F.scaled_dot_product_attention(query, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1)

            variants["gathered, SDPA"] = gathered
        if s * n * context < 1 << 20:
            variants["twin"] = lambda i, q=q, c=caches, b=batch: paged.paged_attention(q, *c[i].unbind(), b)
        wide = [cache.float() for cache in caches[0].unbind()]
        truth = paged.paged_attention(q.float(), *wide, batch)
        moved = 4.0 * s * context * m.kv_heads * m.head_dim
        operations = 4.0 * m.heads * m.head_dim * s * n * (context - (n - 1) / 2)
        head = ("decode" if n == 1 else "prefill", model, f"{s} x {n} of {context}")
        yield from bench.race(head, moved, operations, len(caches), lambda t=truth: t, variants)


def mixed(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    """Decoding sequences and a piece of a prompt in one step: apart by `num_decodes`, or all as pieces of prompts."""
    tiny = bench.device == "cpu"
    decodes, n, context = (2, 20, 70) if tiny else (8, 512, 1620)
    lengths = [context] * (decodes + 1)
    blocks = -(-context // BLOCK)
    table = (torch.randperm(len(lengths) * blocks) + 1).view(-1, blocks).to(bench.device, torch.int32)
    cu_q = torch.tensor([*range(decodes + 1), decodes + n], device=bench.device, dtype=torch.int32)
    slots = torch.zeros(decodes + n, device=bench.device, dtype=torch.int64)
    contexts = torch.tensor(lengths, device=bench.device, dtype=torch.int32)
    apart = AttentionBatch(slots, table, cu_q, contexts, n, context, decodes)
    together = replace(apart, num_decodes=0)
    caches = bench.draw(2, len(lengths) * blocks + 1, BLOCK, m.kv_heads, m.head_dim).unbind()
    q = bench.draw(decodes + n, m.heads, m.head_dim)
    truth = paged.paged_attention(q.float(), *(cache.float() for cache in caches), apart)
    moved = 4.0 * len(lengths) * context * m.kv_heads * m.head_dim
    operations = 4.0 * m.heads * m.head_dim * (decodes * context + n * (context - (n - 1) / 2))
    variants: dict[str, Callable[[int], object]] = {
        "default": lambda i: attention.paged_attention(q, *caches, apart),
        "all as prompts": lambda i: attention.paged_attention(q, *caches, together),
    }
    yield from bench.race(("mixed attention", model, f"{decodes} + {n}"), moved, operations, 1, lambda: truth, variants)


# --- rows -------------------------------------------------------------------------------------------------------------


def rows(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    eps = 1e-6
    for n in (3,) if bench.device == "cpu" else (1, 1536) if model == "2B" else (1536,):
        sets = bench.copies(4.0 * n * m.inner)
        x, r, qkv, gate_up = (
            [bench.draw(n, width) for _ in range(sets)] for width in (m.width, m.width, m.qkv, 2 * m.inner)
        )
        weight, qw, kw = bench.draw(m.width), bench.draw(m.head_dim), bench.draw(m.head_dim)
        cos, sin = bench.draw(n, m.head_dim), bench.draw(n, m.head_dim)
        k_cache, v_cache = bench.draw(2, n // BLOCK + 2, BLOCK, m.kv_heads, m.head_dim).unbind()
        slots = torch.arange(n, device=bench.device) + BLOCK
        pick = torch.arange(n, device=bench.device)
        table = (qw, kw, cos, sin, eps, k_cache, v_cache, slots)
        wide = (qw.float(), kw.float(), cos.float(), sin.float(), eps, k_cache.float(), v_cache.float(), slots)
        cases: dict[str, tuple[float, Tensor, dict[str, Callable[[int], object]]]] = {
            "rms_norm": (
                4.0 * n * m.width,
                reference.rms_norm(x[0].float(), weight.float(), eps),
                {
                    "twin": lambda i: reference.rms_norm(x[i], weight, eps),
                    "torch fused": lambda i: F.rms_norm(x[i], weight.shape, weight, eps),
                    "default": lambda i: pointwise.rms_norm(x[i], weight, eps),
                },
            ),
            "qk_norm_rope_store": (
                4.0 * n * m.qkv,
                fused.qk_norm_rope_store(qkv[0].float(), *wide),
                {
                    "twin": lambda i: fused.qk_norm_rope_store(qkv[i], *table),
                    "default": lambda i: pointwise.qk_norm_rope_store(qkv[i], *table),
                    **{
                        f"heads={h}": lambda i, h=h: pointwise.qk_norm_rope_store(qkv[i], *table, heads=h)
                        for h in (1, 4, 16)
                    },
                },
            ),
            "silu_mul": (
                6.0 * n * m.inner,
                reference.silu_mul(gate_up[0].float()),
                {
                    "twin": lambda i: reference.silu_mul(gate_up[i]),
                    "default": lambda i: pointwise.silu_mul(gate_up[i]),
                },
            ),
            "add_rows_": (
                6.0 * n * m.width,
                x[0].float() + r[0].float(),
                {
                    "twin": lambda i: fused.add_rows_(x[i].clone() if i == 0 else x[i], pick, r[i]),
                    "default": lambda i: pointwise.add_rows_(x[i].clone() if i == 0 else x[i], pick, r[i]),
                },
            ),
        }
        for name, (moved, truth, variants) in cases.items():
            yield from bench.race((name, model, f"{n} rows"), moved, 0.0, sets, lambda t=truth: t, variants)


# --- vision -----------------------------------------------------------------------------------------------------------


def library_segments(qkv: Tensor, heads: int, length: int, backend: SDPBackend) -> Tensor:
    """Segments of one length through one of torch's attention kernels."""
    width = qkv.shape[1] // 3 // heads
    q, k, v = qkv.view(-1, length, 3, heads, width).permute(2, 0, 3, 1, 4).unbind()
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, heads, width)


def towers(bench: Bench, model: str, _: Shape) -> Iterator[Row]:
    tiny = bench.device == "cpu"
    heads, width, inner = (2, 16, 64) if tiny else (16, 64, 4096) if model == "2B" else (16, 72, 4304)
    model = "head 64" if width == 64 else f"head {width}"
    for s, length in ((2, 64),) if tiny else ((1, 784), (8, 1024), (1, 8160), (1, 4096)):
        n = s * length
        sets = bench.copies(6.0 * n * heads * width)
        qkv = [bench.draw(n, 3 * heads * width) for _ in range(sets)]
        split = [x.view(n, 3, heads, width).unbind(1) for x in qkv]
        cu = torch.arange(0, n + 1, length, device=bench.device, dtype=torch.int32)
        backends = {} if tiny else {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
        variants: dict[str, Callable[[int], object]] = {
            "twin": lambda i, x=split, cu=cu, m=length: reference.segment_attention(*x[i], cu, m),
            "default": lambda i, x=split, cu=cu, m=length: vision.segment_attention(*x[i], cu, m),
            **{
                f"SDPA {name}": lambda i, x=qkv, m=length, b=b: library_segments(x[i], heads, m, b)
                for name, b in backends.items()
            },
        }
        for cut in ((128, 64, 8, 3), (128, 64, 4, 3), (128, 64, 4, 2), (64, 64, 4, 3)):
            tile = vision.Tile(*cut)
            variants[label(tile)] = lambda i, x=split, cu=cu, m=length, tile=tile: vision.segment_attention(
                *x[i], cu, m, tile=tile
            )
        truth = reference.segment_attention(*(x.float() for x in split[0]), cu, length)
        operations, moved = 4.0 * n * length * heads * width, 8.0 * n * heads * width
        yield from bench.race(
            ("segment_attention", model, f"{s} x {length}"), moved, operations, sets, lambda t=truth: t, variants
        )
    size = heads * width
    x, r, h = bench.draw(n, size), bench.draw(n, size), bench.draw(n, inner)
    weight, bias, table = bench.draw(size), bench.draw(size), bench.draw(2304, size)
    fc1, fc1_bias = bench.draw(inner, size, std=0.02), bench.draw(inner)
    index, share = torch.randint(0, 2304, (n, 4), device=bench.device), torch.rand(n, 4, device=bench.device)
    cos, sin = torch.randn(2, n, width, device=bench.device).unbind()
    side = 64 if tiny else 1024
    pixels = torch.randint(0, 256, (1, side, side, 3), device=bench.device, dtype=torch.uint8)
    layers = (x, r, weight, bias, 1e-6)
    cases: dict[str, tuple[float, float, Tensor, dict[str, Callable[[int], object]]]] = {
        "patch_rows": (
            9.0 * side * side, 0.0, reference.patch_rows(pixels, torch.float32),
            {
                "twin": lambda i: reference.patch_rows(pixels, bench.dtype),
                "default": lambda i: vision.patch_rows(pixels, bench.dtype),
            },
        ),
        "place_rows": (
            4.0 * n * size, 0.0, fused.place_rows(x.float(), table.float(), index, share),
            {
                "twin": lambda i: fused.place_rows(x, table, index, share),
                "default": lambda i: vision.place_rows(x, table, index, share),
            },
        ),
        "rope_2d": (
            8.0 * n * size, 0.0, reference.rope_2d(qkv[0].float(), cos, sin)[0],
            {
                "twin": lambda i: reference.rope_2d(qkv[0], cos, sin)[0],
                "default": lambda i: vision.rope_2d(qkv[0], cos, sin)[0],
            },
        ),
        "add_layer_norm": (
            8.0 * n * size, 0.0, fused.add_layer_norm(*(a.float() if isinstance(a, Tensor) else a for a in layers))[0],
            {
                "twin": lambda i: fused.add_layer_norm(*layers)[0],
                "default": lambda i: pointwise.add_layer_norm(*layers)[0],
            },
        ),
        "linear_gelu": (
            2.0 * n * (size + inner), 2.0 * n * size * inner,
            reference.gelu_tanh(F.linear(x.float(), fc1.float(), fc1_bias.float())),
            {
                "twin": lambda i: reference.gelu_tanh(F.linear(x, fc1, fc1_bias)),
                "product alone": lambda i: F.linear(x, fc1, fc1_bias),
                "gelu alone": lambda i: reference.gelu_tanh(h),
                "default": lambda i: products.linear_gelu(x, fc1, fc1_bias),
            },
        ),
    }  # fmt: skip
    for name, (moved, operations, truth, variants) in cases.items():
        yield from bench.race((name, model, f"{n} rows"), moved, operations, 1, lambda t=truth: t, variants)


# --- sampling and a whole step ----------------------------------------------------------------------------------------


def samplers(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    if model == "4B":  # the same vocabulary
        return
    for s in (2,) if bench.device == "cpu" else (1, 32):
        logits = bench.draw(s, m.vocabulary) * 3
        heat, top_p, min_p, uniform = (torch.full((s,), value, device=bench.device) for value in (0.7, 0.8, 0.0, 0.5))
        top_k = torch.full((s,), 20, device=bench.device, dtype=torch.int64)
        args = (logits, m.vocabulary, heat, top_k, top_p, min_p, uniform, 32)
        moved = 2.0 * s * m.vocabulary
        yield from bench.race(
            ("greedy", model, f"{s} rows"), moved, 0.0, 1, lambda: None,
            {
                "twin": lambda i: fused.greedy(logits, m.vocabulary),
                "default": lambda i: sampling.greedy(logits, m.vocabulary),
            },
        )  # fmt: skip
        yield from bench.race(
            ("draw", model, f"{s} rows"), moved, 0.0, 1, lambda: None,
            {"twin": lambda i: fused.draw(*args), "default": lambda i: sampling.draw(*args)},
        )  # fmt: skip


def steps(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    """A whole decode step of one sequence or more with 1,620 keys, from the first norm to the id."""
    eps, context = 1e-6, 70 if bench.device == "cpu" else 1620
    shapes = ((m.qkv, m.width), (m.width, m.heads * m.head_dim), (2 * m.inner, m.width), (m.width, m.inner))
    layers = [[bench.draw(*shape, std=0.02) for shape in shapes] for _ in range(m.layers)]
    head = bench.draw(m.vocabulary, m.width, std=0.02)
    norm, qw, kw = bench.draw(m.width), bench.draw(m.head_dim), bench.draw(m.head_dim)
    plain, fast = select("cuda", fused=False), select("cuda")
    for s in (1, 3) if bench.device == "cpu" else (1, 8, 32):
        batch, num_blocks = batch_of(bench, s, 1, context)
        batch.slots.copy_(batch.block_tables[:, -1].long() * BLOCK + (context - 1) % BLOCK)
        caches = [bench.draw(2, num_blocks, BLOCK, m.kv_heads, m.head_dim).unbind() for _ in range(m.layers)]
        x0, cos, sin = bench.draw(s, m.width), bench.draw(s, m.head_dim), bench.draw(s, m.head_dim)

        def step(_: int, ops: Ops, x: Tensor = x0, caches: list[tuple[Tensor, ...]] = caches,
                 batch: AttentionBatch = batch, cos: Tensor = cos, sin: Tensor = sin) -> Tensor:  # fmt: skip
            x = x.clone()
            for (qkv, o, gate_up, down), (k, v) in zip(layers, caches, strict=True):
                rows = ops.norm_linear(x, norm, eps, qkv)
                q = ops.qk_norm_rope_store(rows, qw, kw, cos, sin, eps, k, v, batch.slots)
                x = ops.linear_add(ops.paged_attention(q, k, v, batch).flatten(1), o, x)
                x = ops.linear_add(ops.norm_gate_up(x, norm, eps, gate_up), down, x)
            logits = ops.norm_linear(x, norm, eps, head)
            ops.greedy(logits, m.vocabulary)
            return logits

        weights = 2.0 * (sum(w.numel() for layer in layers for w in layer) + head.numel())
        moved = weights + 4.0 * s * context * m.kv_heads * m.head_dim * m.layers
        variants: dict[str, Callable[[int], object]] = {
            "plain": partial(step, ops=plain),
            "default": partial(step, ops=fast),
        }
        truth = step(0, plain)
        yield from bench.race(("step", model, f"{s} x {context}"), moved, weights * s, 1, lambda t=truth: t, variants)


def hosts(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    """What one launch of each op costs the host, in microseconds of the clock; the device has less to do than that."""
    if model not in ("2B", "tiny"):
        return
    ops, eps = select("cuda"), 1e-6
    x, r, norm = bench.draw(40, m.width), bench.draw(40, m.width), bench.draw(m.width)
    o, qkv_weight = (bench.draw(*shape, std=0.02) for shape in ((m.width, m.width), (m.qkv, m.width)))
    qkv, qw, kw = bench.draw(40, m.qkv), bench.draw(m.head_dim), bench.draw(m.head_dim)
    cos, sin = bench.draw(40, m.head_dim), bench.draw(40, m.head_dim)
    one, num_blocks = batch_of(bench, 1, 1, 100)
    many, _ = batch_of(bench, 1, 40, 100)
    caches = bench.draw(2, num_blocks, BLOCK, m.kv_heads, m.head_dim).unbind()
    q = bench.draw(40, m.heads, m.head_dim)
    tensors, block = (x, x, norm, norm, r, r), 1 << (m.width - 1).bit_length()
    numbers, constants = (m.width, eps), (m.width, block, False, False)
    plain = (*tensors, *numbers, *constants)
    picture = bench.draw(64, 3, 2, 16).unbind(1)
    bounds = {name: torch.tensor(at, device=bench.device, dtype=torch.int32)
              for name, at in (("equal", [0, 32, 64]), ("unequal", [0, 24, 64]))}  # fmt: skip
    calls: dict[str, Callable[[], object]] = {
        "launch, Triton's": lambda: pointwise._norm_row.jitted[(40, 1, 1)](*plain, num_warps=4),
        "launch, remembered": lambda: pointwise._norm_row((40, 1, 1), tensors, numbers, constants, warps=4),
        "torch.empty": lambda: torch.empty(40, 64, dtype=bench.dtype, device=bench.device),
        "add, torch": lambda: x + r,
        "rms_norm": lambda: ops.rms_norm(x, norm, eps),
        "norm_linear, 1 row": lambda: ops.norm_linear(x[:1], norm, eps, qkv_weight),
        "norm_linear": lambda: ops.norm_linear(x, norm, eps, qkv_weight),
        "linear_add": lambda: ops.linear_add(x, o, r),
        "qk_norm_rope_store": lambda: ops.qk_norm_rope_store(qkv, qw, kw, cos, sin, eps, *caches, many.slots),
        "paged_attention, decode": lambda: ops.paged_attention(q[:1], *caches, one),
        "paged_attention, prefill": lambda: ops.paged_attention(q, *caches, many),
        "segment_attention, equal": lambda: ops.segment_attention(*picture, bounds["equal"], 32),
        "segment_attention, unequal": lambda: ops.segment_attention(*picture, bounds["unequal"], 40),
    }
    for name, call in calls.items():
        call()
        if bench.warm:
            continue
        count = 1 if bench.device == "cpu" else 200
        times = []
        for _ in range(5):
            if bench.device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(count):
                call()
            times.append((time.perf_counter() - start) / count)
        yield Row("host", model, name, "default", 0.0, 0.0, 0.0, time_us=statistics.median(times) * 1e6)
    if not bench.warm:  # torch may plan anew for each size of picture
        for width in (64, 72):
            times = []
            for n in (112, 240, 496, 1008, 2032) if bench.device != "cpu" else (48,):
                qkv = bench.draw(n, 3, 16, width).unbind(1)
                cu = torch.tensor([0, n], device=bench.device, dtype=torch.int32)
                start = time.perf_counter()
                ops.segment_attention(*qkv, cu, n)
                times.append(time.perf_counter() - start)
            name = f"segment_attention {width}, new size"
            yield Row("host", model, name, "default", 0.0, 0.0, 0.0, time_us=statistics.median(times) * 1e6)


GROUPS = {
    "step": steps,
    **{name: partial(streams, name=name) for name in ("gate_up", "down", "qkv", "o", "head")},
    "many": many_rows,
    "attention": attentions,
    "mixed": mixed,
    "vision": towers,
    "rows": rows,
    "host": hosts,
    "sampling": samplers,
}


def table(rows: list[Row]) -> str:
    """For each case the best variant and what `select` chooses today; faults and errors above 1 % below."""
    cases: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        cases.setdefault((row.group, row.model, row.case), []).append(row)
    lines = [f"{'us':<31}{'floor':>6}{'today':>7}{'plain':>7}{'best':>7}"]
    for key, found in cases.items():
        timed = {row.variant: row.time_us for row in found if row.time_us is not None}
        rivals = {name: us for name, us in timed.items() if not name.endswith("alone")}
        if rivals:
            best = min(rivals, key=lambda name: rivals[name])
            now, plain = (f"{timed[name]:.1f}" if name in timed else "" for name in ("default", "twin"))
            plain = plain or (f"{timed['plain']:.1f}" if "plain" in timed else "")
            name = " ".join(key).replace(" rows", "").replace("stream ", "").replace("attention", "att")
            lines.append(f"{name:<31}{found[0].floor_us:>6.1f}{now:>7}{plain:>7}{rivals[best]:>7.1f} {best}")
    for row in rows:
        if row.fault or (row.error or 0) > 0.01:
            lines.append(f"! {row.group} {row.model} {row.case} {row.variant}: {row.error} {(row.fault or '')[:80]}")
    return "\n".join(lines)


def child(group: str, model: str, options: argparse.Namespace, path: Path) -> subprocess.Popen[str]:
    tiny = ["--tiny"] if options.tiny else []
    command = [sys.executable, __file__, "--group", group, "--model", model, "--json", str(path), *tiny]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=path.with_suffix(".err").open("w"), text=True)


def work(options: argparse.Namespace) -> None:
    """One group, as a process of its own: compile, say so, wait for the two ceilings, time."""
    device, dtype = ("cpu", torch.float16) if options.tiny else ("cuda", torch.bfloat16)
    shape = (TINY if options.tiny else MODELS)[options.model]
    with torch.inference_mode():
        if not options.tiny:
            torch.manual_seed(0)
            for _ in GROUPS[options.group](Bench(device, dtype, True, COPY, MATRIX), options.model, shape):
                pass
            torch.cuda.empty_cache()
        print("compiled", flush=True)
        copy, matrix = map(float, sys.stdin.readline().split())
        torch.manual_seed(0)
        found: list[Row] = []
        for row in GROUPS[options.group](Bench(device, dtype, False, copy, matrix), options.model, shape):
            found.append(row)
            options.json.write_text(json.dumps([asdict(row) for row in found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=Path("kernels.json"))
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--models", nargs="*", default=None)
    parser.add_argument("--seconds", type=float, default=200, help="no group begins to be timed after that")
    parser.add_argument("--tiny", action="store_true", help="rehearse on a CPU under the interpreter")
    parser.add_argument("--group", choices=list(GROUPS), help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.group:
        return work(options)
    began = time.monotonic()
    todo = [(group, model) for group in options.only for model in options.models or (TINY if options.tiny else MODELS)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, str(i)) for i in range(len(todo))]
        children = [child(*job, options, path) for job, path in zip(todo, paths, strict=True)]
        for process in children:
            assert process.stdout
            process.stdout.readline()
        copy, matrix = ceilings("cpu" if options.tiny else "cuda")
        print(f"copy {copy / 1e12:.2f} TB/s, bf16 product {matrix / 1e12:.0f} TFLOP/s", flush=True)
        print(f"compiled after {time.monotonic() - began:.0f} s", flush=True)
        for job, path, process in zip(todo, paths, children, strict=True):
            if time.monotonic() - began > options.seconds:
                process.kill()
                print(f"{job} was left out: no time", flush=True)
                continue
            process.communicate(f"{copy} {matrix}\n")
            if path.exists():
                rows += [Row(**row) for row in json.loads(path.read_text())]
            if process.returncode:
                print(
                    f"{job} ended with {process.returncode}: {path.with_suffix('.err').read_text()[-500:]}", flush=True
                )
    name = "cpu" if options.tiny else torch.cuda.get_device_name()
    facts = {"device": name, "torch": torch.__version__, "copy": copy, "matrix": matrix}
    options.json.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=1))
    print(table(rows))
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
