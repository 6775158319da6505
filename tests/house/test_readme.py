"""What the pages tell people to type and to open works: commands parse, examples run, files and verbs exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import typer

import outside
from saccade import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/saccade/demo/*/*.md")])
}
PLACES = (ROOT, ROOT / "src", ROOT / "src" / "saccade")
"""Where a path in a page may begin."""
RELATIVE = re.compile(r"[\w.*-]+(/[\w.*-]+)+/?|\w+\.(?:py|md)")


def blocks(page: str, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of the languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [body for language, body in found if language in languages]


def commands(page: str) -> list[list[str]]:
    """The words of each shell command of a page up to a pipe, comments and prompts left out."""
    lines = "\n".join(blocks(page, "sh", "bash", "shell", "console")).replace("\\\n", " ").splitlines()
    split = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [list(takewhile(lambda word: word != "|", words)) for words in split if words]


SACCADE = [(page, words) for page in PAGES for words in commands(page) if Path(words[0]).name == "saccade"]
TARGETS = set(re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _parse(words: list[str]) -> None:
    """As the command line would, without running anything."""
    command: Any = typer.main.get_command(cli.app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    command.make_context("saccade", list(words)).close()


@pytest.mark.parametrize(("page", "words"), SACCADE, ids=[" ".join(words) for _, words in SACCADE])
def test_commands_parse(page: str, words: list[str]) -> None:
    _parse(words[1:])


def test_a_command_that_is_wrong_does_not_parse() -> None:
    with pytest.raises(Exception, match=r"--colour"):
        _parse(["serve", "--colour", "red"])


@pytest.mark.parametrize("page", [page for page in PAGES if "/fonts/" not in page])
def test_flags_in_the_text_exist(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"`[^`\n]*?(?<![\w-])(--[a-z][a-z-]+)", text))
    assert told <= _flags(typer.main.get_command(cli.app)), page


def _flags(command: Any) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(_flags, getattr(command, "commands", {}).values()), {"--help"})


@pytest.mark.parametrize("page", PAGES)
def test_make_knows_the_verbs(page: str) -> None:
    """In shell blocks and between backticks."""
    spoken = re.findall(r"`make ([a-z]+)", PAGES[page])
    typed = [words[1] for words in commands(page) if words[0] == "make" and len(words) > 1]
    assert {*spoken, *typed} <= TARGETS


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    here = (ROOT / page).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if not re.match(r"[a-z]+:", link):
            assert (here / link.partition("#")[0]).exists(), f"{page}: {link}"


@pytest.mark.parametrize("page", [name for name in PAGES if name not in ("CHANGELOG.md", "docs/log.md")])
def test_files_that_are_named_exist(page: str) -> None:
    """Paths between backticks, from the root or from the package; history may name what is gone."""
    for words in re.findall(r"`([^`\n]+)`", PAGES[page]):
        for word in words.split():
            if RELATIVE.fullmatch(word) and _is_ours(word):
                beside = ((ROOT / page).parent / word).resolve()
                near = beside.exists() or not beside.is_relative_to(ROOT)  # what lies outside may be absent
                far = any(any(place.glob(word.rstrip("/"))) for place in PLACES if not word.startswith("."))
                assert near or far or _is_name(word), f"{page}: {word}"


def _is_name(word: str) -> bool:
    """A file of the package without its directory, where the text before says which."""
    return "/" not in word and any((ROOT / "src").rglob(word))


def _is_ours(word: str) -> bool:
    """A path that begins with something of ours, or a Python file or page by its name."""
    first = word.split("/")[0]
    return word.endswith((".py", ".md")) or ("/" in word and any((place / first).is_dir() for place in PLACES))


# --- examples that run -----------------------------------------------------------------------------------------------


def _asks() -> list[list[str]]:
    return [words[1:] for words in commands("README.md") if Path(words[0]).name == "saccade" and words[1] == "ask"]


@pytest.mark.parametrize("words", _asks(), ids=" ".join)
def test_questions_of_the_readme_are_answered(words: list[str]) -> None:
    command = [*outside.SACCADE, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_readme_asks_something() -> None:
    assert _asks()
    assert blocks("README.md", "python")


EXAMPLES = [(page, code) for page in PAGES for code in blocks(page, "python")]


@pytest.fixture(scope="module")
def demo() -> Iterator[outside.Server]:
    """A real server in place of the one on port 8000."""
    with outside.serving("--model", "demo", name="demo") as server:
        yield server


def _packages(code: str) -> set[str]:
    return set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))


@pytest.mark.parametrize(("page", "code"), EXAMPLES, ids=[f"{page}-{i}" for i, (page, _) in enumerate(EXAMPLES)])
def test_python_of_the_pages_runs(demo: outside.Server, page: str, code: str) -> None:
    if missing := [name for name in sorted(_packages(code)) if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} is not installed; `make conformance` runs this one")
    code = code.replace("http://127.0.0.1:8000", demo.url)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


CURLS = [
    (page, block)
    for page in PAGES
    for block in blocks(page, "sh")
    if re.search(r"^curl .*http://127\.0\.0\.1:8000/v1/", block, re.MULTILINE)
]


@pytest.mark.parametrize(("page", "block"), CURLS, ids=[f"{page}-{i}" for i, (page, _) in enumerate(CURLS)])
def test_curl_of_the_pages_is_answered(demo: outside.Server, tmp_path: Path, page: str, block: str) -> None:
    if which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "src").symlink_to(ROOT / "src")
    block = block.replace("http://127.0.0.1:8000", demo.url).replace("curl ", "curl --fail-with-body ")
    done = subprocess.run(["bash", "-ec", block], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


def test_the_readme_shows_the_clients() -> None:
    shown = set[str]().union(*(_packages(code) for page, code in EXAMPLES if page == "README.md"))
    assert {"openai", "langchain_openai", "qwen_agent"} <= shown
    assert any(page == "README.md" for page, _ in CURLS)
