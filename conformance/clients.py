"""OpenAI's and Anthropic's interfaces as OpenAPI documents, from the types that their own clients carry: those are
generated from the documents of the makers, and come with the package.

    python clients.py MODEL > openapi.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from anthropic.types import Message, MessageTokensCount
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types import Model
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses import EasyInputMessageParam, Response, ResponseFunctionToolCallParam
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from openai.types.responses.response_input_param import FunctionCallOutput
from pydantic import TypeAdapter

REFUSED = {
    "/v1/chat/completions": ("audio", "functions", "moderation", "prediction", "web_search_options", "modalities"),
    "/v1/responses": (
        *("access_programs", "background", "background_options", "context_management", "conversation", "image"),
        *(
            "max_tool_calls",
            "moderation",
            "previous_response_id",
            "prompt",
            "store",
            "truncation",
            "tools",
            "tool_choice",
        ),
        *("include", "text", "reasoning"),
    ),
    "/v1/messages": ("container", "diagnostics", "inference_geo", "speed", "user_profile_id", "workspace_id"),
    "/v1/messages/count_tokens": (),
}
"""Left out, since every request with them is refused by name at once, and nothing behind that would be tried."""

POSTS = (
    ("/v1/chat/completions", CompletionCreateParamsNonStreaming, ChatCompletion),
    ("/v1/responses", ResponseCreateParamsNonStreaming, Response),
    ("/v1/messages", MessageCreateParamsNonStreaming, Message),
    ("/v1/messages/count_tokens", MessageCountTokensParams, MessageTokensCount),
)
REFUSALS = ("400", "404", "405", "413", "422", "429", "503")
"""Neither document tells of refusals; those that an interface over HTTP has anyway."""


def document(model: str) -> dict[str, Any]:
    """One document of both interfaces; the name of the model is the one that is served."""
    paths: dict[str, Any] = {}
    for path, asked, answered in POSTS:
        body = _schema(asked)
        body["properties"]["model"] = {"enum": [model]}
        if "input" in body["properties"]:
            # One of a hundred kinds of items cannot be generated; these are the ones that are honoured.
            items = [
                _schema(EasyInputMessageParam),
                _schema(ResponseFunctionToolCallParam),
                _schema(FunctionCallOutput),
            ]
            body["properties"]["input"] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"anyOf": items}}]}
        for name in REFUSED[path]:
            body["properties"].pop(name, None)
        paths[path] = {"post": {"requestBody": {"required": True, "content": _json(body)}, **_answers(answered)}}
    named = {"name": "model", "in": "path", "required": True, "schema": {"enum": [model]}}
    paths["/v1/models/{model}"] = {"get": {"parameters": [named], **_answers(Model)}}
    return {"openapi": "3.1.0", "info": {"title": "clients", "version": "1"}, "paths": paths}


def _answers(kind: Any) -> dict[str, Any]:
    error = {"type": "object", "required": ["error"]}
    refused = {status: {"description": "refused", "content": _json(error)} for status in REFUSALS}
    return {"responses": {"200": {"description": "answered", "content": _json(_schema(kind))}, **refused}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _schema(kind: Any) -> dict[str, Any]:
    """Inline, since two makers use one name for different things. What is recursive becomes anything at its second
    turn."""
    schema = TypeAdapter(kind).json_schema()
    definitions = schema.pop("$defs", {})

    def inline(node: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [inline(one, inside) for one in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            name = node["$ref"].rpartition("/")[2]
            return {} if name in inside else inline(definitions[name], (*inside, name))
        # A discriminator names definitions; the alternatives say the same without it.
        return {key: inline(value, inside) for key, value in node.items() if key != "discriminator"}

    return inline(schema, ())


if __name__ == "__main__":
    json.dump(document(sys.argv[1]), sys.stdout)
