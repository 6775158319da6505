"""POST /admin/profile: a trace of the engine's next steps goes to a file on this machine. The route is there only with
--profile-dir, behind the keys like all others."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from saccade.backends.base import Backend
from saccade.server.connection import read_body
from saccade.server.validate import Wire, json_object, validated

MAX_BODY = 4096
BODY_SECONDS = 10.0
MAX_STEPS = 1000


class ProfileBody(Wire):
    """The honoured fields."""

    steps: int = Field(20, ge=1, le=MAX_STEPS, description="Steps of the engine to record.")


async def _read(http: Request) -> bytes:
    return await read_body(http, MAX_BODY, seconds=BODY_SECONDS, count=lambda _: None)


def profiling_routes(backend: Backend, directory: Path) -> APIRouter:
    """The route, whose files go to `directory`."""
    router = APIRouter()
    numbers = itertools.count(1)

    @router.post("/admin/profile")
    async def profile(http: Request) -> JSONResponse:
        wanted = validated(ProfileBody, json_object(await _read(http)))
        name = f"saccade-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{next(numbers)}.json"
        await backend.profile(wanted.steps, directory / name)
        return JSONResponse({"file": name, "steps": wanted.steps})

    return router
