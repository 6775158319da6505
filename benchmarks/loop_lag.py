"""How long the gateway's event loop is held while large pictures arrive: python benchmarks/loop_lag.py [--pictures 100]

A probe inside the server sleeps for a millisecond, again and again; what comes on top of it is the lag. Outside,
/health/live is asked every 20 ms. `idle_lag_ms` is what the probe says of the machine, before anything is sent.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gc
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

import saccade

DEMO = Path(saccade.__file__).parent / "demo" / "checkpoint"
PERIOD = 0.001


def serve(port: int) -> None:
    """A server as `saccade serve` has it, with a probe; GET /lag tells its values since the last time, in ms."""
    from saccade.backends.native import Native
    from saccade.engine.supervisor import EngineProcess
    from saccade.media.limits import Decoding, MediaLimits
    from saccade.server.app import create_app
    from saccade.server.run import bind, run

    gaps: list[float] = []

    async def probe() -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await asyncio.sleep(PERIOD)
            gaps.append((clock() - began - PERIOD) * 1e3)

    limits = MediaLimits()
    process = EngineProcess(shelf_bytes=limits.recent_bytes)
    backend = Native.load(DEMO, name="demo", limits=limits, process=process, decoding=Decoding(2))
    app = create_app(backend)
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(given: object) -> AsyncIterator[None]:
        async with inner(app):
            task = asyncio.create_task(probe())
            yield
            task.cancel()

    app.router.lifespan_context = lifespan

    @app.get("/lag")
    async def lag() -> list[float]:
        told = gaps.copy()
        gaps.clear()
        return told

    async def settle() -> None:
        gc.freeze()

    async def nothing() -> None:
        pass

    run(app, bind("127.0.0.1", port, public=False), drain=nothing, drain_seconds=0, beside=settle)


def bodies(count: int, megapixels: float) -> list[bytes]:
    """Requests with one picture each, no two files alike."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = height * 4 // 3
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 91 + y / 57), np.cos(x / 73), np.sin((x + 2 * y) / 141)], axis=-1) * 110 + 128
    waves += np.random.default_rng(0).normal(0, 6, waves.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    made = []
    for number in range(count):
        data = base64.b64encode(file.getvalue() + number.to_bytes(4, "little")).decode()  # decoders stop before
        image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}", "max_pixels": 65536}}
        content = [image, {"type": "text", "text": "What is it?"}]
        body = {"model": "demo", "messages": [{"role": "user", "content": content}], "max_tokens": 4}
        made.append(json.dumps(body).encode())
    return made


def shown(gaps: np.ndarray) -> dict[str, float]:
    """Percentiles of some lags."""
    found = {"p50": np.percentile(gaps, 50), "p99.9": np.percentile(gaps, 99.9), "max": gaps.max()}
    return {name: round(float(value), 2) for name, value in found.items()}


def main() -> None:
    """Run and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.port)
    url = f"http://127.0.0.1:{args.port}"
    server = subprocess.Popen([sys.executable, __file__, "--serve", "--port", str(args.port)])
    try:
        made = bodies(args.pictures, args.megapixels)
        with httpx.Client(timeout=300, limits=httpx.Limits(max_connections=None), trust_env=False) as client:
            while True:
                time.sleep(0.2)
                with contextlib.suppress(httpx.TransportError):
                    if client.get(f"{url}/health/ready").status_code == 200:
                        break
            lives: list[float] = []
            over = threading.Event()

            def ask() -> None:
                with httpx.Client(trust_env=False, timeout=30) as other:
                    while not over.wait(0.02):
                        began = time.perf_counter()
                        other.get(f"{url}/health/live").raise_for_status()
                        lives.append((time.perf_counter() - began) * 1e3)

            client.get(f"{url}/lag")
            time.sleep(3)
            idle = np.array(client.get(f"{url}/lag").json())
            asking = threading.Thread(target=ask)
            asking.start()
            began = time.perf_counter()
            with ThreadPoolExecutor(len(made)) as pool:
                send = [pool.submit(client.post, f"{url}/v1/chat/completions", content=body) for body in made]
                statuses = [one.result().status_code for one in send]
            seconds = time.perf_counter() - began
            over.set()
            asking.join()
            gaps = np.array(client.get(f"{url}/lag").json())
        told = {
            "pictures": args.pictures,
            "megabytes": round(sum(map(len, made)) / 1e6, 1),
            "seconds": round(seconds, 1),
            "statuses": {str(status): statuses.count(status) for status in set(statuses)},
            "lag_ms": shown(gaps),
            "idle_lag_ms": shown(idle),
            "live_ms": {"p99": round(float(np.percentile(lives, 99)), 1), "max": round(max(lives), 1)},
        }
        print(json.dumps(told))
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
