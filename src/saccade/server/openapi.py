"""GET /openapi.json: the interface as an OpenAPI 3.1 document, made from the wire models and tables that the server
itself obeys; knows no backend."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from saccade.server import anthropic_body, fields, openapi_answers, responses_body
from saccade.server.anthropic_body import CountBody, MessagesBody
from saccade.server.fields import Ignored, Neutral
from saccade.server.openapi_answers import Schema
from saccade.server.responses_body import PASSED, ResponsesBody
from saccade.server.schema import ChatBody, TokenizeBody

ERRORS = {
    400: "A field is wrong, a picture or video cannot be used, or the prompt is longer than the context.",
    401: "A key is needed.",
    403: "The Host or the Origin is not one of ours.",
    404: "No such model, path or thing.",
    405: "The path is there, with another method.",
    408: "The body did not come in time.",
    413: "The body is larger than the server reads.",
    415: "The body is not said to be JSON, or is compressed.",
    429: "Too much waits already; `retry-after` says when to try again.",
    500: "Our fault.",
    503: "Not ready; `retry-after` says when to try again.",
    504: "It took longer than it may.",
}
"""What any route may answer instead."""

POSTS: tuple[tuple[str, type[BaseModel], str, str, bool], ...] = (
    ("/v1/chat/completions", ChatBody, "ChatCompletion", "An answer to a conversation", True),
    ("/v1/responses", ResponsesBody, "Response", "The same in OpenAI's newer form, stateless", True),
    ("/v1/messages", MessagesBody, "Message", "The same in Anthropic's form", True),
    ("/v1/messages/count_tokens", CountBody, "MessageTokens", "How many tokens such a conversation has", False),
    ("/tokenize", TokenizeBody, "Tokens", "The tokens of a text or a conversation", False),
)
"""(path, its body, its answer, what it is for, whether it streams)."""

GETS: tuple[tuple[str, str, str], ...] = (
    ("/v1/models", "Models", "The one model that is served"),
    ("/v1/models/{model}", "Model", "The same by its name"),
    ("/health/live", "Alive", "Whether the process answers at all"),
    ("/health/ready", "Ready", "Whether a request would be answered now"),
    ("/openapi.json", "Document", "This document"),
)
"""(path, its answer, what it is for)."""

IDLE: dict[type[BaseModel], tuple[Ignored, Neutral]] = {
    ChatBody: (fields.IGNORED, fields.NEUTRAL),
    ResponsesBody: (responses_body.IGNORED, responses_body.NEUTRAL),
    MessagesBody: (anthropic_body.IGNORED, anthropic_body.NEUTRAL),
    CountBody: (anthropic_body.IGNORED, anthropic_body.NEUTRAL),
}
"""Fields of a body that its model does not have."""


def openapi_routes(model: str) -> APIRouter:
    """The route of the document; `model` is the name of the one that is served."""
    router = APIRouter()

    @router.get("/openapi.json")
    async def openapi() -> dict[str, Any]:
        return document(model)

    return router


@lru_cache(maxsize=1)
def document(model: str) -> Schema:
    """The whole document."""
    paths: Schema = {entry[0]: {"post": _post(*entry)} for entry in POSTS}
    for path, answer, summary in GETS:
        paths[path] = {"get": _get(path, answer, summary)}
    paths["/v1/models/{model}"]["get"]["parameters"] = [
        {"name": "model", "in": "path", "required": True, "schema": {"enum": [model]}}
    ]
    for path, kind in (("events", "get"), ("cancel", "post")):
        paths[f"/v1/chat/completions/{{id}}/{path}"] = {kind: _kept(path)}
    paths["/v1/media"] = {"post": _media()}
    paths["/v1/media/{digest}"] = {"head": _held()}
    paths["/v1/media/{digest}/pages/{number}"] = {"get": _page()}
    told = {"text/plain": {"schema": {"type": "string"}}}
    paths["/metrics"] = {"get": {**_get("/metrics", "Alive", "What Prometheus reads")}}
    paths["/metrics"]["get"]["responses"]["200"]["content"] = told
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "saccade",
            "version": version("saccade"),
            "description": "What docs/api.md describes. Where a body has rules that no schema can say (fields that "
            "exclude each other, what is in a picture), a body that fits the schema is answered with 400.",
        },
        "paths": paths,
        "components": {
            "schemas": {**_bodies(model), **openapi_answers.SCHEMAS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"header": []}],
    }


def _post(path: str, body: type[BaseModel], answer: str, summary: str, streams: bool) -> Schema:
    answered = _json(_ref(answer))
    if streams:
        # Its events are described in the pages; a schema of 3.1 is for a whole body.
        answered |= {"text/event-stream": {"schema": {}}}
    asked = {"required": True, "content": _json(_ref(body.__name__))}
    return {"summary": summary, "requestBody": asked, "responses": _responses(path, answered)}


def _get(path: str, answer: str, summary: str) -> Schema:
    return {"summary": summary, "responses": _responses(path, _json(_ref(answer)))}


def _kept(path: str) -> Schema:
    """What can be done with a stream that was kept for its client."""
    parameters = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    if path == "cancel":
        return {
            "summary": "End a stream",
            "parameters": parameters,
            "responses": _responses("", _json(_ref("Cancelled"))),
        }
    number = {"type": "string", "pattern": "^[0-9]{1,9}$"}
    parameters.append({"name": "Last-Event-ID", "in": "header", "required": False, "schema": number})
    answered: Schema = {"text/event-stream": {"schema": {}}}
    return {"summary": "The rest of a stream", "parameters": parameters, "responses": _responses("", answered)}


def _media() -> Schema:
    file = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    asked = {"required": True, "content": {**_json(_ref("MediaAddress")), **file}}
    summary = "A picture or video is sent ahead of the requests that name it"
    return {"summary": summary, "requestBody": asked, "responses": _responses("/v1/media", _json(_ref("Media")))}


def _held() -> Schema:
    digest = {"name": "digest", "in": "path", "required": True, "schema": {"type": "string"}}
    refused = {str(status): {"description": why} for status, why in ERRORS.items()}
    responses = {"200": {"description": "It is there."}, **refused}
    return {"summary": "Whether such a file is still there", "parameters": [digest], "responses": responses}


def _page() -> Schema:
    digest = {"name": "digest", "in": "path", "required": True, "schema": {"type": "string"}}
    number = {"name": "number", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
    answered: Schema = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    summary = "A page of a PDF file that was sent ahead, as a picture"
    return {"summary": summary, "parameters": [digest, number], "responses": _responses("", answered)}


def _responses(path: str, answered: Schema) -> Schema:
    error = "MessageError" if path.startswith("/v1/messages") else "Error"
    refused = {str(status): {"description": why, "content": _json(_ref(error))} for status, why in ERRORS.items()}
    return {"200": {"description": "The answer.", "content": answered}, **refused}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _bodies(model: str) -> Schema:
    """The wire models, with the fields that they leave out, and the one name that a model can have."""
    kinds: list[type[BaseModel]] = [body for _, body, *_ in POSTS]
    _, made = models_json_schema([(kind, "validation") for kind in kinds], ref_template="#/components/schemas/{model}")
    # Where two models have one name, the validator puts a module before it.
    schemas: Schema = json.loads(re.sub(r"saccade__server__(\w+?)___", r"\1_", json.dumps(made["$defs"])))
    for kind in kinds:
        schema = schemas[kind.__name__]
        named = schema["properties"]["model"]
        schema["properties"]["model"] = {"enum": [model] if "type" in named else [model, None]}
        ignored, neutral = IDLE.get(kind, ((), ()))
        schema["properties"] |= {name: {"description": f"Ignored: {why}."} for name, why in ignored}
        schema["properties"] |= {name: {"enum": [None, *values]} for name, values in neutral}
    chat = schemas[ChatBody.__name__]["properties"]
    schemas[ResponsesBody.__name__]["properties"] |= {name: chat[name] for name in PASSED}
    return schemas
