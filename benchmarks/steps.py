"""Times the engine alone, in process, on one device: streams, first tokens and pictures, and what the time goes to.

    PYTHONPATH=src python benchmarks/steps.py --model-dir DIR --json steps.json

DIR needs config.json only; weights are random, which speed does not depend on. Latencies are medians.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saccade.engine.core import Engine
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.kernels import explain
from saccade.model.weights import load
from saccade.text.positions import lay_out
from saccade.types import MediaSpan, Picture, Prompt, SamplingParams

NUMBERS = itertools.count()


def picture(height: int, width: int) -> Picture:
    number = next(NUMBERS)
    pixels = np.random.default_rng(number).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    return Picture("image", pixels, (1, height // 16, width // 16), (), (height, width), f"picture {number}")


VOCABULARY = 151_000


def ask(num_text: int, shown: Picture | None = None, max_tokens: int = 2) -> EngineRequest:
    number = next(NUMBERS)
    rng = np.random.default_rng(number)
    ids, spans = [], []
    if shown:
        spans.append(MediaSpan(4, shown.num_tokens, 0, 0))
        ids = [1, 2, 3, 4] + [0] * shown.num_tokens
    ids += rng.integers(0, VOCABULARY, num_text).tolist()
    positions, delta = lay_out(len(ids), spans, [shown.grid] if shown else [])
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
    return EngineRequest(
        str(number), Prompt(tuple(ids), tuple(spans), positions, delta), (shown,) * bool(shown), sampling
    )


def first_token(engine: Engine, request: EngineRequest) -> float:
    """Milliseconds from submit to the first token; the request is run to its end."""
    began = time.perf_counter()
    engine.submit(request)
    first = None
    while engine.has_work:
        if engine.step() and first is None:
            first = (time.perf_counter() - began) * 1e3
    assert first is not None
    return first


def streams(engine: Engine, count: int, tokens: int = 200) -> dict[str, float]:
    """Tokens a second of `count` streams together, and milliseconds a step."""
    for _ in range(count):
        engine.submit(ask(64, max_tokens=tokens))
    done, times = 0, []
    began = time.perf_counter()
    while engine.has_work:
        out = engine.step()
        if len(out) == count:
            times.append(time.perf_counter())
        done += len(out)
    steps = [(b - a) * 1e3 for a, b in itertools.pairwise(times)]
    return {
        "tok_s": round(count / statistics.median(steps) * 1e3, 1),
        "step_ms": round(statistics.median(steps), 3),
        "whole_tok_s": round(done / (time.perf_counter() - began), 1),
    }


def profile(engine: Engine, requests: list[EngineRequest], rows: int) -> str:
    """Time on the device by kernel."""
    with torch.profiler.profile() as profiler:
        for request in requests:
            engine.submit(request)
        while engine.has_work:
            engine.step()
        torch.cuda.synchronize()
    found = [e for e in profiler.key_averages() if e.self_device_time_total > 0]
    total = sum(e.self_device_time_total for e in found)
    lines = [f"total {total / 1e3:.2f} ms on the device"]
    for event in sorted(found, key=lambda e: -e.self_device_time_total)[:rows]:
        each = event.self_device_time_total / max(event.count, 1)
        lines.append(
            f"{event.self_device_time_total / 1e3:9.3f} ms {event.count:6d} x {each:8.1f} us  {event.key[:80]}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--eager", action="store_true", help="without graphs")
    parser.add_argument("--batches", default="1,8,32,128")
    args = parser.parse_args()
    found: dict[str, Any] = {}
    began = time.perf_counter()
    model = load(args.model_dir, dtype=args.dtype, device=torch.device(args.device), load_format="dummy")
    found["load_s"] = round(time.perf_counter() - began, 2)
    global VOCABULARY
    VOCABULARY = min(VOCABULARY, model.config.text.vocab_size)
    print(explain(model.ops), flush=True)
    began = time.perf_counter()
    engine = Engine(model, stop_ids=(), options=EngineOptions(max_context=16384, graphs=not args.eager))
    found["engine_s"] = round(time.perf_counter() - began, 2)
    print(json.dumps(found), flush=True)
    for _ in range(2):
        first_token(engine, ask(512, picture(1024, 1024)))
    for name, make in {
        "text 512": lambda: ask(512),
        "new 1024x1024 + 512": lambda: ask(512, picture(1024, 1024)),
        "new 1920x1088 + 64": lambda: ask(64, picture(1088, 1920)),
        "new 256x256 + 64": lambda: ask(64, picture(256, 256)),
    }.items():
        times = [first_token(engine, make()) for _ in range(9)]
        found[name] = round(statistics.median(times[2:]), 2)
        print(name, found[name], [round(t, 1) for t in times], flush=True)
    same = picture(1024, 1024)
    times = [first_token(engine, ask(512, same)) for _ in range(9)]
    found["same 1024x1024 + 512"] = round(statistics.median(times[2:]), 2)
    print("same", found["same 1024x1024 + 512"], flush=True)
    for count in map(int, args.batches.split(",")):
        found[f"{count} streams"] = streams(engine, count)
        print(count, found[f"{count} streams"], flush=True)
    if args.device == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
    if args.profile:
        for name, requests in {
            "decode, 1 stream": [ask(64, max_tokens=50)],
            "decode, 32 streams": [ask(64, max_tokens=30) for _ in range(32)],
            "new 1024x1024 + 512": [ask(512, picture(1024, 1024))],
        }.items():
            print(f"--- {name}\n{profile(engine, requests, 16)}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
