"""`saccade completion`: what a shell needs to complete commands and flags."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Those it is written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that shall complete.")]) -> None:
    """Print a script that makes a shell complete commands and flags: `source <(saccade completion bash)`."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(get_completion_script(prog_name="saccade", complete_var="_SACCADE_COMPLETE", shell=shell.value))
