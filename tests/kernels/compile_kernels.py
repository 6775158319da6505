"""Compiles every Triton kernel at the shapes of the 2B and 4B models for Hopper, Ada and Ampere; needs no device.

Run as a script: a process that has chosen the interpreter cannot compile. Prints one line for each kernel and fails
where one does not compile or needs more shared memory than the chip has.
"""

from __future__ import annotations

from typing import Any

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from saccade.kernels.gpu import attention, decode, few, pointwise, products, sampling, stream, vision

CHIPS = {90: 232_448, 89: 101_376, 86: 101_376}
"""Compute capability and bytes of shared memory a program may have."""
HALF = 115_712
"""Of a Hopper, what each of two programs may have on one multiprocessor: 228 KiB less 1 KiB for each, halved."""
INTEGERS = {"tables", "lengths", "cu_q", "cu_seqlens", "tickets", "counter", "at", "uses"}
LONGS = {"slots", "index", "keys"}
FLOATS = {"partial", "marks", "high", "temperature", "top_k", "top_p", "min_p", "uniform", "peaks"}
FLOATS |= {"repetition", "frequency", "presence"}
SCALARS = dict.fromkeys(("scale", "eps"), "fp32") | dict.fromkeys(
    ("rows", "decodes", "sequences", "height", "width"), "i32"
)


def kind(kernel: str, name: str) -> str:
    """The type of an argument, by its name."""
    if name.endswith("stride"):
        return "i32"
    if name == "rows" and kernel == "_add_rows":
        return "*i64"
    if name == "out" and kernel in ("_greedy", "_draw"):
        return "*i64"
    if name in ("bias", "out") and kernel == "_penalize":
        return "*fp32"
    if name in ("cos", "sin", "weight") and kernel in ("_rotate", "_place"):
        return "*fp32"
    if name == "pixels":
        return "*u8"
    if name in SCALARS:
        return SCALARS[name]
    return "*i32" if name in INTEGERS else "*i64" if name in LONGS else "*fp32" if name in FLOATS else "*bf16"


def build(
    launched: Any, chip: int, warps: int, stages: int, described: tuple[str, ...] = (), **constants: object
) -> None:
    """`described`: parameters that are descriptors, and their tiles."""
    fn = launched.jitted
    kernel = fn.__name__
    types = {name: "constexpr" if name in constants else kind(kernel, name) for name in fn.arg_names}
    types |= {name: f"tensordesc<bf16[{tall}, {wide}]>" for name, (tall, wide) in (described or {}).items()}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(fn.arg_names)
        if types[name].startswith("*") or name.endswith("stride")
    }
    options = {"num_warps": warps, "num_stages": stages}
    built = compile(ASTSource(fn, types, constants, aligned), target=GPUTarget("cuda", chip, 32), options=options)
    shared = built.metadata.shared
    print(f"{kernel} for {chip}: {shared} bytes of shared memory, {constants}")
    assert shared <= (HALF if described else CHIPS[chip]), f"{kernel} needs {shared} bytes of shared memory"


def build_few(chip: int) -> None:
    for rows in (16, 32):
        for outputs, inner, gate in ((2048, 6144, False), (9728, 2560, True), (2560, 9728, False)):
            cut = few.default_tile(rows, outputs, gate=gate)
            tiles = {"x": (rows, cut.inner), "weight": (cut.outputs, cut.inner)}
            shape = {"K": inner, "OUT": outputs, "N": rows, "OUTPUTS": cut.outputs, "INNER": cut.inner}
            how = {"SPLITS": cut.splits, "STAGES": cut.stages, "ADD": not gate, "GATE": gate}
            build(few._few, chip, cut.warps, cut.stages, tiles, **shape, **how)


def build_all(chip: int) -> None:
    has_descriptors = chip == 90
    paged = {"D": 128, "BLOCK_SIZE": 64}
    for group, heads in ((2, 16), (4, 32)):
        for tile, parts in ((attention.DECODE, 1), (attention.DECODE, 16), (attention.SINGLE, 1), (attention.MIXED, 2)):
            cut = {"GROUP": group, "HEADS": heads, "PARTS": parts, "ROWS": 16, "KEYS": tile.keys}
            build(attention._decode, chip, tile.warps, 3, **paged, **cut, STAGES=tile.stages)
            build(decode._decode_rows, chip, tile.warps, 3, **paged, **cut, STAGES=tile.stages)
        for tile in (attention.PREFILL, attention.HOPPER)[: 1 + has_descriptors]:
            cut = {"GROUP": group, "HEADS": heads, "ROWS": tile.rows, "KEYS": tile.keys, "STAGES": tile.stages}
            caches = dict.fromkeys(("k_cache", "v_cache"), (tile.keys, 128)) if tile.described else None
            more = {"WIDE": attention.WIDE, "DESCRIBED": tile.described}
            build(attention._prefill, chip, tile.warps, 3, caches, **paged, **cut, **more)
        for each, warps in ((1, 1), (16, 4)):
            build(pointwise._norm_rope_store, chip, warps, 3, HQ=heads, HK=8, D=128, HEADS=each)
    for width in (2048, 2560):
        for centre in (False, True):
            build(pointwise._norm_row, chip, 4, 3, E=width, BLOCK=4096, ADD=True, CENTRE=centre)
        build(pointwise._add_rows, chip, 4, 3, E=width, BLOCK=1024)
        build(pointwise._silu_mul, chip, 4, 3, F=3 * width, BLOCK=1024)
    for rows in (1, 16):
        for outputs, inner, norm, add, gate in (
            (4096, 2048, True, False, False),
            (2048, 6144, False, True, False),
            (9728, 2560, True, False, True),
            (2560, 9728, False, True, False),
            (151936, 2048, True, False, False),
        ):
            if rows > 1 and norm and outputs < products.HEAD:
                continue
            cut = stream.default_tile(rows, outputs, inner, norm=norm)
            shape = {"K": inner, "OUT": outputs, "N": rows, "OUTPUTS": cut.outputs, "INNER": cut.inner}
            how = {"SPLITS": cut.splits, "STAGES": cut.stages}
            flags = {"NORM": norm, "ADD": add, "GATE": gate}
            build(stream._stream, chip, cut.warps, cut.stages, **shape, **how, **flags)
    if has_descriptors:
        build_few(chip)
    for width, rest in ((64, 0), (72, 16)):
        heads = {"HEADS": 16, "D": width, "WIDE": 64, "REST": rest}
        for picture in (vision.RAGGED if rest else vision.TILE, vision.HOPPER)[: 1 + (has_descriptors and not rest)]:
            cut = {"ROWS": picture.rows, "KEYS": picture.keys, "STAGES": picture.stages}
            seen = dict.fromkeys("kv", (picture.keys, width)) if picture.described else None
            build(
                vision._segment, chip, picture.warps, picture.stages, seen, **heads, **cut, DESCRIBED=picture.described
            )
        build(vision._rotate, chip, 4, 3, H=32, D=width, HEADS=32, BLOCK=32 if width == 64 else 64)
    for depth in (1, 2):
        size = 768 * depth
        build(vision._patches, chip, 4, 3, DEPTH=depth, SIZE=size, BLOCK=1024 * depth)
    build(vision._place, chip, 4, 3, E=1024, BLOCK=1024)
    vocabulary = {"NUM": 151936, "BLOCK": sampling.PART}
    parts = {"PARTS": 75, "WIDE": 128}
    build(sampling._greedy, chip, 4, 3, **vocabulary, **parts)
    build(sampling._draw, chip, 4, 3, **vocabulary, **parts, MOST=64)
    build(sampling._penalize, chip, 4, 3, **vocabulary)


if __name__ == "__main__":
    for chip in CHIPS:
        build_all(chip)
