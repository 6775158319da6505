"""The page in the system's Chromium, against a real server with the demo model; skipped where either is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from person import Person, serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --ui-full only the short form."""
    if config.getoption("--ui-full"):
        return
    long = [item for item in items if item.get_closest_marker("ui_long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def playwright() -> Any:
    """What drives the browser; skips where it or the browser is missing."""
    driver = pytest.importorskip("playwright.sync_api", reason="the extra ui-test is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return driver


@pytest.fixture(scope="session")
def _served(playwright: Any) -> Iterator[tuple[str, int]]:
    pids: list[int] = []
    with serving(pids=pids) as url:
        yield url, pids[0]


@pytest.fixture(scope="session")
def server(_served: tuple[str, int]) -> str:
    """The address of a server that all tests share."""
    return _served[0]


@pytest.fixture(scope="session")
def server_pid(_served: tuple[str, int]) -> int:
    """Its process, which has the engine's below it."""
    return _served[1]


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    """One for each file: while the driver lives, its event loop counts as running, and no other test could have one."""
    with playwright.sync_playwright() as driver:
        # The sandbox of the browser does not work for root.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, server: str) -> Iterator[Callable[..., Person]]:
    """Opens the page as somebody new; at the end nothing was asked of other hosts and nothing failed unseen."""
    people: list[Person] = []

    def come(url: str = server, path: str = "/", *, open: bool = True, **options: Any) -> Person:
        wanted = {"viewport": {"width": 1440, "height": 900}, "locale": "en-US", **options}
        context = browser.new_context(**wanted)
        person = Person(context.new_page(), url)
        people.append(person)
        if open:
            person.open(path)
        return person

    yield come
    for person in people:
        person.page.context.close()
        assert person.faults == []
        assert person.elsewhere == []


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Callable[[Any, str], None]:
    """Writes a screenshot to --shots, if that was given."""
    place = request.config.getoption("--shots")

    def shoot(page: Any, name: str) -> None:
        if place:
            Path(place).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(Path(place) / f"{name}.png"))

    return shoot
