"""Public test suites against our server with the demo model; writes docs/conformance.md. `make conformance` runs it.

    python conformance/run.py --server .venv/bin/saccade [--only openai langchain ...] [--times 10] [--write]

It runs in an environment of its own (requirements.txt here), which has the suites and nothing of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EXAMPLES = ROOT / "src" / "saccade" / "demo" / "examples"
OPENAI_MODEL = "gpt-6-astra"
"""What openai-python's tests ask for."""
OPENAI_TESTS = ("chat/test_completions.py", "test_models.py", "test_responses.py")


@dataclass(slots=True, kw_only=True)
class Told:
    """What came of one suite."""

    suite: str
    counts: dict[str, int]
    faults: list[str] = field(default_factory=list)
    excepted: dict[str, int] = field(default_factory=dict)
    """Why, and how many tests."""
    skipped: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def serving(command: list[str], name: str, *flags: str) -> Iterator[str]:
    """The address of a server with the demo model, on a free port."""
    words = [*command, "serve", "--model", "demo", "--port", "0", "--served-model-name", name, *flags]
    with tempfile.TemporaryFile("w+") as errors:
        # The demo model is so small that more threads would only wait for each other.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        try:
            assert process.stdout
            address = next((line.strip() for line in process.stdout if line.startswith("  http")), None)
            if address is None:
                errors.seek(0)
                raise SystemExit(f"The server did not start:\n{errors.read()}")
            yield address.removesuffix("/v1")
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


# --- suites of pytest ------------------------------------------------------------------------------------------------


def openai(server: list[str], scratch: Path, times: int) -> Told:
    """openai-python's own tests, which come with its source distribution."""
    pinned = f"openai=={version('openai')}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "openai", pinned]
    subprocess.run([*command, "-d", str(scratch)], check=True, stderr=subprocess.DEVNULL)
    with tarfile.open(next(scratch.glob("openai-*.tar.gz"))) as archive:
        archive.extractall(scratch, filter="data")
    tests = [f"tests/api_resources/{name}" for name in OPENAI_TESTS]
    with serving(server, OPENAI_MODEL) as url:
        environment = {"TEST_API_BASE_URL": f"{url}/v1"}
        return _pytest("openai", scratch / f"openai-{version('openai')}", ["-n", "0", *tests], scratch, environment)


def langchain(server: list[str], scratch: Path, times: int) -> Told:
    """LangChain's standard tests of a chat model."""
    with serving(server, "demo") as url:
        environment = {
            "CONFORMANCE_URL": url,
            "CONFORMANCE_MODEL": "demo",
            "CONFORMANCE_PICTURE": str(EXAMPLES / "receipt.png"),
            "LANGSMITH_TRACING": "false",
        }
        # Not beside our pyproject.toml, whose rules for tests are not meant for these.
        tests = shutil.copy(HERE / "langchain_suite.py", scratch)
        options = ("asyncio_mode=auto", *(f"asyncio_default_{what}_loop_scope=session" for what in ("fixture", "test")))
        words = [word for option in options for word in ("-o", option)]
        return _pytest("langchain", scratch, [*words, str(tests)], scratch, environment)


def _pytest(suite: str, where: Path, words: list[str], scratch: Path, environment: dict[str, str]) -> Told:
    file = scratch / f"{suite}.json"
    more = {
        **environment,
        "CONFORMANCE_EXCEPTIONS": str(HERE / "exceptions.toml"),
        "CONFORMANCE_SUITE": suite,
        "CONFORMANCE_TOLD": str(file),
        "PYTHONPATH": str(HERE),
    }
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "exceptions", *words]
    done = subprocess.run(command, cwd=where, env={**os.environ, **more}, capture_output=True, text=True, timeout=900)
    log = scratch / f"{suite}.log"
    log.write_text(done.stdout + done.stderr)
    if not file.exists():
        raise SystemExit(f"{suite} did not run:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    told = json.loads(file.read_text())
    faults = [*told["failed"], *(f"no test is named {name}" for name in told["unused"])]
    return Told(suite=suite, counts=told["counts"], faults=faults, excepted=told["excepted"], skipped=told["skipped"])


# --- generated requests ----------------------------------------------------------------------------------------------


def ours(server: list[str], scratch: Path, times: int) -> Told:
    """Requests generated from our own document, wrong ones as well."""
    with serving(server, "demo") as url:
        # It takes an answer for a thing that was made and can be asked for by its id; nothing is stored.
        words = ["--exclude-checks", "ensure_resource_availability"]
        return _schemathesis("ours", f"{url}/openapi.json", url, 40 * times, scratch, words)


def clients(server: list[str], scratch: Path, times: int) -> Told:
    """Requests generated from what the clients of OpenAI and Anthropic can send."""
    file = scratch / "clients.json"
    with file.open("w") as document:
        subprocess.run([sys.executable, str(HERE / "clients.py"), "demo"], stdout=document, check=True)
    # Their documents allow much that is refused here by name, and tell nothing of methods.
    unasked = ("negative_data_rejection", "positive_data_acceptance", "unsupported_method")
    with serving(server, "demo") as url:
        words = ["--phases", "fuzzing", "--exclude-checks", ",".join(unasked)]
        return _schemathesis("clients", str(file), url, 200 * times, scratch, words)


def _schemathesis(suite: str, document: str, url: str, examples: int, scratch: Path, more: list[str]) -> Told:
    report = scratch / f"{suite}.ndjson"
    words = ["run", document, "--url", url, "--seed", "1", "-n", str(examples), "--continue-on-failure", "--no-color"]
    words += ["--report-ndjson-path", str(report), "--suppress-health-check", "all", "--request-timeout", "60"]
    words += more
    config = ["--config-file", str(HERE / "schemathesis.toml")]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    command = [str(Path(sys.executable).with_name("schemathesis")), *config, *words]
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True)
    log = scratch / f"{suite}.log"
    log.write_text(done.stdout + done.stderr)
    return _read(suite, report, done.returncode, log)


def _read(suite: str, report: Path, code: int, log: Path) -> Told:
    """How many requests there were, with which status they were answered, and what was found."""
    statuses: Counter[str] = Counter()
    faults: set[str] = set()
    with report.open() as lines:
        for line in lines:
            kind, told = next(iter(json.loads(line).items()))
            if kind == "NonFatalError":
                faults.add(f"{told['label']}: {told['value']['message']}")
            if kind != "ScenarioFinished":
                continue
            recorder = told["recorder"]
            for seen in recorder.get("interactions", {}).values():
                response = seen.get("response")
                statuses[f"{response['status_code'] // 100}xx" if response else "none"] += 1
            for checks in recorder.get("checks", {}).values():
                for check in checks:
                    if check["status"] == "failure":
                        faults.add(f"{recorder['label']}: {check['name']}")
    if code and not faults:
        faults.add(f"schemathesis ended with {code}: {log.read_text()[-1500:]}")
    return Told(
        suite=suite, counts={"requests": statuses.total(), **dict(sorted(statuses.items()))}, faults=sorted(faults)
    )


# --- the pages -------------------------------------------------------------------------------------------------------


def pages(server: list[str], scratch: Path, times: int) -> Told:
    """The examples in Python of our own pages, each with the client that it is about."""
    counts: Counter[str] = Counter()
    faults = []
    with serving(server, "demo") as url:
        for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
            for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
                command = [sys.executable, "-c", code.replace("http://127.0.0.1:8000", url)]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
                works = done.returncode == 0 and done.stdout.strip()
                counts["passed" if works else "failed"] += 1
                if not works:
                    faults.append(f"{page.name}: {code.strip().splitlines()[0]} ...: {done.stderr[-500:]}")
    return Told(suite="pages", counts=dict(counts), faults=faults)


SUITES: tuple[Callable[[list[str], Path, int], Told], ...] = (openai, langchain, ours, clients, pages)
ABOUT = {
    "openai": "openai-python's own tests of chat, models and responses, from its source distribution",
    "langchain": "LangChain's standard tests of a chat model, through `ChatOpenAI`; pictures come from disk",
    "ours": "schemathesis with `GET /openapi.json`: all its phases, right requests and wrong ones; all its checks but "
    "`ensure_resource_availability`, which takes an answer for something that was stored",
    "clients": "schemathesis with OpenAI's and Anthropic's interfaces, as the types of their clients tell them: "
    "no 5xx, and every answer has the form that the client expects",
    "pages": "the examples in Python of README.md and docs, with the clients they are about",
}
PACKAGES = ("openai", "anthropic", "langchain-tests", "langchain-openai", "qwen-agent", "schemathesis", "hypothesis")


# --- the report ------------------------------------------------------------------------------------------------------


def report(told: list[Told], ours: str, minutes: float) -> str:
    """The page, in Markdown. `ours`: what was served."""
    rows = [f"| {one.suite} | {ABOUT[one.suite]} | {_counts(one.counts)} | {len(one.faults)} |" for one in told]
    lines = [
        "# Conformance",
        "",
        "Public suites and clients against `saccade serve --model demo`, 17 million parameters on a CPU.",
        f"`make conformance` wrote this page in {minutes:.0f} minutes on {datetime.date.today()}.",
        f"Server: {ours}; Python {platform.python_version()}. Suites:",
        ", ".join(f"{package} {version(package)}" for package in PACKAGES) + ".",
        "",
        "| suite | what it is | came out | faults |",
        "|---|---|---|--:|",
        *rows,
        "",
        "`excepted` tests are in [a list](../conformance/exceptions.toml), are run, and fail: one that passes is",
        "a fault until it is taken out, unless it is for the demo model to decide. `skipped` tests skip themselves.",
    ]
    for one in told:
        for title, reasons in (("excepted", one.excepted), ("skipped", one.skipped)):
            if reasons:
                lines += ["", f"## {one.suite}: {title}", "", "| tests | why |", "|--:|---|"]
                lines += [f"| {num} | {why.removeprefix('Skipped: ')} |" for why, num in reasons.items()]
        if one.faults:
            lines += ["", f"## {one.suite}: faults", "", *(f"- {fault[:300]}" for fault in one.faults)]
    return "\n".join(lines) + "\n"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{num:,} {what}" for what, num in counts.items())


def _ours(server: list[str]) -> str:
    """What is served: its version, and the commit of this directory."""
    named = subprocess.run([*server, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.split("\n")
    # The page itself is what an earlier run has changed.
    differs = any(line and not line.endswith("docs/conformance.md") for line in changed)
    return f"{named}, commit {commit or 'unknown'}{' with changes' if differs else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=str(ROOT / ".venv" / "bin" / "saccade"))
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--only", nargs="*", choices=[suite.__name__ for suite in SUITES])
    only.add_argument("--write", action="store_true", help="write docs/conformance.md")
    parser.add_argument("--times", type=int, default=1, help="this many times the generated requests")
    parser.add_argument("--scratch", type=Path, help="where logs are kept")
    asked = parser.parse_args()
    server = asked.server.split()
    what, begun = _ours(server), time.monotonic()
    with contextlib.ExitStack() as stack:
        scratch = asked.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scratch.mkdir(parents=True, exist_ok=True)
        told = []
        for suite in SUITES:
            if asked.only and suite.__name__ not in asked.only:
                continue
            told.append(suite(server, scratch, asked.times))
            print(f"{time.monotonic() - begun:.0f} s", told[-1].suite, told[-1].counts, flush=True)
            print("".join(f"  {fault}\n" for fault in told[-1].faults[:40]), end="", flush=True)
    if asked.write:
        (ROOT / "docs" / "conformance.md").write_text(report(told, what, (time.monotonic() - begun) / 60))
    if any(one.faults for one in told):
        sys.exit(1)


if __name__ == "__main__":
    main()
