"""The same component in its other host; skipped where Gradio is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from person import QUESTION, RECEIPT, Person, serving

from saccade.webui.gradio_host import TABS

pytest.importorskip("gradio", reason="the extra gradio is not installed")


@pytest.fixture(scope="module")
def hosted(server: str) -> Iterator[str]:
    with serving("--gradio") as url:
        yield url


def test_tasks_of_the_tabs_exist(visit: Callable[..., Any]) -> None:
    ids = visit().page.evaluate('async () => (await import("/ui/latest/tasks.js")).TASKS.map((task) => task.id)')
    assert {task for task, *_ in TABS} - {""} <= set(ids)


def test_the_component_works_in_gradio(visit: Callable[..., Any], hosted: str, shots: Callable[..., None]) -> None:
    person: Person = visit(hosted, open=False)
    page = person.page
    page.goto(f"{hosted}/gradio/")
    page.locator("saccade-chat[data-ready]").first.wait_for()
    person.until("s.server.status === 'ready'")
    page.locator(QUESTION).first.wait_for()
    person.paste(RECEIPT.read_bytes(), "receipt.png")
    answer = person.ask("What is the total?")
    assert "21.36" in answer.inner_text()
    shots(page, "gradio")
    assert not [path for _, path, _ in person.sent if "queue" in path]  # no word went through Gradio
    page.get_by_role("tab", name="Find things").click()
    chip = page.locator(".chip:visible")
    chip.wait_for()
    assert "Find things" in chip.inner_text()


@pytest.mark.ui_long
def test_tabs_are_in_the_person_s_language(visit: Callable[..., Any], hosted: str) -> None:
    page = visit(hosted, open=False, locale="zh-CN").page
    page.goto(f"{hosted}/gradio/")
    page.get_by_role("tab", name="收据").click()
    chip = page.locator(".chip:visible")
    chip.wait_for()
    assert "收据" in chip.inner_text()
