"""The page about the interface says what the server does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import pytest
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionContentPartImageParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionFunctionToolParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from saccade.server.fields import IGNORED, NEUTRAL
from saccade.server.messages import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from saccade.server.parts import ImageUrlPartWire, TextPartWire
from saccade.server.reference import reference
from saccade.server.schema import ChatBody
from saccade.server.tools import ToolWire
from saccade.text.coordinates import KEYS


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "api.md"
    assert page.read_text() == reference(), (
        "run: python -c 'from saccade.server.reference import reference as r; print(r(), end=\"\")' > docs/api.md"
    )


def test_every_key_of_a_place_is_told() -> None:
    assert all(f"`{key}`" in reference() for key in KEYS)


def test_every_field_is_in_one_table_and_explained() -> None:
    tables = [list(ChatBody.model_fields), [name for name, _ in IGNORED], [name for name, _ in NEUTRAL]]
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))
    assert all(field.description for field in ChatBody.model_fields.values())
    assert all(f"| `{name}` |" in reference() for name in names)


def test_every_field_of_openai_s_interface_is_in_a_table() -> None:
    """As its own client knows them: none is unknown here, whether it is honoured or not."""
    known = {*ChatBody.model_fields, *(name for name, _ in IGNORED), *(name for name, _ in NEUTRAL)}
    assert set(get_type_hints(CompletionCreateParamsStreaming)) - known == set()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (ChatCompletionSystemMessageParam, SystemMessage),
        (ChatCompletionDeveloperMessageParam, SystemMessage),
        (ChatCompletionUserMessageParam, UserMessage),
        (ChatCompletionAssistantMessageParam, AssistantMessage),
        (ChatCompletionToolMessageParam, ToolMessage),
        (ChatCompletionContentPartTextParam, TextPartWire),
        (ChatCompletionContentPartImageParam, ImageUrlPartWire),
        (ChatCompletionFunctionToolParam, ToolWire),
    ],
)
def test_every_field_of_openai_s_messages_is_known(theirs: Any, ours: Any) -> None:
    assert set(get_type_hints(theirs)) - set(ours.model_fields) == set()
