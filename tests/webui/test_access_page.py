"""Everybody can use the page: with a keyboard, with a screen reader, with a key where one is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from person import QUESTION, RECEIPT, serving

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
KEY = "a-key-of-this-test-alone"


def _serious(person: Any) -> list[str]:
    """What axe finds wrong now that matters, shadow trees included."""
    person.page.evaluate(AXE.read_text())  # as a developer tool would; the policy of the page forbids a script tag
    found = person.page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.ui_long)])
def test_an_automatic_checker_finds_nothing_serious(visit: Callable[..., Any], scheme: str) -> None:
    person = visit(color_scheme=scheme)
    assert _serious(person) == []
    person.paste(RECEIPT.read_bytes())
    assert _serious(person) == []
    person.ask("Give this receipt as JSON.")
    person.page.locator(".timing summary").first.click()
    person.ask("Where is the total?")
    person.page.wait_for_timeout(300)
    assert _serious(person) == []
    for opener in ("Settings", "Keyboard shortcuts", "Add by address"):
        person.page.get_by_role("button", name=opener).click()
        person.page.locator("dialog[open]").wait_for()
        assert _serious(person) == []
        person.page.keyboard.press("Escape")
        person.page.locator("dialog").wait_for(state="detached")


@pytest.mark.ui_long
def test_every_control_can_be_reached_with_the_keyboard(visit: Callable[..., Any]) -> None:
    person = visit()
    person.paste(RECEIPT.read_bytes())
    person.ask("Give this receipt as JSON.")
    page = person.page
    wanted = page.evaluate(
        """() => {
            const root = document.querySelector("saccade-chat").shadowRoot;
            const all = root.querySelectorAll("button, input, select, textarea, summary, a[href]");
            const seen = [...all].filter((one) => !one.disabled && !one.hidden && one.checkVisibility());
            seen.forEach((one, i) => { one.dataset.wanted = i; });
            return seen.length;
        }"""
    )
    page.evaluate("() => document.activeElement?.blur()")
    reached = set()
    for _ in range(wanted + 12):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "() => document.querySelector('saccade-chat').shadowRoot.activeElement?.dataset.wanted ?? null"
        )
        reached.add(at)
    assert {str(i) for i in range(wanted)} <= reached


@pytest.mark.ui_long
def test_shortcuts(visit: Callable[..., Any]) -> None:
    person = visit()
    page = person.page
    person.ask("Hello")
    page.evaluate("() => document.querySelector('saccade-chat').shadowRoot.activeElement?.blur()")
    page.keyboard.press("?")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    page.keyboard.press("Control+ArrowUp")
    page.keyboard.press("Control+A")
    page.keyboard.type("Hi")
    page.keyboard.press("Enter")
    person.until("s.chat.nodes[s.chat.leaf].role === 'assistant' && !s.live && Object.keys(s.chat.nodes).length === 4")
    assert page.locator(".message.user .branches").inner_text().split() == ["2", "of", "2"]
    page.keyboard.press("Control+Shift+O")
    assert page.locator(".message").count() == 0
    page.keyboard.press("Control+,")
    page.locator("dialog[open]").wait_for()


@pytest.mark.ui_long
def test_language_and_theme_can_be_chosen(visit: Callable[..., Any]) -> None:
    person = visit()
    page = person.page
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Theme").select_option("dark")
    page.get_by_label("Language").select_option("zh")
    page.get_by_role("button", name="关闭").click()
    assert page.locator("h1").inner_text().startswith("要看什么")
    assert page.evaluate("document.documentElement.lang") == "zh"
    dark = page.evaluate("getComputedStyle(document.querySelector('saccade-chat')).backgroundColor")
    assert dark == "rgb(20, 22, 26)"


@pytest.mark.ui_long
def test_sentences_reach_a_screen_reader_whole(visit: Callable[..., Any]) -> None:
    person = visit()
    person.page.evaluate(
        """() => { globalThis.said = []; const live = document.querySelector("saccade-chat").shadowRoot
            .querySelector("[aria-live=polite]");
            new MutationObserver(() => said.push(live.textContent)).observe(live,
                { childList: true, characterData: true, subtree: true }); }"""
    )
    person.ask("Hello")
    said = person.page.evaluate("said")
    assert said[0] == "The model is answering."
    assert "".join(said[1:]).replace("The answer is complete.", "") == person.last()["text"]
    assert len(said) < 8


@pytest.fixture(scope="module")
def locked(server: str) -> Iterator[str]:
    with serving("--api-key", KEY) as url:
        yield url


@pytest.mark.ui_long
def test_a_key_is_asked_for_and_kept_for_the_tab_alone(visit: Callable[..., Any], locked: str) -> None:
    person = visit(locked, open=False)
    page = person.page
    page.goto(locked)
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Use it").click()
    page.get_by_text("The server does not know this key.").wait_for()
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Use it").click()
    page.locator(QUESTION).wait_for()
    person.paste(RECEIPT.read_bytes())
    assert "21.36" in person.ask("What is the total?").inner_text()
    kept = page.evaluate("() => JSON.stringify([{ ...localStorage }, document.cookie])")
    assert KEY not in kept
    assert page.evaluate("sessionStorage.length") == 1
    other = page.context.new_page()
    other.goto(locked)
    other.get_by_label("API key").wait_for()
    assert other.get_by_label("API key").input_value() == ""
