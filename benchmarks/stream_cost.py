"""What a streamed token costs the gateway, in milliseconds of CPU: `python benchmarks/stream_cost.py`.

Starts a server with the demo model, streams answers that nothing ends early, and divides the CPU time that the gateway
used meanwhile (not the engine's, not the client's) by the tokens that came. Ends with status 1 above the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from saccade.bench.wire import Wire, address

TICKS = os.sysconf("SC_CLK_TCK")
BOUND = 0.15
"""Milliseconds."""


@contextlib.contextmanager
def server() -> Iterator[tuple[str, int]]:
    """The address of a server and the number of its process."""
    command = [sys.executable, "-m", "saccade", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield next(line.strip() for line in process.stdout if line.startswith("  http")), process.pid
        finally:
            process.terminate()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, all threads together."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


async def stream(wire: Wire, number: int, tokens: int) -> int:
    """Events of one answer."""
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": f"Count from {number}."}],
        "stream": True,
        "ignore_eos": True,
        "max_tokens": tokens,
        "temperature": 1,
        "seed": number,
    }
    headers = {"content-type": "application/json"}
    done = await wire.exchange("POST", "/v1/chat/completions", headers, json.dumps(body).encode())
    assert done.status == 200, done
    assert done.failure is None, done
    return b"".join(piece for _, piece in done.pieces).count(b"data: ")


async def measure(url: str, pid: int, streams: int, tokens: int) -> dict[str, float]:
    wire = Wire(address(url), timeout=600)
    await asyncio.gather(*(stream(wire, n, 20) for n in range(streams)))
    used, began = cpu(pid), time.perf_counter()
    events = sum(await asyncio.gather(*(stream(wire, n, tokens) for n in range(streams))))
    used, seconds = cpu(pid) - used, time.perf_counter() - began
    wire.close()
    total = streams * tokens
    return {
        "streams": streams,
        "tokens": total,
        "events": events,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(total / seconds, 1),
        "cpu_ms_per_token": round(used / total * 1e3, 4),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1500, help="of each stream")
    options = parser.parse_args()
    with server() as (url, pid):
        told = asyncio.run(measure(url, pid, options.streams, options.tokens))
    print(json.dumps(told))
    return 0 if told["cpu_ms_per_token"] <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
