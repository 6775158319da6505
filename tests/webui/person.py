"""Somebody at the page, and what they bring."""

from __future__ import annotations

import base64
import io
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

RECEIPT = Path(__file__).resolve().parents[2] / "src" / "saccade" / "demo" / "examples" / "receipt.png"
QUESTION = "textarea[aria-label='Ask about a picture'], textarea[aria-label='就图片提问']"
SECONDS = 30_000
"""Milliseconds that anything may take: two cores may have other work."""


@contextmanager
def serving(*flags: str, port: int | None = None, pids: list[int] | None = None) -> Iterator[str]:
    """`saccade serve` with the demo model in a process of its own."""
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    words = [sys.executable, "-m", "saccade", "serve", "--model", "demo", "--port", str(port), "--drain-seconds", "0"]
    process = subprocess.Popen([*words, *flags], stdout=subprocess.DEVNULL)
    if pids is not None:
        pids.append(process.pid)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{url}/health/ready") as response:
                    if response.status == 200:
                        break
            except OSError:
                assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


class Person:
    """Somebody at the page."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self.elsewhere: list[str] = []
        self.sent: list[tuple[str, str, int]] = []
        page.set_default_timeout(SECONDS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._note)
        page.on("requestfailed", self._stopped)

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.url + "/", "blob:", "data:")):
            self.elsewhere.append(request.url)
        if request.method in ("POST", "HEAD"):
            size = int(request.headers.get("content-length", 0)) or len(request.post_data_buffer or b"")
            self.sent.append((request.method, request.url.removeprefix(self.url), size))

    def _stopped(self, request: Any) -> None:
        """What the policy of a page forbids is announced, and goes nowhere."""
        if request.failure == "csp":
            self.elsewhere.remove(request.url)

    def open(self, path: str = "/") -> None:
        self.page.goto(self.url + path)
        self.page.wait_for_selector("saccade-chat[data-ready]")
        self.until("s.server.status === 'ready'")

    def paste(self, data: bytes, name: str = "screen.png", kind: str = "image/png", *, wait: bool = True) -> None:
        """As from the clipboard."""
        self.page.locator(QUESTION).evaluate(
            """(area, [text, name, type]) => {
                const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], name, { type }));
                area.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, composed: true,
                    cancelable: true }));
            }""",
            [base64.b64encode(data).decode(), name, kind],
        )
        if wait:
            self.page.wait_for_selector(".item[data-preparing='false']")

    def ask(self, question: str, *, wait: bool = True) -> Any:
        """Sends a question; the answer's element, complete unless `wait` is false."""
        before = self.page.locator(".message.model").count()
        self.page.locator(QUESTION).fill(question)
        self.page.keyboard.press("Enter")
        answer = self.page.locator(".message.model").nth(before)
        answer.wait_for()
        if wait:
            self.done()
        return answer

    def done(self) -> None:
        """Until nothing is under way."""
        self.until("!s.live && !s.sending")
        self.page.wait_for_selector(".message.model:last-of-type .acts")

    def session(self, expression: str) -> Any:
        """What the page knows: an expression over `s`, its session."""
        return self.page.evaluate(
            f"(() => {{ const s = document.querySelector('saccade-chat').session; return {expression}; }})()"
        )

    def until(self, expression: str) -> None:
        """Waits for something of the session. The page's policy forbids the browser's own way, which evaluates text."""
        end = time.monotonic() + SECONDS / 1000
        while not self.session(f"Boolean({expression})"):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(10)

    def last(self) -> dict[str, Any]:
        """The newest message as the page keeps it."""
        told: dict[str, Any] = json.loads(self.session("JSON.stringify(s.chat.nodes[s.chat.leaf])"))
        return told


def png(pixels: Any) -> bytes:
    """[H, W, 3] as a file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
