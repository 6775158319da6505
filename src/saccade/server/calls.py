"""Calls of functions in a conversation and what came back: each result names its call, and no call is left without one.
A model that is shown a call without a result, or the other way round, makes one up."""

from __future__ import annotations

from collections.abc import Sequence

from saccade.errors import RequestError
from saccade.server.messages import AnyMessage, AssistantMessage, ToolMessage


def check_results(messages: Sequence[AnyMessage], *, in_turn: bool = True) -> None:
    """Raise RequestError for a result whose id is that of no call before it, and for a call without a result.

    `in_turn`: results follow the assistant's turn that called, before anybody else says something; several messages of
    the assistant in a row are one turn. Otherwise they may come at any time later.
    """
    calls: dict[str, str] = {}
    """id -> field, of the turn whose results may come now."""
    missing: dict[str, str] = {}
    """Of them, those without a result."""
    is_called = False
    for i, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in calls:
                raise _refused(f"messages[{i}].tool_call_id", "is the id of no call in the assistant's turn before it")
            missing.pop(message.tool_call_id, None)
            is_called = False
            continue
        if in_turn and not (is_called and isinstance(message, AssistantMessage)):
            _check_none(missing)
            calls = {}
        is_called = isinstance(message, AssistantMessage)
        if isinstance(message, AssistantMessage):
            new = {call.id: f"messages[{i}].tool_calls[{j}]" for j, call in enumerate(message.tool_calls or ())}
            calls |= new
            missing |= new
    _check_none(missing)


def _check_none(missing: dict[str, str]) -> None:
    for field in missing.values():
        raise _refused(field, "has no result: a message of role 'tool' with its id must follow")


def _refused(field: str, why: str) -> RequestError:
    return RequestError(f"'{field}' {why}.", param=field, code="invalid_value")
