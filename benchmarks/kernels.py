"""Checks and times every Triton kernel against plain torch at the shapes of the 2B and 4B models, on one CUDA device.

    PYTHONPATH=src python benchmarks/kernels.py --json kernels.json

Every kernel is compared with its twin computed in fp32, then timed as replays of a graph of many calls over inputs that
together exceed the L2 cache. Floor: bytes over the measured copy rate or operations over the measured rate of a matrix
product, whichever is longer. Each group runs in a process of its own, so that one fault leaves the others; before the
timing all groups compile at once. `--tiny` rehearses on a CPU under the interpreter (TRITON_INTERPRET=1).
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
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from saccade.kernels import AttentionBatch, fused, paged, reference

if __name__ == "__main__" and "--tiny" in sys.argv:
    from triton.runtime import interpreter

    _patch = interpreter._patch_lang_tensor

    def _patch_for_numpy(tensor: object, scope: object) -> None:
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda scalar: scalar.handle.data.item())

    interpreter._patch_lang_tensor = _patch_for_numpy

from saccade.kernels.gpu import attention, pointwise, sampling, stream, vision


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

    @property
    def hopper(self) -> bool:
        return self.device != "cpu" and torch.cuda.get_device_capability()[0] >= 9

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
    stream.Tile(8, 512, 4, 1, unroll=4),
    stream.Tile(4, 512, 4, 1, unroll=4),
    stream.Tile(4, 1024, 4, 1, unroll=2),
    stream.Tile(16, 256, 4, 1, unroll=4),
    stream.Tile(8, 512, 4, 1, unroll=2),
    stream.Tile(8, 512, 8, 1, unroll=4),
    stream.Tile(2, 1024, 4, 1, unroll=2),
    stream.Tile(8, 512, 4, 3),
    stream.Tile(4, 1024, 4, 3),
    stream.Tile(16, 256, 4, 5),
    stream.Tile(8, 512, 4, 1, splits=2, unroll=2),
    stream.Tile(8, 512, 4, 1, unroll=4, early=True),
    stream.Tile(4, 512, 4, 1, unroll=4, early=True),
)
FEW_ROWS = (
    stream.Tile(16, 256, 2, 4),
    stream.Tile(16, 256, 4, 4),
    stream.Tile(16, 256, 2, 4, splits=2),
    stream.Tile(16, 256, 4, 4, splits=4),
    stream.Tile(16, 128, 1, 6),
    stream.Tile(16, 512, 4, 3),
    stream.Tile(32, 256, 4, 4),
    stream.Tile(64, 128, 4, 5),
    stream.Tile(64, 128, 4, 5, splits=2),
    stream.Tile(16, 256, 4, 4, early=True),
)


def label(tile: object) -> str:
    """The fields of a tile that are set, short."""
    return " ".join(f"{name}={value}" for name, value in asdict(tile).items() if value not in (False, 0))  # type: ignore[call-overload]


def products(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    kinds = {
        "qkv": (m.qkv, m.width, "norm"),
        "o": (m.width, m.heads * m.head_dim, "add"),
        "gate_up": (2 * m.inner, m.width, "gate"),
        "down": (m.width, m.inner, "add"),
        "head": (m.vocabulary, m.width, "norm"),
    }
    for name, (outputs, inner, kind) in kinds.items():
        moved = 2.0 * outputs * inner
        sets = bench.copies(moved)
        weights = [bench.draw(outputs, inner, std=0.02) for _ in range(sets)]
        norm = bench.draw(inner)
        for n in (1, 4, 8):
            x = bench.draw(n, inner)
            r = bench.draw(n, outputs)
            twin: Callable[..., Tensor]
            fast: Callable[..., Tensor]
            if kind == "add":
                twin, fast, wide = fused.linear_add, stream.linear_add, lambda w, x=x, r=r: (x, w, r)
            else:
                twin = fused.norm_gate_up if kind == "gate" else fused.norm_linear
                fast = stream.norm_gate_up if kind == "gate" else stream.norm_linear
                wide = lambda w, x=x: (x, norm, 1e-6, w)  # noqa: E731
            variants: dict[str, Callable[[int], object]] = {
                "cuBLAS, product alone": lambda i, x=x: F.linear(x, weights[i]),
                "twin": lambda i, twin=twin, wide=wide: twin(*wide(weights[i])),
                "default": lambda i, fast=fast, wide=wide: fast(*wide(weights[i])),
            }
            for tile in ONE_ROW if n == 1 else FEW_ROWS:
                if tile.early and not bench.hopper:
                    continue
                variants[label(tile)] = lambda i, fast=fast, wide=wide, tile=tile: fast(*wide(weights[i]), tile=tile)
            args = [a.float() if isinstance(a, Tensor) else a for a in wide(weights[0])]
            truth = twin(*args)
            rows = bench.race(
                (f"stream {name}", model, f"{n} rows"), moved, moved * n, sets, lambda t=truth: t, variants
            )
            for row in rows:
                if row.variant.startswith("cuBLAS"):
                    row.error = None
                yield row


# --- attention --------------------------------------------------------------------------------------------------------


def batch_of(bench: Bench, sequences: int, q: int, context: int) -> tuple[AttentionBatch, int]:
    """`sequences` of one length in blocks of 16 handed out at random, and the number of blocks."""
    blocks = -(-context // 16)
    table = (torch.randperm(sequences * blocks) + 1).view(sequences, blocks).to(bench.device, torch.int32)
    cu_q = torch.arange(0, (sequences + 1) * q, q, device=bench.device, dtype=torch.int32)
    lengths = torch.full((sequences,), context, device=bench.device, dtype=torch.int32)
    slots = torch.zeros(sequences * q, device=bench.device, dtype=torch.int64)
    return AttentionBatch(slots, table, cu_q, lengths, q, context, sequences if q == 1 else 0), sequences * blocks + 1


def attentions(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    tiny = bench.device == "cpu"
    decode = ((1, 1, 512), (1, 1, 1620), (8, 1, 1620), (32, 1, 1620), (1, 1, 8192), (32, 1, 8192))
    prefill = ((1, 1536, 1536), (1, 512, 1536), (1, 256, 8192))
    tiles: tuple[attention.Tile, ...]
    for s, n, context in ((2, 1, 70), (1, 40, 40)) if tiny else (*decode, *prefill):
        batch, num_blocks = batch_of(bench, s, n, context)
        caches = [
            bench.draw(2, num_blocks, 16, m.kv_heads, m.head_dim)
            for _ in range(bench.copies(4.0 * num_blocks * 16 * m.kv_heads * m.head_dim))
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
                attention.Tile(keys=keys, stages=stages, parts=parts, warps=warps, joined=joined)
                for keys, stages, parts, warps, joined in (
                    (64, 3, 8, 4, True), (64, 3, 16, 4, True), (64, 3, 16, 4, False), (32, 4, 16, 4, True),
                    (32, 4, 32, 2, True), (64, 2, 32, 4, True), (128, 2, 8, 4, True), (64, 3, 1, 4, True),
                )
            )  # fmt: skip
        else:
            tiles = tuple(
                attention.Tile(rows=rows, keys=keys, warps=warps, stages=stages)
                for rows, keys, warps, stages in (
                    (128, 64, 8, 2), (128, 64, 8, 4), (64, 64, 4, 3), (128, 128, 8, 2), (128, 32, 4, 4), (64, 32, 4, 3),
                )
            )  # fmt: skip
        variants |= {
            label(tile): lambda i, tile=tile, call=call: call(i, tile) for tile in tiles[: 2 if tiny else None]
        }
        if n == 1 or n == context:
            variants["SDPA over dense keys"] = library
        if s * n * context < 1 << 20:
            variants["twin"] = lambda i, q=q, c=caches, b=batch: paged.paged_attention(q, *c[i].unbind(), b)
        wide = [cache.float() for cache in caches[0].unbind()]
        truth = paged.paged_attention(q.float(), *wide, batch)
        moved = 4.0 * s * context * m.kv_heads * m.head_dim
        operations = 4.0 * m.heads * m.head_dim * s * n * (context - (n - 1) / 2)
        head = ("decode" if n == 1 else "prefill", model, f"{s} x {n} of {context}")
        yield from bench.race(head, moved, operations, len(caches), lambda t=truth: t, variants)


# --- rows -------------------------------------------------------------------------------------------------------------


def rows(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    eps = 1e-6
    for n in (3,) if bench.device == "cpu" else (1, 8, 1536):
        sets = bench.copies(4.0 * n * m.inner)
        x, r, qkv, gate_up = (
            [bench.draw(n, width) for _ in range(sets)] for width in (m.width, m.width, m.qkv, 2 * m.inner)
        )
        weight, qw, kw = bench.draw(m.width), bench.draw(m.head_dim), bench.draw(m.head_dim)
        cos, sin = bench.draw(n, m.head_dim), bench.draw(n, m.head_dim)
        k_cache, v_cache = bench.draw(2, n // 16 + 2, 16, m.kv_heads, m.head_dim).unbind()
        slots = torch.arange(n, device=bench.device) + 16
        pick = torch.arange(n, device=bench.device)
        table = (qw, kw, cos, sin, eps, k_cache, v_cache, slots)
        wide = (qw.float(), kw.float(), cos.float(), sin.float(), eps, k_cache.float(), v_cache.float(), slots)
        cases: dict[str, tuple[float, Tensor, dict[str, Callable[[int], object]]]] = {
            "add_rms_norm": (
                8.0 * n * m.width,
                fused.add_rms_norm(x[0].float(), r[0].float(), weight.float(), eps)[0],
                {
                    "twin": lambda i: fused.add_rms_norm(x[i], r[i], weight, eps)[0],
                    "triton": lambda i: pointwise.add_rms_norm(x[i], r[i], weight, eps)[0],
                },
            ),
            "rms_norm": (
                4.0 * n * m.width,
                reference.rms_norm(x[0].float(), weight.float(), eps),
                {
                    "twin": lambda i: reference.rms_norm(x[i], weight, eps),
                    "torch fused": lambda i: F.rms_norm(x[i], weight.shape, weight, eps),
                    "triton": lambda i: pointwise.rms_norm(x[i], weight, eps),
                },
            ),
            "qk_norm_rope_store": (
                4.0 * n * m.qkv,
                fused.qk_norm_rope_store(qkv[0].float(), *wide),
                {
                    "twin": lambda i: fused.qk_norm_rope_store(qkv[i], *table),
                    **{
                        f"triton heads={h}": lambda i, h=h: pointwise.qk_norm_rope_store(qkv[i], *table, heads=h)
                        for h in (1, 4, 8, 16)
                    },
                },
            ),
            "silu_mul": (
                6.0 * n * m.inner,
                reference.silu_mul(gate_up[0].float()),
                {
                    "twin": lambda i: reference.silu_mul(gate_up[i]),
                    "triton": lambda i: pointwise.silu_mul(gate_up[i]),
                },
            ),
            "add_rows_": (
                6.0 * n * m.width,
                x[0].float() + r[0].float(),
                {
                    "twin": lambda i: fused.add_rows_(x[i].clone() if i == 0 else x[i], pick, r[i]),
                    "triton": lambda i: pointwise.add_rows_(x[i].clone() if i == 0 else x[i], pick, r[i]),
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
    for s, length in ((2, 64),) if tiny else ((1, 4096), (1, 8160), (8, 1024)):
        n = s * length
        sets = bench.copies(6.0 * n * heads * width)
        qkv = [bench.draw(n, 3 * heads * width) for _ in range(sets)]
        split = [x.view(n, 3, heads, width).unbind(1) for x in qkv]
        cu = torch.arange(0, n + 1, length, device=bench.device, dtype=torch.int32)
        backends = {} if tiny else {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
        variants: dict[str, Callable[[int], object]] = {
            "twin": lambda i, x=split, cu=cu, m=length: reference.segment_attention(*x[i], cu, m),
            **{
                f"SDPA {name}": lambda i, x=qkv, m=length, b=b: library_segments(x[i], heads, m, b)
                for name, b in backends.items()
            },
        }
        for cut in (
            (128, 64, 8, 3),
            (128, 64, 4, 3),
            (128, 128, 8, 2),
            (64, 64, 4, 3),
            (128, 64, 8, 2),
            (64, 128, 4, 2),
        ):
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
    q, k, _v = split[0]
    layers = (x, r, weight, bias, 1e-6)
    cases: dict[str, tuple[float, float, Tensor, dict[str, Callable[[int], object]]]] = {
        "patch_rows": (
            9.0 * side * side, 0.0, reference.patch_rows(pixels, torch.float32),
            {
                "twin": lambda i: reference.patch_rows(pixels, bench.dtype),
                "triton": lambda i: vision.patch_rows(pixels, bench.dtype),
            },
        ),
        "place_rows": (
            4.0 * n * size, 0.0, fused.place_rows(x.float(), table.float(), index, share),
            {
                "twin": lambda i: fused.place_rows(x, table, index, share),
                "triton": lambda i: vision.place_rows(x, table, index, share),
            },
        ),
        "rope_2d": (
            8.0 * n * size, 0.0, reference.rope_2d(q.float(), k.float(), cos, sin)[0],
            {
                "twin": lambda i: reference.rope_2d(q, k, cos, sin)[0],
                "triton": lambda i: vision.rope_2d(q, k, cos, sin)[0],
            },
        ),
        "add_layer_norm": (
            8.0 * n * size, 0.0, fused.add_layer_norm(*(a.float() if isinstance(a, Tensor) else a for a in layers))[0],
            {
                "twin": lambda i: fused.add_layer_norm(*layers)[0],
                "triton": lambda i: pointwise.add_layer_norm(*layers)[0],
            },
        ),
        "fc1 + gelu": (
            2.0 * n * (size + inner), 2.0 * n * size * inner,
            reference.gelu_tanh(F.linear(x.float(), fc1.float(), fc1_bias.float())),
            {
                "twin": lambda i: reference.gelu_tanh(F.linear(x, fc1, fc1_bias)),
                "product alone": lambda i: F.linear(x, fc1, fc1_bias),
                "gelu alone": lambda i: reference.gelu_tanh(h),
                "built into the product": lambda i: torch._addmm_activation(fc1_bias, x, fc1.t(), use_gelu=True),
            },
        ),
    }  # fmt: skip
    for name, (moved, operations, truth, variants) in cases.items():
        yield from bench.race((name, model, f"{n} rows"), moved, operations, 1, lambda t=truth: t, variants)


# --- sampling and a whole step ----------------------------------------------------------------------------------------


def samplers(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    for s in (2,) if bench.device == "cpu" else (1, 8, 32, 128):
        logits = bench.draw(s, m.vocabulary) * 3
        heat, top_p, uniform = (torch.full((s,), value, device=bench.device) for value in (0.7, 0.8, 0.5))
        top_k = torch.full((s,), 20, device=bench.device, dtype=torch.int64)
        args = (logits, heat, top_k, top_p, uniform)
        moved = 2.0 * s * m.vocabulary
        yield from bench.race(
            ("greedy", model, f"{s} rows"), moved, 0.0, 1, lambda: None,
            {"twin": lambda i: fused.greedy(logits), "triton": lambda i: sampling.greedy(logits)},
        )  # fmt: skip
        truth = fused.draw(*args, 32)
        yield from bench.race(
            ("draw", model, f"{s} rows"), moved, 0.0, 1, lambda t=truth: t,
            {"twin": lambda i: fused.draw(*args, 32), "triton": lambda i: sampling.draw(*args, 32)},
        )  # fmt: skip


def steps(bench: Bench, model: str, m: Shape) -> Iterator[Row]:
    """A whole decode step of one sequence or more with 1,620 keys, from the first norm to the id."""
    eps, context = 1e-6, 70 if bench.device == "cpu" else 1620
    shapes = ((m.qkv, m.width), (m.width, m.heads * m.head_dim), (2 * m.inner, m.width), (m.width, m.inner))
    layers = [[bench.draw(*shape, std=0.02) for shape in shapes] for _ in range(m.layers)]
    head = bench.draw(m.vocabulary, m.width, std=0.02)
    norm, qw, kw = bench.draw(m.width), bench.draw(m.head_dim), bench.draw(m.head_dim)
    for s in (1, 8):
        batch, num_blocks = batch_of(bench, s, 1, context)
        batch.slots.copy_(batch.block_tables[:, -1].long() * 16 + (context - 1) % 16)
        caches = [bench.draw(2, num_blocks, 16, m.kv_heads, m.head_dim).unbind() for _ in range(m.layers)]
        x0, cos, sin = bench.draw(s, m.width), bench.draw(s, m.head_dim), bench.draw(s, m.head_dim)

        def plain(_: int, x: Tensor = x0, caches: list[tuple[Tensor, ...]] = caches, batch: AttentionBatch = batch,
                  cos: Tensor = cos, sin: Tensor = sin) -> Tensor:  # fmt: skip
            for (qkv, o, gate_up, down), (k, v) in zip(layers, caches, strict=True):
                rows = fused.norm_linear(x, norm, eps, qkv)
                q = fused.qk_norm_rope_store(rows, qw, kw, cos, sin, eps, k, v, batch.slots)
                x = fused.linear_add(paged.paged_attention(q, k, v, batch).flatten(1), o, x)
                x = fused.linear_add(fused.norm_gate_up(x, norm, eps, gate_up), down, x)
            logits = fused.norm_linear(x, norm, eps, head)
            fused.greedy(logits)
            return logits

        def fast(_: int, early: bool = False, x: Tensor = x0, caches: list[tuple[Tensor, ...]] = caches,
                 batch: AttentionBatch = batch, cos: Tensor = cos, sin: Tensor = sin) -> Tensor:  # fmt: skip
            def cut(outputs: int, inner: int, gate: bool = False) -> stream.Tile:
                tile = stream.default_tile(len(batch.context_lens), outputs, inner, gate=gate)
                return stream.Tile(**{**asdict(tile), "early": early})

            decode = attention.Tile(early=early)
            for (qkv, o, gate_up, down), (k, v) in zip(layers, caches, strict=True):
                rows = stream.norm_linear(x, norm, eps, qkv, tile=cut(*qkv.shape))
                q = pointwise.qk_norm_rope_store(rows, qw, kw, cos, sin, eps, k, v, batch.slots, early=early)
                seen = attention.paged_attention(q, k, v, batch, tile=decode).flatten(1)
                x = stream.linear_add(seen, o, x, tile=cut(*o.shape))
                inner = stream.norm_gate_up(x, norm, eps, gate_up, tile=cut(m.inner, m.width, True))
                x = stream.linear_add(inner, down, x, tile=cut(*down.shape))
            logits = stream.norm_linear(x, norm, eps, head, tile=cut(*head.shape))
            sampling.greedy(logits)
            return logits

        weights = 2.0 * (sum(w.numel() for layer in layers for w in layer) + head.numel())
        moved = weights + 4.0 * s * context * m.kv_heads * m.head_dim * m.layers
        variants: dict[str, Callable[[int], object]] = {"twins": plain, "triton": fast}
        if bench.hopper:
            variants["triton, early launch"] = lambda i, fast=fast: fast(i, True)
        truth = plain(0)
        yield from bench.race(("step", model, f"{s} x {context}"), moved, weights * s, 1, lambda t=truth: t, variants)


GROUPS = {
    "step": steps,
    "products": products,
    "attention": attentions,
    "rows": rows,
    "vision": towers,
    "sampling": samplers,
}


def table(rows: list[Row]) -> str:
    """The rows as text, the best variant of each case marked."""
    best: dict[tuple[str, str, str], float] = {}
    for row in rows:
        key = (row.group, row.model, row.case)
        if row.time_us is not None:
            best[key] = min(best.get(key, float("inf")), row.time_us)
    lines = [f"{'kernel':<20}{'model':<8}{'case':<16}{'us':>9}{'floor':>8}{'share':>7}{'TB/s':>7}{'error':>9}  variant"]
    for row in rows:
        start = f"{row.group:<20}{row.model:<8}{row.case:<16}"
        error = "-" if row.error is None else f"{row.error:.1e}"
        if row.time_us is None:
            lines.append(f"{start}{'-':>9}{row.floor_us:>8.1f}{'':>14}{error:>9}  {row.variant} {row.fault or ''}")
            continue
        mark = "*" if row.time_us == best[row.group, row.model, row.case] else " "
        rate = row.bytes / row.time_us / 1e6
        share = row.floor_us / row.time_us
        lines.append(
            f"{start}{row.time_us:>9.2f}{row.floor_us:>8.1f}{share:>7.0%}{rate:>7.2f}{error:>9} {mark}{row.variant}"
        )
    return "\n".join(lines)


def child(group: str, model: str, options: argparse.Namespace, *more: str) -> subprocess.Popen[str]:
    tiny = ["--tiny"] if options.tiny else []
    command = [sys.executable, __file__, "--group", group, "--model", model, *tiny, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=Path("kernels.json"))
    parser.add_argument("--only", nargs="*", choices=sorted(GROUPS), default=list(GROUPS))
    parser.add_argument("--models", nargs="*", default=None)
    parser.add_argument("--tiny", action="store_true", help="rehearse on a CPU under the interpreter")
    parser.add_argument("--group", choices=sorted(GROUPS), help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--warm", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ceilings", type=float, nargs=2, default=(COPY, MATRIX), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device, dtype = ("cpu", torch.float16) if options.tiny else ("cuda", torch.bfloat16)
    models = TINY if options.tiny else MODELS
    if options.group:
        torch.manual_seed(0)
        bench = Bench(device, dtype, options.warm, *options.ceilings)
        found: list[Row] = []
        with torch.inference_mode():
            for row in GROUPS[options.group](bench, options.model, models[options.model]):
                found.append(row)
                options.json.write_text(json.dumps([asdict(row) for row in found]))
        return
    copy, matrix = ceilings(device)
    print(f"copy {copy / 1e12:.2f} TB/s, bf16 product {matrix / 1e12:.0f} TFLOP/s", flush=True)
    todo = [(group, model) for group in options.only for model in options.models or models]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        if not options.tiny:
            compiling = [child(*job, options, "--warm", "--json", f"{folder}/{i}-warm") for i, job in enumerate(todo)]
            for process in compiling:
                process.communicate()
        for i, job in enumerate(todo):
            path = Path(folder, str(i))
            process = child(*job, options, "--json", str(path), "--ceilings", str(copy), str(matrix))
            _, said = process.communicate()
            if path.exists():
                rows += [Row(**row) for row in json.loads(path.read_text())]
            if process.returncode:
                print(f"{job} ended with {process.returncode}: {said[-500:]}", flush=True)
    name = "cpu" if options.tiny else torch.cuda.get_device_name()
    facts = {"device": name, "torch": torch.__version__, "copy": copy, "matrix": matrix}
    options.json.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
