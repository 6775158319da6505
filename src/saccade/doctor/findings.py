"""What a check finds, and the commands that mend it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from saccade.errors import SaccadeError
from saccade.settings import Settings, as_flags

Level: TypeAlias = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Of one check. A warning does not keep the server from starting, a problem does."""

    check: str
    level: Level
    text: str
    mend: str | None = None
    """A command, or where there is none, what to do."""

    def to_error(self) -> SaccadeError:
        """For a server that cannot start."""
        return SaccadeError(self.text, hint=f"Mend it: {self.mend}" if self.mend else None)


def ok(check: str, text: str) -> Finding:
    """Nothing to mend."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, mend: str | None) -> Finding:
    """It works, but not as well as it could."""
    return Finding(check, "warning", text, mend)


def problem(check: str, text: str, mend: str | None) -> Finding:
    """It will not work."""
    return Finding(check, "problem", text, mend)


def serve_command(settings: Settings, **changes: Any) -> str:
    """The command line that serves with these settings, some of them changed; a key in them is not shown."""
    changed = settings.model_copy(update=changes)
    names = [name for name in type(settings).model_fields if name != "api_key"]
    return shlex.join(["saccade", "serve", *as_flags(changed, names)])
