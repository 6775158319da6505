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


def read_messages(fd: int, tick: Callable[[], None] | None = None) -> Iterator[Any]:
    """Messages until the other end is closed; `tick` is called about every TICK seconds of silence."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    buffer = bytearray()
    while True:
        while tick is not None and not poll.poll(TICK * 1e3):
            tick()
        piece = os.read(fd, 1 << 18)
        if not piece:
            return
        buffer += piece
        while len(buffer) >= 4 and len(buffer) >= (end := 4 + _LENGTH.unpack_from(buffer)[0]):
            data = bytes(buffer[4:end])
            del buffer[:end]
            yield pickle.loads(data)


def write_all(fd: int, data: bytes) -> None:
    """Write to a pipe, waiting for its reader. Raises BrokenPipeError when there is none any more."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


class Outlet:
    """Writes to a pipe without ever waiting for its reader: what does not fit is kept, and a thread writes it later.

    What is kept is bounded by what was asked for: the tokens of the open requests.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._kept = bytearray()
        self._more = threading.Condition()
        threading.Thread(target=self._write_kept, name="saccade-outlet", daemon=True).start()

    def send(self, message: object) -> None:
        """Write a message, now or later. If nobody reads any more it is lost."""
        data = frame(message)
        with self._more:
            if not self._kept:
                data = data[self._write(data) :]
            if data:
                self._kept += data
                self._more.notify()

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
            with self._more:
                self._more.wait_for(lambda: self._kept)
            poll.poll()
            with self._more:
                del self._kept[: self._write(self._kept)]


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
) -> TokenOut:
    return TokenOut(id, token, logprob, tuple(TokenLogprob(*other) for other in top), finish, times, error)
