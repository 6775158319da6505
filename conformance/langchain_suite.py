"""LangChain's standard tests of a chat model, through its client for OpenAI and our server."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

PICTURE = Path(os.environ["CONFORMANCE_PICTURE"])


@pytest.fixture(autouse=True)
def _pictures_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests fetch a picture from the internet; ours takes its place."""

    def get(url: str, **_: Any) -> SimpleNamespace:
        assert url.endswith(".png"), url
        return SimpleNamespace(content=PICTURE.read_bytes())

    monkeypatch.setattr(httpx, "get", get)


class TestSaccade(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        # The answers of so small a model do not end by themselves when it is asked what it never learnt.
        return {
            "model": os.environ["CONFORMANCE_MODEL"],
            "base_url": os.environ["CONFORMANCE_URL"] + "/v1",
            "api_key": "none",
            "temperature": 0,
            "max_tokens": 256,
            "stream_usage": True,
            "max_retries": 0,
        }

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return False

    @property
    def model_override_value(self) -> str:
        return os.environ["CONFORMANCE_MODEL"]
