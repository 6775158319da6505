"""The files of the page: whole, compressed, held for good, under a policy that lets nothing in from outside."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from saccade.backends.base import Echo
from saccade.server.guard import Access
from saccade.server.joined import joined
from saccade.server.keys import load_keys

ROOT = Path(__file__).resolve().parents[2] / "src" / "saccade" / "webui"
MOST = 150_000
"""Bytes that the first visit may load, compressed."""


@pytest.fixture
def page(serve: Callable[..., Any]) -> Any:
    return serve(Echo(), page=True)


def _parts(index: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]+)"', index)


def test_everything_that_the_page_names_is_there_and_small(page: Any) -> None:
    index = httpx.get(page.url + "/")
    assert index.status_code == 200
    loaded = len(gzip.compress(index.content))
    parts = set(_parts(index.text))
    assert {part.split("/", 2)[2] for part in parts} == {"page.js", "page.css", "style.css", "icon.svg"}
    for part in parts:
        with httpx.stream("GET", f"{page.url}/{part}") as response:
            raw = b"".join(response.iter_raw())
        assert response.status_code == 200, part
        assert response.headers["content-encoding"] == "gzip"
        assert "immutable" in response.headers["cache-control"]
        file = ROOT / part.split("/", 2)[2]
        assert file.name == "page.js" or gzip.decompress(raw) == file.read_bytes()
        loaded += len(raw)
    assert loaded <= MOST


def test_modules_import_only_what_is_served() -> None:
    for path in ROOT.rglob("*.js"):
        named = re.findall(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""", path.read_text())
        for name in named:
            assert (path.parent / name).is_file(), f"{path.name}: {name}"


def test_modules_are_joined_in_their_order() -> None:
    modules = {
        "a.js": 'import { b, c as d } from "./of/b.js";\nimport "./side.js";\nexport const a = b + d;\n',
        "of/b.js": 'import { e } from "../e.js";\nexport function b() {}\nexport async function* c() {}\n',
        "e.js": 'export {\n  x, y as e,\n} from "./side.js";\nconst own = 1;\n',
        "side.js": "var p,q;export{p as x,q as y};\n",
        "never.js": "export class Never {}",
    }
    text = joined(modules, "a.js")
    assert re.findall(r"^m\['(.*?)'\]", text, re.MULTILINE) == ["side.js", "e.js", "of/b.js", "a.js"]
    for line in (
        "const { b, c: d } = m['of/b.js'];",
        "return { x: p, y: q };",
        "return { x: m['side.js'].x, e: m['side.js'].y };",
        "return { b, c };",
        "return { a };",
    ):
        assert line in text
    assert not re.search("^(import|export)", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('import { a } from "./a.js";', "imports itself"),
        ("export default 1;", "export default 1"),
        ('import * as x from "./b.js";', "import *"),
    ],
)
def test_what_cannot_be_joined_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        joined({"a.js": text}, "a.js")


def test_nothing_names_another_host() -> None:
    """Addresses stand in licences and names of formats only."""
    for path in (path for path in ROOT.iterdir() if path.suffix in (".js", ".css", ".html")):
        found = re.findall(r"https?://\w[\w.-]+", path.read_text())
        assert not found, f"{path.name}: {found}"


def test_the_policy_lets_nothing_in(page: Any) -> None:
    for path in ("/", "/ui/latest/app.js"):
        policy = httpx.get(page.url + path).headers["content-security-policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["connect-src"] == "'self'"
        assert not re.search(r"https?:|\*|unsafe-eval", policy)


def test_a_file_that_did_not_change_is_not_sent_again(page: Any) -> None:
    first = httpx.get(page.url + "/")
    assert first.headers["cache-control"] == "no-cache"
    again = httpx.get(page.url + "/", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    stable = httpx.get(page.url + "/ui/latest/style.css")
    assert stable.headers["cache-control"] == "no-cache"
    head = httpx.head(page.url + "/ui/latest/style.css", headers={"accept-encoding": "identity"})
    assert int(head.headers["content-length"]) == (ROOT / "style.css").stat().st_size


@pytest.mark.parametrize("name", ["nothing.js", "../settings.py", "__init__.py", "%2e%2e/cli.py", ""])
def test_only_files_of_the_page_are_served(page: Any, name: str) -> None:
    assert httpx.get(f"{page.url}/ui/latest/{name}").status_code == 404


def test_the_page_needs_no_key_and_the_rest_does(serve: Callable[..., Any]) -> None:
    locked = serve(Echo(), page=True, access=Access(load_keys("a-secret-that-is-long", None)))
    assert httpx.get(locked.url + "/").status_code == 200
    assert httpx.get(locked.url + "/ui/latest/app.js").status_code == 200
    for path in ("/v1/models", "/metrics", "/ui", "/uix/latest/app.js", "//ui/latest/app.js"):
        assert httpx.get(locked.url + path).status_code == 401, path


def test_the_page_can_be_left_away(serve: Callable[..., Any]) -> None:
    bare = serve(Echo())
    assert httpx.get(bare.url + "/").status_code == 404
    assert httpx.get(bare.url + "/ui/latest/app.js").status_code == 404
