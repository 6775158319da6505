"""A running server is asked to record where the time of its next steps goes."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from saccade.errors import BusyError, SaccadeError

SECONDS = 900.0
"""How long the server may take: for steps to come, and to write them down."""


def profile(
    url: Annotated[str, typer.Option(metavar="URL", help="The server; it needs --profile-dir.")] = (
        "http://127.0.0.1:8000"
    ),
    steps: Annotated[int, typer.Option(min=1, max=1000, metavar="INT", help="Steps to record.")] = 20,
    api_key: Annotated[str | None, typer.Option(metavar="TEXT", help="Key, if the server wants one.")] = None,
) -> None:
    """Record a trace of a server's next steps, and print the name of its file.

    The file is written by the server into its --profile-dir; open it with https://ui.perfetto.dev or chrome://tracing.
    Steps are made only while requests are answered.
    """
    told = asyncio.run(_ask(url, steps, api_key))
    typer.echo(told["file"])


async def _ask(url: str, steps: int, api_key: str | None) -> Any:
    from saccade.bench.wire import Wire, address

    wire = Wire(address(url), timeout=SECONDS)
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {api_key}"} if api_key else {})}
    try:
        answer = await wire.exchange("POST", "/admin/profile", headers, json.dumps({"steps": steps}).encode())
    finally:
        wire.close()
    if answer.failure:
        raise BusyError(f"{url}: {answer.failure}.")
    try:
        told = json.loads(b"".join(piece for _, piece in answer.pieces))
    except ValueError:
        told = {}
    if answer.status == 404:
        raise SaccadeError(f"{url} records no traces.", hint="Start the server with --profile-dir DIR.")
    if answer.status != 200:
        raise SaccadeError(told.get("error", {}).get("message", f"{url} answered with status {answer.status}."))
    return told
