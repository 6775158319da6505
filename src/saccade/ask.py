"""`saccade ask`: files and a question become one request to a backend, and its answer runs over the terminal; knows no
HTTP."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from saccade import terminal
from saccade.backends.base import Backend
from saccade.errors import MediaError
from saccade.types import MediaKind, MediaPart, MediaRef, Message, Part, Request, SamplingParams, TextPart

_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".ogv")
_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1")


def parts_of(files: Sequence[str], question: str, max_file_bytes: int) -> tuple[Part, ...]:
    """The message: pictures and videos in order, then the question. Raises MediaError for a file that is not there."""
    return (*(MediaPart(_media(name, max_file_bytes)) for name in files), TextPart(question))


def kind_of(name: str, head: bytes) -> MediaKind:
    """Whether a file is a video, by its first bytes, else by its name."""
    if head[4:8] == b"ftyp":
        return "image" if head[8:12] in _STILL_BRANDS else "video"
    if head.startswith(b"\x1a\x45\xdf\xa3") or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "video"
    return "video" if name.lower().endswith(_VIDEO_SUFFIXES) else "image"


async def ask(
    backend: Backend, parts: tuple[Part, ...], sampling: SamplingParams, *, as_json: bool, begun: float
) -> None:
    """Print the answer as it comes and the table of times, or all of it as one JSON object.

    `begun` is when loading the model began, by time.perf_counter().
    """
    request = Request("ask", backend.card().id, (Message("user", parts),), sampling)
    text = ""
    try:
        await backend.start()
        loading = time.perf_counter() - begun
        async with aclosing(backend.generate(request)) as deltas:
            async for delta in deltas:
                text += delta.text
                if not as_json:
                    print(delta.text, end="", flush=True)
    except MediaError as error:
        raise MediaError(f"{error.param}: {error.message}", hint=error.hint) from None
    finally:
        await backend.close()
        if text and not as_json:
            print(flush=True)
    assert delta.times, "the last delta carries times"
    assert delta.usage, "and usage"
    if as_json:
        told = {"model": request.model, "answer": text, "finish_reason": delta.finish_reason}
        print(json.dumps({**told, "usage": asdict(delta.usage), "timings": delta.times.timings}, ensure_ascii=False))
    else:
        terminal.show_times(delta.times, delta.usage, loading)


def _media(name: str, max_file_bytes: int) -> MediaRef:
    if re.match(r"(https?|data):", name):
        return MediaRef("video" if name.startswith("data:video/") else kind_of(name, b""), name[:80], url=name)
    try:
        with Path(name).expanduser().open("rb") as file:
            data = file.read(max_file_bytes + 1)  # never more: it may be a device without an end
    except (OSError, ValueError, RuntimeError) as error:  # a null byte, ~nobody
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise MediaError(f"{name} cannot be read: {reason}.") from None
    if len(data) > max_file_bytes:
        raise MediaError(f"{name} has more than {max_file_bytes} bytes.", hint="Raise --max-file-bytes.")
    return MediaRef(kind_of(name, data[:16]), name, data=data)
