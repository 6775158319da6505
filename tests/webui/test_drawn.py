"""What the page makes of an answer: marks on the picture, HTML in a closed frame, clean Markdown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from person import QUESTION, RECEIPT, png
from PIL import Image

from saccade.demo.world.draw import draw
from saccade.demo.world.sample import Sample, Turn, World

Box = list[float]


def _windows(task: str, about: str, count: int = 1) -> list[tuple[Sample, Turn]]:
    """Windows that the model was never shown, with a question of the task."""
    found = []
    for index in range(200):
        sample = draw(20261121, index, World(split="test", wording="preset", kinds={"window": 1.0}))
        turn = next((turn for turn in sample.turns if turn.task == task and about in turn.question), None)
        if turn:
            found.append((sample, turn))
        if len(found) == count:
            break
    return found


def _iou(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, wide) * max(0.0, high)
    return (
        both / sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
        if not both
        else both / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - both)
    )


def test_where_a_button_is(visit: Callable[..., Any], shots: Callable[..., None]) -> None:
    ((sample, turn),) = _windows("locate", "button")
    assert turn.truth
    person = visit()
    person.paste(png(sample.frames[0]), "window.png")
    answer = person.ask(turn.question)
    answer.locator(".shape.box").first.wait_for()
    # Where it is on the screen, in thousandths of the picture as it is shown there.
    seen = answer.locator(".stage").evaluate(
        """(stage) => {
            const whole = stage.querySelector("img").getBoundingClientRect();
            const box = stage.querySelector(".shape.box").getBoundingClientRect();
            return [[box.left, whole.left, whole.width], [box.top, whole.top, whole.height],
                    [box.right, whole.left, whole.width], [box.bottom, whole.top, whole.height]]
                .map(([at, from, size]) => 1000 * (at - from) / size);
        }"""
    )
    assert _iou(seen, turn.truth["bbox"]) >= 0.5
    mark = answer.locator(".mark").first
    mark.hover()
    assert "lit" in (answer.locator(".shape.box").first.get_attribute("class") or "")
    spot = answer.locator(".markdown .spot").first
    assert "lit" in (spot.get_attribute("class") or "")
    answer.locator(".shape.box").first.hover()
    assert "lit" in (mark.get_attribute("class") or "")
    assert "lit" in (spot.get_attribute("class") or "")
    person.page.locator(QUESTION).hover()
    assert answer.locator(".lit").count() == 0
    spot.hover()
    assert "lit" in (answer.locator(".shape.box").first.get_attribute("class") or "")
    assert answer.locator(".drawn header").inner_text().split("\n")[-1] == "1 mark"
    shots(person.page, "grounding")


def test_boxes_as_others_want_them(visit: Callable[..., Any]) -> None:
    """The pure parts, in the browser that runs them."""
    person = visit()
    text = 'Here: ```json\n[{"bbox_2d": [100, 200, 300, 400], "label": "a \\"b\\""}, '
    text += '{"point_2d": [500, 500], "label": "p"}, {"bbox_2d": [1'
    told = person.page.evaluate(
        """async (text) => {
            const { MarkReader, marksAs } = await import("/ui/latest/boxes.js");
            const { csvOf } = await import("/ui/latest/export.js");
            const grown = new MarkReader();
            for (let end = 1; end <= text.length; end++) grown.feed(text.slice(0, end));
            const whole = new MarkReader().feed(text);
            const size = { width: 640, height: 480 };
            return { same: JSON.stringify(grown.marks) === JSON.stringify(whole), count: whole.length,
                pixels: JSON.parse(marksAs("pixels", whole, size)),
                relative: JSON.parse(marksAs("relative", whole, size)),
                coco: JSON.parse(marksAs("coco", whole, size, "x.png")), csv: csvOf(marksAs("csv", whole, size)) };
        }""",
        text,
    )
    assert told["same"]
    assert told["count"] == 2
    assert told["relative"][0] == {"bbox_2d": [100, 200, 300, 400], "label": 'a "b"'}
    assert told["pixels"] == [
        {"bbox_2d": [64, 96, 192, 192], "label": 'a "b"'},
        {"point_2d": [320, 240], "label": "p"},
    ]
    assert told["coco"]["annotations"][0]["bbox"] == [64, 96, 128, 96]
    assert told["csv"].splitlines()[1] == 'box,"a ""b""",64,96,192,192'


FORMS = [
    ('<div data-bbox="10 20 30 40">Title</div>', "box", [10, 20, 30, 40], "Title"),
    ("<!-- Table (1, 2, 3, 4) -->", "box", [1, 2, 3, 4], "Table"),
    ('<points x1="10" y1="20" alt="cat">cat</points>', "point", [10, 20], "cat"),
    (
        '<tool_call>\n{"name": "x", "arguments": {"action": "left_click", "coordinate": [5, 6]}}\n</tool_call>',
        "action",
        [5, 6],
        "left_click",
    ),
    (
        '{"name": "mobile_use", "arguments": {"action": "swipe", "coordinate": [1, 2], "coordinate2": [3, 4]}}',
        "arrow",
        [1, 2, 3, 4],
        "swipe",
    ),
    (
        '{"name": "computer_use", "arguments": {"action": "scroll", "coordinate": [9, 8], "pixels": -5}}',
        "action",
        [9, 8],
        "scroll: -5",
    ),
    (
        '{"name": "mobile_use", "arguments": {"action": "terminate", "status": "success"}}',
        "act",
        [],
        "terminate: success",
    ),
    (
        '{"name": "mobile_use", "arguments": {"action": "system_button", "button": "Back"}}',
        "act",
        [],
        "system_button: Back",
    ),
    ('{"time": 1.5, "bbox_2d": [40, 30, 20, 10], "label": "car"}', "box", [20, 10, 40, 30], "car"),
]


def test_every_form_of_a_mark(visit: Callable[..., Any]) -> None:
    person = visit()
    for text, kind, at, label in FORMS:
        (mark,) = person.page.evaluate(
            """async (text) => {
                const { MarkReader } = await import("/ui/latest/boxes.js");
                const reader = new MarkReader();
                for (let end = 1; end <= text.length; end++) reader.feed(text.slice(0, end));
                return reader.feed(text + "\\n");
            }""",
            text,
        )
        assert (mark["kind"], mark["at"], mark["label"]) == (kind, at, label)


@pytest.mark.ui_long
def test_every_task_is_one_that_the_server_takes(visit: Callable[..., Any]) -> None:
    """Its prompts, its form, its budget and its system prompt; and a picture is made for the budget of the task."""
    person = visit()
    large = np.full((900, 1400, 3), 255, np.uint8)
    large[100:200, 100:300] = (200, 30, 30)
    person.session("s.set({ max_tokens: 8 })")
    tasks = json.loads(
        person.page.evaluate('async () => JSON.stringify((await import("/ui/latest/tasks.js")).TASKS)'),
    )
    for task in tasks:
        for prompt, *_ in task["prompts"]:
            person.page.get_by_role("button", name="New chat").last.click()
            person.page.get_by_label("Tasks").select_option(task["id"])
            person.paste(png(large))
            person.ask(prompt)
            told = person.last()
            assert told["state"] == "done", (task["id"], told["error"])
            assert told["usage"]["prompt_tokens_details"]["image_tokens"] > 100
    seen = "s.draft.items[0].record.width * s.draft.items[0].record.height"
    person.page.get_by_role("button", name="New chat").last.click()
    person.session("s.server.model.media.max_pixels = 1200000")
    person.paste(png(large))
    whole = person.session(seen)
    person.page.get_by_label("Tasks").select_option("describe")
    person.until(f"!s.draft.items[0].preparing && {seen} < 1024 * 1024")
    person.page.get_by_label("Tasks").select_option("document")
    person.until(f"!s.draft.items[0].preparing && {seen} === {whole}")


@pytest.mark.ui_long
def test_a_receipt_has_its_form(visit: Callable[..., Any]) -> None:
    person = visit()
    person.page.get_by_label("Tasks").select_option("receipt")
    person.paste(RECEIPT.read_bytes())
    answer = person.ask("Give this receipt as JSON.")
    assert list(json.loads(person.last()["text"]))[-1] == "total"
    assert answer.locator(".verdict.ok").count() == 1


def test_a_screenshot_as_html(visit: Callable[..., Any], shots: Callable[..., None]) -> None:
    ((sample, turn),) = _windows("html", "HTML")
    person = visit()
    person.paste(png(sample.frames[0]), "window.png")
    answer = person.ask(turn.question)
    frame = answer.locator("iframe")
    frame.wait_for()
    assert frame.get_attribute("sandbox") == ""
    wanted = turn.answer.removeprefix("<h1>").split("</h1>")[0]
    assert frame.content_frame.locator("h1").inner_text() == wanted
    shots(person.page, "html")
    answer.get_by_role("button", name="Swipe").click()
    answer.locator(".swipe input, .range input").fill("30")
    shots(person.page, "html-swipe")


PLANTED = """<h1>Hello</h1>
<script>top.document.title='owned'; parent.postMessage('owned', '*'); localStorage.x = 1</script>
<img src="https://example.org/leak.png" onerror="top.document.title='owned'">
<link rel=stylesheet href="https://example.org/a.css">
<iframe src="javascript:top.document.title='owned'"></iframe>
<form action="https://example.org/"><button id=go>go</button></form>
<meta http-equiv="refresh" content="0;url=https://example.org/">
<a href="https://example.org/" target="_top" id=out>out</a>
<svg onload="top.document.title='owned'"></svg>
<style>body { background: url(https://example.org/b.png) }</style>"""


@pytest.mark.parametrize("fence", ["```html\n{}\n```", "{}"], ids=["fenced", "bare"])
def test_planted_html_reaches_nothing(visit: Callable[..., Any], fence: str) -> None:
    person = visit()
    heard = person.page.evaluate(
        "() => { globalThis.heard = []; addEventListener('message', (e) => heard.push(e.data)); }"
    )
    assert heard is None
    text = fence.format(PLANTED)
    person.page.evaluate(
        """async (text) => {
            const { session } = document.querySelector("saccade-chat");
            const { add } = await import("/ui/latest/tree.js");
            const chat = session.chat;
            const question = add(chat, null, { role: "user", text: "page", parts: [] });
            add(chat, question.id, { role: "assistant", text, reasoning: text, state: "done" });
            session.change();
        }""",
        text,
    )
    frame = person.page.locator("iframe").first
    frame.wait_for()
    person.page.wait_for_timeout(700)
    inner = frame.content_frame
    assert "Hello" in inner.locator("body").inner_text()
    inner.locator("#go").click()
    person.page.wait_for_timeout(300)
    assert person.page.title() == "saccade"
    assert person.page.evaluate("heard") == []
    assert person.page.evaluate("localStorage.x") is None
    assert person.page.url == person.url + "/"
    assert (
        person.page.locator(
            ".markdown script, .markdown form, .markdown style, .markdown [onerror], .markdown iframe"
        ).count()
        == 0
    )


def test_markdown(visit: Callable[..., Any], shots: Callable[..., None]) -> None:
    """Code, tables, formulas, lists; streamed in pieces they become the same as whole."""
    person = visit()
    text = (
        "# Title\n\nSome *text* with `code` and $a^2+b^2$.\n\n$$\\int_0^1 x\\,dx$$\n\n"
        "1. one\n2. two\n\n   still two\n\n"
        "| a | b |\n|---|--:|\n| x | 1 |\n\n```python\nprint('hi')\n\nprint('ho')\n```\n\nEnd of 3 $ and 4 $ signs.\n"
    )
    told = person.page.evaluate(
        """async (text) => {
            const { Markdown } = await import("/ui/latest/markdown.js");
            const { html, render } = await import("/ui/latest/html.js");
            const place = document.createElement("div");
            const show = (text) => render(html`<${Markdown} text=${text} />`, place);
            for (let end = 1; end <= text.length; end += 3) show(text.slice(0, end));
            show(text);
            const whole = document.createElement("div");
            render(html`<${Markdown} text=${text} />`, whole);
            const later = () => new Promise((resolve) => setTimeout(resolve, 50));
            for (let i = 0; i < 100 && whole.querySelectorAll("math").length < 2; i++) await later();
            return { math: place.querySelectorAll("math").length, cells: place.querySelectorAll("td").length,
                code: place.querySelector("pre").textContent, items: place.querySelectorAll("li").length,
                same: place.innerHTML === whole.innerHTML, words: place.textContent.includes("3 $ and 4 $ signs") };
        }""",
        text,
    )
    assert told == {
        "math": 2,
        "cells": 2,
        "code": "print('hi')\n\nprint('ho')\n",
        "items": 2,
        "same": True,
        "words": True,
    }


def test_receipts_add_up_or_not(visit: Callable[..., Any]) -> None:
    person = visit()
    cases = [
        ({"items": [{"name": "a", "price": "$1.50"}, {"name": "b", "price": "2,50"}], "total": "4.00 EUR"}, "ok"),
        ({"items": [{"name": "a", "price": "1.234,50 €"}], "tax": "100.00", "total": "1,334.50"}, "ok"),
        ({"items": [{"name": "a", "quantity": 3, "price": 2}], "total": 6}, "ok"),
        ({"items": [{"name": "a", "price": "1.50"}], "total": "1.60"}, "off"),
        ({"items": [{"name": "a", "price": "1.50"}]}, "unknown"),
    ]
    for receipt, verdict in cases:
        found = person.page.evaluate(
            """async (text) => { const { receiptOf, objectOf } = await import("/ui/latest/receipt.js");
                return receiptOf(objectOf(text)); }""",
            f"```json\n{json.dumps({'shop': 'A', **receipt})}\n```",
        )
        assert found["verdict"] == verdict, receipt
        assert found["fields"] == [["shop", "A"]]
    assert person.page.locator(QUESTION).count() == 1


def test_a_pdf_becomes_pictures_of_its_pages(visit: Callable[..., Any], shots: Callable[..., None]) -> None:
    pytest.importorskip("pypdfium2", reason="the extra pdf is not installed")
    pages = [Image.open(RECEIPT).convert("RGB"), Image.new("RGB", (320, 200), "white")]
    out = io.BytesIO()
    pages[0].save(out, "PDF", save_all=True, append_images=pages[1:], resolution=144)
    person = visit()
    person.paste(out.getvalue(), "paper.pdf", "application/pdf", wait=False)
    person.until("s.draft.items.length === 2 && s.draft.items.every((item) => item.record?.state === 'held')")
    names = person.session("s.draft.items.map((item) => item.record.name)")
    assert names == ["paper-1.png", "paper-2.png"]
    shots(person.page, "pdf")
    person.page.get_by_role("button", name="Remove paper-2.png").click()
    assert "21.36" in person.ask("What is the total?").inner_text()


def _clip(codec: str, container: str) -> tuple[bytes, Turn, float]:
    """A clip of the synthetic world at two frames a second, as a file, with a question about when something happens."""
    for index in range(100):
        sample = draw(3, index, World(split="test", wording="preset", kinds={"video": 1.0}))
        turn = next((turn for turn in sample.turns if turn.task == "when"), None)
        if turn:
            break
    assert turn
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=2)
        stream.height, stream.width = sample.frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in sample.frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode())
    return out.getvalue(), turn, len(sample.frames) / 2


def test_a_video_and_its_moments(visit: Callable[..., Any], shots: Callable[..., None]) -> None:
    data, turn, seconds = _clip("libvpx", "webm")
    person = visit()
    person.paste(data, "clip.webm", "video/webm")
    record = json.loads(person.session("JSON.stringify(s.draft.items[0].record)"))
    assert abs(record["duration"] - seconds) < 0.6
    assert len(record["frames"]) == 8
    answer = person.ask(turn.question)
    assert person.last()["usage"]["prompt_tokens_details"]["video_tokens"] > 0
    person.page.locator(".message.user .strip img").first.wait_for()
    time = answer.locator(".markdown .time").first
    said = float(time.inner_text().split()[0])
    time.click()
    player = answer.locator("video")
    player.wait_for()
    person.page.wait_for_timeout(400)
    assert abs(player.evaluate("(video) => video.currentTime") - said) < 0.01
    shots(person.page, "video")


PICTURE = Path(__file__).resolve().parents[2] / "docs" / "page.webp"


def test_the_picture_of_the_readme(visit: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    """It shows the page as it is: made here, and small. With --shots a new one is written there."""
    assert PICTURE.stat().st_size < 200_000
    place = request.config.getoption("--shots")
    if not place:
        pytest.skip("a new one is made with --shots")
    ((sample, turn),) = _windows("locate", "button")
    person = visit(viewport={"width": 1280, "height": 1180}, device_scale_factor=1.5)
    person.paste(RECEIPT.read_bytes(), "receipt.png")
    person.ask("What is the total?")
    person.page.get_by_role("button", name="New chat").last.click()
    person.paste(png(sample.frames[0]), "window.png")
    answer = person.ask(turn.question)
    answer.locator(".stage img").evaluate("(img) => img.decode()")
    person.page.wait_for_timeout(500)
    shown = Image.open(io.BytesIO(person.page.screenshot()))
    shown.convert("RGB").save(Path(place) / "readme.webp", quality=82, method=6)
