"""The command and the server as a stranger meets them: processes, HTTP bodies, files. Imports nothing of the house."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

SACCADE = [sys.executable, "-m", "saccade"]


def run(*words: str | Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """`saccade words...` until it ends."""
    command = [*SACCADE, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=_environment(environment))


class Server:
    """A running `saccade serve`."""

    def __init__(self, url: str, process: subprocess.Popen[str], heard: list[str]) -> None:
        self.url = url
        self.process = process
        self.heard = heard
        """Lines of its standard error so far."""
        self._client = httpx.Client(base_url=url, timeout=120, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> httpx.Response:
        return self._client.get(path)

    def chat(self, *parts: Any, **more: Any) -> httpx.Response:
        """One user message: strings are text, dicts are parts as they are."""
        content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
        return self.talk([{"role": "user", "content": content}], **more)

    def talk(self, messages: list[dict[str, Any]], **more: Any) -> httpx.Response:
        body = {"model": "here", "messages": messages, "temperature": 0, "max_tokens": 8, **more}
        return self._client.post("/v1/chat/completions", json=body)


@contextlib.contextmanager
def serving(*words: str | Path, name: str = "here") -> Iterator[Server]:
    """`saccade serve words...` on a free port, ready to answer to `name`."""
    command = [*SACCADE, "serve", "--port", "0", "--served-model-name", name, *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment({})
    ) as process:
        assert process.stdout
        assert process.stderr
        heard: list[str] = []
        errors = process.stderr
        listener = threading.Thread(target=lambda: heard.extend(errors))
        listener.start()
        try:
            address = next((line.strip() for line in process.stdout if line.startswith("  http")), None)
            assert address, "".join(heard)
            server = Server(address.removesuffix("/v1"), process, heard)
            with contextlib.closing(server):
                yield server
        finally:
            process.kill()
            listener.join()


def _environment(more: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SACCADE_")}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


# --- what is sent ----------------------------------------------------------------------------------------------------


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def image(data: bytes, **wishes: Any) -> dict[str, Any]:
    """A message part."""
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **wishes}}


def video(data: bytes, **wishes: Any) -> dict[str, Any]:
    """A message part."""
    url = f"data:video/mp4;base64,{base64.b64encode(data).decode()}"
    return {"type": "video_url", "video_url": {"url": url, **wishes}}


def clip(frames: np.ndarray, rate: int) -> bytes:
    """[T, H, W, 3] uint8 as an MP4 file of H.264, nearly lossless."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=rate, options={"crf": "12"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()
