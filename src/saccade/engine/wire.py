"""What a gateway and its engine process say to each other: values become frames in a pipe and values again.

A frame is its length in four bytes and a pickle. Pickles of strangers run programs; these pipes have no name, and none
but the two processes hold an end. Pixels do not go through the pipe but through the arena.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from saccade.engine.arena import Arena
from saccade.engine.request import EngineRequest
from saccade.types import StageTimes, TokenLogprob, TokenOut

TICK = 0.25
"""Seconds between two looks at how the other side is, while it says nothing."""
PIXELS = "B"
"""The format of a buffer of uint8: pixels. Positions, for example, are "l"."""
Row: TypeAlias = tuple[Any, ...]

_LENGTH = struct.Struct("!I")


# --- frames ----------------------------------------------------------------------------------------------------------


def frame(message: object) -> bytes:
    """A message as it goes into a pipe."""
    data = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(data)) + data


class Inlet:
    """The end of a pipe that messages come out of."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._buffer = bytearray()

    def read(self) -> list[Any] | None:
        """The messages that are complete after one more read, which waits if nothing is there; None at the end."""
        piece = os.read(self.fd, 1 << 18)
        if not piece:
            return None
        self._buffer += piece
        messages, start = [], 0
        with memoryview(self._buffer) as view:
            while len(view) >= start + 4:
                end = start + 4 + _LENGTH.unpack_from(view, start)[0]
                if len(view) < end:
                    break
                messages.append(pickle.loads(view[start + 4 : end]))
                start = end
        del self._buffer[:start]
        return messages

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.fd)


def read_messages(inlet: Inlet, tick: Callable[[], None] | None = None) -> Iterator[list[Any]]:
    """Messages, as many at a time as come together, until the other end is closed; `tick` is called about every TICK
    seconds of silence."""
    poll = select.poll()
    poll.register(inlet.fd, select.POLLIN)
    while True:
        while tick is not None and not poll.poll(TICK * 1e3):
            tick()
        messages = inlet.read()
        if messages is None:
            return
        yield messages


class Outlet:
    """Writes to a pipe without ever waiting for its reader: what does not fit is kept, and a thread writes it later.

    What is kept is bounded by what was asked for: the open requests, or their tokens.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._kept = bytearray()
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None

    def send(self, message: object) -> None:
        """Write a message, now or later. If nobody reads any more it is lost."""
        data = frame(message)
        with self._lock:
            if self._writer is None:
                data = data[self._write(data) :]
            if data:
                self._kept += data
                if self._writer is None:
                    self._writer = threading.Thread(target=self._write_kept, name="saccade-outlet", daemon=True)
                    self._writer.start()

    @property
    def is_behind(self) -> bool:
        """Whether something is kept."""
        return self._writer is not None

    def close(self) -> None:
        """Close the pipe, as soon as nothing is kept or nobody reads any more."""
        if writer := self._writer:
            writer.join()
        os.close(self._fd)

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return len(data)

    def _write_kept(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while True:
            poll.poll()
            with self._lock:
                del self._kept[: self._write(self._kept)]
                if not self._kept:
                    self._writer = None
                    return


# --- requests --------------------------------------------------------------------------------------------------------


def pack_request(request: EngineRequest) -> tuple[bytes, list[memoryview]]:
    """A request without its pixels, and those."""
    pixels: list[memoryview] = []

    def goes_inside(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            inside = view.format != PIXELS
        if not inside:
            pixels.append(buffer.raw())
        return inside

    return pickle.dumps(request, protocol=5, buffer_callback=goes_inside), pixels


def unpack_request(data: bytes, places: list[tuple[int, int]], arena: Arena) -> EngineRequest:
    """The request again, its pixels arrays over the arena's memory; `places` are (offset, length) of each."""
    request = pickle.loads(data, buffers=[arena.view(*place) for place in places])
    assert isinstance(request, EngineRequest)
    return request


# --- tokens ----------------------------------------------------------------------------------------------------------


def pack_outs(outs: list[TokenOut]) -> list[Row]:
    """Plain tuples: ten times as quick as the values themselves. A token and nothing else, the most common, is
    (request, token)."""
    return [
        (out.request_id, out.token)
        if out.logprob is None and out.finish_reason is None and out.times is None
        else (
            out.request_id,
            out.token,
            out.logprob,
            [(other.token, other.logprob) for other in out.top_logprobs],
            out.finish_reason,
            out.times,
            out.error,
            out.cached_tokens,
            out.param,
        )
        for out in outs
    ]


def unpack_outs(rows: list[Row]) -> list[TokenOut]:
    """The values again."""
    return [TokenOut(*row) if len(row) == 2 else _whole(*row) for row in rows]


def _whole(
    id: str,
    token: int | None,
    logprob: float | None,
    top: list[Row],
    finish: Any,
    times: StageTimes | None,
    error: str | None,
    cached_tokens: int,
    param: str | None,
) -> TokenOut:
    others = tuple(TokenLogprob(*other) for other in top)
    return TokenOut(id, token, logprob, others, finish, times, error, cached_tokens, param)
