"""Bodies of other interfaces become those of chat completions, which the server understands; this remembers which field
came from where, so that an error names the field that the caller sent. Knows no particular interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from fastapi import Request as HttpRequest
from fastapi.responses import Response

from saccade.errors import SaccadeError
from saccade.server.gate import Call, Gate


class Paths:
    """Where the fields of a chat body came from: prefixes of paths, and ends of paths that have another name."""

    def __init__(self, ends: tuple[tuple[str, str], ...] = ()) -> None:
        """`ends`: (as in a chat body, as the caller has it), such as (".function.name", ".name")."""
        self._prefixes: dict[str, str] = {}
        self._ends = ends

    def came(self, field: str, origin: str) -> None:
        """`field` of the chat body, and all that is in it, came from `origin`."""
        self._prefixes[field] = origin

    def origin(self, path: str) -> str:
        """What the caller calls `path`; the longest prefix that is known decides."""
        known = [prefix for prefix in self._prefixes if path == prefix or path.startswith((prefix + ".", prefix + "["))]
        if known:
            prefix = max(known, key=len)
            path = self._prefixes[prefix] + path.removeprefix(prefix)
        for end, name in self._ends:
            path = path.replace(end, name)
        return path

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors of what is done inside name the caller's fields."""
        try:
            yield
        except SaccadeError as error:
            raise self.renamed(error) from None

    def renamed(self, error: SaccadeError) -> SaccadeError:
        """The same error, in the caller's words."""
        if error.param is not None and (origin := self.origin(error.param)) != error.param:
            error.message = error.message.replace(f"'{error.param}'", f"'{origin}'")
            error.param = origin
        return error


class Translated(Call, Protocol):
    """A call in the words of another interface."""

    @property
    def paths(self) -> Paths: ...


async def answered(
    gate: Gate, http: HttpRequest, prefix: str, parse: Callable[[bytes, str, str], Translated]
) -> Response:
    """As `Gate.answer`; errors that come after the body was read name the caller's fields too."""
    calls: list[Translated] = []

    def remembered(body: bytes, id: str, model: str) -> Translated:
        calls.append(parse(body, id, model))
        return calls[0]

    try:
        return await gate.answer(http, prefix, remembered)
    except SaccadeError as error:
        raise (calls[0].paths.renamed(error) if calls else error) from None
