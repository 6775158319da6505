"""POST /v1/media: a picture or video is sent once and named by its id from then on; HEAD asks whether it is still
there; a PDF file is sent in the same way and had back page by page. Knows the backend by its promise."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from saccade.backends.base import Backend
from saccade.errors import NotFoundError
from saccade.server.gate import Gate
from saccade.server.load import NOTHING
from saccade.server.validate import json_object, validated
from saccade.types import MediaRef


class MediaBody(BaseModel):
    """The body of a request of type application/json; any other body is the file itself."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: str = Field(min_length=1, description="Where the file is, as in `image_url`.")


def media_routes(backend: Backend, gate: Gate) -> APIRouter:
    """The endpoints over `backend`, with the limits of the chat endpoint."""
    router = APIRouter()

    async def respond(http: Request) -> Response:
        with gate.visit(http) as visit:
            body = await visit.read()
            kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "application/json":
                ref = MediaRef("image", "url", url=validated(MediaBody, json_object(body)).url)
            else:
                ref = MediaRef("image", "body", data=body)
            gate.check_model(None)
            kept = await visit.first(NOTHING, lambda: backend.keep(ref, gate.salt(http)))
        height, width = kept.size
        told = {"id": f"media:{kept.digest}", "object": "media", "kind": kept.kind, "bytes": kept.num_bytes}
        told |= {"width": width, "height": height, "tokens": kept.num_tokens}
        return JSONResponse(told | ({"pages": kept.num_pages} if kept.num_pages else {}))

    async def draw(http: Request, digest: str, number: str) -> Response:
        digest = digest.removeprefix("media:")
        if not (re.fullmatch("[0-9a-f]{64}", digest) and re.fullmatch("[1-9][0-9]{0,6}", number)):
            raise NotFoundError("There is no such page.", param="number")
        with gate.visit(http) as visit:
            gate.check_model(None)
            png = await visit.first(NOTHING, lambda: backend.page(digest, int(number), gate.salt(http)))
        return Response(png, media_type="image/png")

    @router.post("/v1/media")
    async def send(http: Request) -> Response:
        return await gate.responding(respond(http))

    @router.get("/v1/media/{digest}/pages/{number}")
    async def page(http: Request, digest: str, number: str) -> Response:
        return await gate.responding(draw(http, digest, number))

    @router.head("/v1/media/{digest}")
    async def ask(http: Request, digest: str) -> Response:
        digest = digest.removeprefix("media:")
        is_held = re.fullmatch("[0-9a-f]{64}", digest) and backend.keeps(digest, gate.salt(http))
        return Response(status_code=200 if is_held else 404)

    return router
