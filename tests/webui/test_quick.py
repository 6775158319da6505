"""What the page promises in figures; `make test-ui` prints them. The bounds are for two cores without other work."""

from __future__ import annotations

import json
import re
import statistics
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from person import png

from saccade.demo.world.draw import draw
from saccade.demo.world.sample import World


def _say(text: str) -> None:
    print(f"\n  figure: {text}")


@pytest.mark.ui_long
def test_the_first_visit_is_small_and_quick(visit: Callable[..., Any]) -> None:
    visit()  # the browser itself is warm then; the files are new to every context
    times = []
    for _ in range(5):
        person = visit(open=False)
        page = person.page
        page.goto(person.url)
        page.wait_for_timeout(800)  # what drives the browser keeps its hands off meanwhile: looking costs time, too
        times.append(page.evaluate("performance.getEntriesByName('saccade-ready')[0].startTime"))
        loaded = page.evaluate(
            """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
                .filter((entry) => !entry.name.includes("/v1/") && !entry.name.endsWith("/metrics"))
                .reduce((sum, entry) => sum + entry.transferSize, 0)"""
        )
    _say(f"page ready in {statistics.median(times):.0f} ms, {loaded / 1000:.0f} KB at the first load")
    assert loaded <= 150_000
    assert statistics.median(times) <= 400


@pytest.mark.ui_long
def test_a_large_picture_is_sent_small(visit: Callable[..., Any], tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2200, 2900, 3), np.uint8)
    path = tmp_path / "noise.png"
    path.write_bytes(png(noise))
    assert path.stat().st_size > 19_000_000
    person = visit()
    person.page.locator("input[type=file]:not([accept*=json])").set_input_files(path)
    person.page.locator(".item[data-preparing='false']").wait_for()
    person.until("s.draft.items[0].record.state === 'held'")
    record = json.loads(person.session("JSON.stringify(s.draft.items[0].record)"))
    media = person.session("s.server.model.media")
    assert record["bytes"] <= 1_000_000
    assert (record["width"] % 32, record["height"] % 32) == (0, 0)
    assert record["width"] * record["height"] <= media["max_pixels"]
    assert record["tokens"] == record["width"] * record["height"] / 32**2
    (sent,) = [size for method, path, size in person.sent if (method, path) == ("POST", "/v1/media")]
    assert sent <= 1_000_000
    told = person.page.locator(".item small").first.inner_text()
    sizes = re.findall(r"(\d+)\D(\d+)", told.replace(",", ""))
    assert (str(record["width"]), str(record["height"])) in sizes
    assert ("2900", "2200") in sizes


def test_a_screen_is_made_small_without_loss(visit: Callable[..., Any]) -> None:
    screen = np.full((1080, 1920, 3), 250, np.uint8)
    for row in range(30, 1050, 24):
        screen[row : row + 12, 40 : 40 + 37 * row % 1800] = (20, row % 256, 90)
    person = visit()
    person.paste(png(screen))
    record = json.loads(person.session("JSON.stringify(s.draft.items[0].record)"))
    assert (record["how"], record["type"]) == ("lossless", "image/png")


def _first_tokens(visit: Callable[..., Any], ahead: bool, seeds: range) -> tuple[list[float], list[str]]:
    """Milliseconds from Send to the first token of new pictures, a second after they were pasted; and the answers."""
    person = visit()
    if not ahead:
        person.session("s.server.model.media.max_store_bytes = 0")
    times, texts = [], []
    for seed in seeds:
        sample = draw(seed, 0, World(split="test", kinds={"form": 1.0}))
        frame = np.pad(sample.frames[0], ((0, 576 - sample.frames.shape[1]), (0, 0), (0, 0)), "edge")
        person.page.get_by_role("button", name="New chat").last.click()
        person.paste(png(frame))
        person.page.wait_for_timeout(1000)
        person.ask("Read all the text in the image.")
        told = person.last()
        times.append(told["client"]["first"])
        texts.append(told["text"])
    return times, texts


@pytest.mark.ui_long
def test_what_is_pasted_is_encoded_before_it_is_sent(visit: Callable[..., Any]) -> None:
    number = 8
    # Other pictures in between, so that neither way finds what the other left in a cache: the same ones come later,
    # on a server that has forgotten nothing, so each way has pictures of its own, drawn alike.
    without, _ = _first_tokens(visit, False, range(100, 100 + number))
    with_it, texts = _first_tokens(visit, True, range(200, 200 + number))
    before, after = statistics.median(without), statistics.median(with_it)
    _say(f"first token {after:.0f} ms after Send with a second of encoding ahead, {before:.0f} ms without")
    assert after <= 0.6 * before
    _, again = _first_tokens(visit, False, range(200, 200 + number))
    assert texts == again


def _cpu_seconds(pid: int) -> float:
    """Of a process and all below it."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        fields = stat.read_text().rpartition(")")[2].split()
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


@pytest.mark.ui_long
def test_a_page_costs_the_server_no_more_than_a_bare_client(
    visit: Callable[..., Any], server: str, server_pid: int
) -> None:
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 400,
        "ignore_eos": True,
    }

    def bare() -> None:
        request = urllib.request.Request(
            f"{server}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            assert b'"completion_tokens":400' in response.read()

    person = visit()
    person.session("s.set({ max_tokens: 400, repetition_guard: null })")
    person.page.evaluate(
        """() => { const { api } = document.querySelector("saccade-chat").session; const chat = api.chat.bind(api);
            api.chat = (body, signal) => chat({ ...body, ignore_eos: true }, signal); }"""
    )
    rounds = 6
    costs: dict[str, list[float]] = {"bare": [], "page": []}
    for _ in range(rounds):
        for name, work in (("bare", bare), ("page", lambda: person.ask("Hello"))):
            person.page.get_by_role("button", name="New chat").last.click()
            begun = _cpu_seconds(server_pid)
            work()
            costs[name].append(_cpu_seconds(server_pid) - begun)
    assert person.last()["usage"]["completion_tokens"] == 400
    bare_cost, page_cost = (min(costs[name]) for name in ("bare", "page"))
    _say(f"server's processor time for 400 tokens: {page_cost:.2f} s by the page, {bare_cost:.2f} s by a bare client")
    assert page_cost <= bare_cost * 1.2
