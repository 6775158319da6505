"""The way of somebody who sees the page for the first time."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from person import QUESTION, RECEIPT, serving

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
    assert page.locator("input[type=search]").input_value() == "bagel"
    page.locator(".chats .chat").first.click()
    assert page.locator(".message.user img").first.evaluate("(img) => img.decode().then(() => img.naturalWidth)") == 320
    assert page.locator(".message").count() == 6
    page.wait_for_timeout(200)
    shots(page, f"{name}-6-found")


@pytest.mark.ui_long
def test_a_stopped_answer_goes_on_where_it_was(visit: Callable[..., Any]) -> None:
    person = visit()
    person.paste(RECEIPT.read_bytes())
    person.ask("Read all the text in the image.")
    whole = person.last()["text"]
    person.page.locator(".message.model").last.get_by_role("button", name="Answer again").click()
    person.until("s.live?.node.text.length > 20")
    person.page.keyboard.press("Escape")
    person.done()
    assert len(person.last()["text"]) < len(whole)
    person.page.get_by_role("button", name="Continue").click()
    person.until("s.live")
    person.done()
    assert person.last()["text"] == whole


@pytest.mark.ui_long
def test_chats_go_out_and_come_back(visit: Callable[..., Any], tmp_path: Any) -> None:
    """Export, delete, import: the pictures too, and in another browser."""
    person = visit()
    page = person.page
    person.paste(RECEIPT.read_bytes())
    person.ask("What is the total?")
    with page.expect_download() as coming:
        page.get_by_role("button", name="Export all chats").click()
    path = tmp_path / "chats.json"
    coming.value.save_as(path)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete this chat").click()
    person.until("s.chats.length === 0")
    assert (
        page.evaluate("() => document.querySelector('saccade-chat').session.db.all('media').then((all) => all.length)")
        == 0
    )
    other = visit()
    for _ in range(2):  # the second time it is there already
        other.page.locator("input[type=file][accept*=json]").set_input_files(path)
        other.until("s.chats.length === 1")
    other.page.locator(".chats .chat").click()
    assert other.page.locator(".message.user img").evaluate("(img) => img.decode().then(() => img.naturalWidth)") == 320
    assert "21.36" in other.page.locator(".message.model").inner_text()
    path.write_text('{"format": "else"}')
    other.page.locator("input[type=file][accept*=json]").set_input_files(path)
    other.page.get_by_text("holds no chats of this page").wait_for()
    assert other.session("s.chats.length") == 1


@pytest.mark.ui_long
def test_a_server_that_restarts_finds_the_draft_and_the_pictures_again(visit: Callable[..., Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(port=port) as url:
        person = visit(url)
        person.paste(RECEIPT.read_bytes())
        person.ask("What is the total?")
        person.page.locator(QUESTION).fill("Give this receipt as JSON.")
    person.page.keyboard.press("Enter")
    person.done()
    assert "The server is not reachable" in person.page.locator(".failed").inner_text()
    person.page.locator(".away").wait_for()
    with serving(port=port):
        person.page.locator(".away").wait_for(state="detached")
        person.page.get_by_role("button", name="Try again").click()
        person.until("s.live")
        person.done()
        assert person.page.locator(".verdict.ok").count() == 1  # the new server was sent the picture again


@pytest.mark.ui_long
def test_an_answer_goes_on_after_a_reload(visit: Callable[..., Any]) -> None:
    person = visit()
    person.session("s.set({ max_tokens: 900, repetition_guard: null })")
    lengthen = """() => { const { api } = document.querySelector("saccade-chat").session;
        const chat = api.chat.bind(api);
        api.chat = (body, signal) => chat({ ...body, ignore_eos: true }, signal); }"""
    person.page.evaluate(lengthen)
    person.ask("Hello", wait=False)
    person.until("s.live?.node.stream && s.live.node.text.length > 50")
    person.page.wait_for_timeout(300)
    person.page.reload()
    person.page.wait_for_selector("saccade-chat[data-ready]")
    person.page.locator(".chats .chat").first.click()
    person.done()
    told = person.last()
    assert (told["state"], told["usage"]["completion_tokens"]) == ("done", 900)
    taken_up = told["text"]
    person.page.evaluate(lengthen)
    person.page.locator(".message.model").last.get_by_role("button", name="Answer again").click()
    person.until("s.live")
    person.done()
    assert person.last()["text"] == taken_up
