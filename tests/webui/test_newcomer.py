"""The way of somebody who sees the page for the first time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from person import QUESTION, RECEIPT

SHORT = [("1440x900-light-en", 1440, 900, "light", "en-US")]
LOOKS = [
    *SHORT,
    ("768x1024-dark-en", 768, 1024, "dark", "en-US"),
    ("390x844-light-zh", 390, 844, "light", "zh-CN"),
    ("1440x900-dark-zh", 1440, 900, "dark", "zh-CN"),
    ("390x844-dark-en", 390, 844, "dark", "en-US"),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "look" in metafunc.fixturenames:
        looks = LOOKS if metafunc.config.getoption("--ui-full") else SHORT
        metafunc.parametrize("look", looks, ids=[look[0] for look in looks])


def test_the_way_of_a_newcomer(visit: Callable[..., Any], shots: Callable[..., None], look: tuple[Any, ...]) -> None:
    name, width, height, scheme, locale = look
    person = visit(viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale)
    page = person.page
    shots(page, f"{name}-1-open")
    person.paste(RECEIPT.read_bytes(), "receipt.png")
    page.locator(QUESTION).fill("What is the total?")
    person.until("s.draft.items[0]?.record.state === 'held'")
    shots(page, f"{name}-2-pasted")
    answer = person.ask("What is the total?")
    assert "21.36" in answer.inner_text()
    assert answer.locator(".timing .bar i").count() >= 3
    shots(page, f"{name}-3-answer")

    ahead = len(person.sent)
    second = person.ask("Give this receipt as JSON.")
    assert second.locator(".verdict.ok").count() == 1
    told = person.last()
    assert told["client"]["uploaded"] == 0
    assert told["timings"]["cache"]["prefix_tokens"] > 0
    (question,) = [size for method, path, size in person.sent[ahead:] if path == "/v1/chat/completions"]
    assert question < 2000
    assert not [path for _, path, _ in person.sent[ahead:] if path == "/v1/media"]
    shots(page, f"{name}-4-receipt")

    person.ask("Read all the text in the image.", wait=False)
    person.until("s.live?.node.text.length > 5")
    page.keyboard.press("Escape")
    person.done()
    stopped = person.last()
    assert stopped["state"] == "stopped"
    assert 5 < len(stopped["text"]) < 300
    page.locator(".message.model").last.get_by_role("button", name="Answer again").or_(
        page.locator(".message.model").last.get_by_role("button", name="重新回答")
    ).click()
    person.until("s.live")
    person.done()
    assert len(person.last()["text"]) > len(stopped["text"])
    assert page.locator(".message.model").last.locator(".branches span").inner_text().replace(" ", "") in (
        "2of2",
        "2/2",
    )
    shots(page, f"{name}-5-branches")

    page.reload()
    page.wait_for_selector("saccade-chat[data-ready]")
    page.keyboard.press("Control+k")
    page.keyboard.type("bagel")
    page.locator(".chats .chat").first.click()
    assert page.locator(".message.user img").first.evaluate("(img) => img.decode().then(() => img.naturalWidth)") == 320
    assert page.locator(".message").count() == 6
    page.wait_for_timeout(200)
    shots(page, f"{name}-6-found")
