"""The page about the interface says what the server does."""

from __future__ import annotations

from pathlib import Path

from saccade.server.fields import IGNORED, NEUTRAL
from saccade.server.reference import reference
from saccade.server.schema import ChatBody


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "api.md"
    assert page.read_text() == reference(), (
        "run: python -c 'from saccade.server.reference import reference as r; print(r(), end=\"\")' > docs/api.md"
    )


def test_every_field_is_in_one_table_and_explained() -> None:
    tables = [list(ChatBody.model_fields), [name for name, _ in IGNORED], [name for name, _ in NEUTRAL]]
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))
    assert all(field.description for field in ChatBody.model_fields.values())
    assert all(f"| `{name}` |" in reference() for name in names)
