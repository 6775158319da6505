"""Latency of the bundled model on a CPU as a user sees it: starts `saccade serve`, asks over HTTP, prints medians.

    python benchmarks/cpu_latency.py --json benchmarks/results/cpu-demo.json

Ready: from starting the process to its line that says so. First token: from sending the request to the first piece of
text. Tokens per second: those after the first. Every request carries another picture, so that nothing can be reused.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

FONT = Path(__file__).parents[1] / "src/saccade/demo/fonts/DejaVuSans.ttf"
SIDE = 448
QUESTION = "Read all the text in the image."
WORDS = ("river", "market", "seven", "orange", "window", "letter", "paper", "garden", "silver", "morning", "ticket")


def picture(seed: int) -> bytes:
    """A PNG of SIDE x SIDE: six lines of dark text, 22 pixels high, on white."""
    draw_of = random.Random(seed)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(str(FONT), 22)
    for line in range(6):
        draw.text((30, 40 + 64 * line), " ".join(draw_of.sample(WORDS, 3)), fill="black", font=font)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def ask(port: int, png: bytes) -> tuple[float, float, int, str]:
    """(milliseconds to the first text, tokens per second after it, tokens, the answer) of one streamed request."""
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": parts}],
        "temperature": 0,
        "max_tokens": 300,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began, first, last, tokens, text = time.perf_counter(), 0.0, 0.0, 0, ""
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"status {response.status}: {response.read().decode()}")
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
        if event.get("usage"):
            tokens = event["usage"]["completion_tokens"]
        for choice in event["choices"]:
            if piece := choice["delta"].get("content"):
                last = time.perf_counter()
                first = first or last
                text += piece
    connection.close()
    return (first - began) * 1e3, (tokens - 1) / (last - first), tokens, text


def serve(command: list[str]) -> tuple[subprocess.Popen[str], int, float, str]:
    """The server's process, its port, seconds until it was ready, and the line that said so."""
    began = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    said, ready = "", 0.0
    for line in server.stdout:
        if "ready" in line:
            said, ready = line.strip(), time.perf_counter() - began
        if line.strip().startswith("http://"):
            return server, int(line.split(":")[2].split("/")[0]), ready, said
    raise SystemExit("The server ended before it was ready.")


def cpu_name() -> str:
    """The processor as the system names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=15)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    command = [sys.executable, "-m", "saccade", "serve", "--model", "demo", "--device", "cpu", "--port", "0"]
    command += ["--dtype", options.dtype]
    load = os.getloadavg()[0]
    server, port, ready, said = serve(command)
    try:
        answers = [ask(port, picture(seed)) for seed in range(options.requests + 2)][2:]
    finally:
        server.terminate()
        server.wait()
    firsts, rates, tokens, texts = zip(*answers, strict=True)
    figures = {
        "ready_s": round(ready, 2),
        "first_token_ms": round(statistics.median(firsts), 1),
        "tokens_per_s": round(statistics.median(rates), 1),
        "first_token_ms_all": [round(x, 1) for x in firsts],
        "tokens_per_s_all": [round(x, 1) for x in rates],
        "tokens": tokens,
        "last_answer": texts[-1],
    }
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python benchmarks/cpu_latency.py --requests {options.requests} --dtype {options.dtype}",
        "server": said,
        "picture": f"{SIDE}x{SIDE} PNG, another one in each request",
        "question": QUESTION,
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": round(load, 2),
        "python": platform.python_version(),
        "torch": version("torch"),
        "saccade": version("saccade"),
    }
    print(said)
    print(f"ready after {figures['ready_s']} s; median of {options.requests} requests, 2 before them not counted:")
    print(f"first token {figures['first_token_ms']} ms, then {figures['tokens_per_s']} tokens/s (load {load:.2f})")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(facts | figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
