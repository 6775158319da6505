"""The commands as people type them."""

from __future__ import annotations

import hashlib
import http.server
import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from saccade import cli, hub, terminal
from saccade.ask import kind_of
from saccade.backends.base import Echo
from saccade.commands.demo import train
from saccade.engine.options import EngineOptions
from saccade.errors import CheckpointError, EngineError
from saccade.flags import engine_options
from saccade.settings import LocalSettings, Settings, flag
from saccade.types import MediaRef, Request

SACCADE = [sys.executable, "-m", "saccade"]
DUMMY = ["--model", "demo", "--load-format", "dummy"]
PNG = Path(cli.__file__).parent / "demo" / "examples" / "receipt.png"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


class Listener(Echo):
    """Keeps what it was asked."""

    request: Request

    def generate(self, request: Request) -> Any:
        self.request = request
        return super().generate(request)


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Listener:
    """In place of a model; also keeps the settings it was loaded with."""
    backend = Listener()

    def load(settings: Settings) -> Listener:
        backend.settings = settings
        return backend

    monkeypatch.setattr(cli, "_load", load)
    return backend


# --- help ------------------------------------------------------------------------------------------------------------


def test_version() -> None:
    assert run("--version").stdout == f"saccade {version('saccade')}\n"


@pytest.mark.parametrize(
    ("command", "names"),
    [("serve", Settings.model_fields), ("ask", LocalSettings.model_fields), ("pull", ["source"])],
)
def test_each_setting_is_a_flag(command: str, names: Any) -> None:
    help_text = " ".join(run(command, "--help").stdout.split())
    for name in names:
        assert f"{flag(name)} " in help_text
        assert f"SACCADE_{name.upper()}" in help_text


def test_help_of_every_command() -> None:
    for words in ((), ("demo",), ("demo", "train"), ("demo", "eval")):
        result = run(*words, "--help")
        assert result.exit_code == 0
        assert "Usage: " in result.stdout


def test_each_option_of_training_is_a_flag_with_its_default() -> None:
    from saccade.demo.train import TrainOptions

    flags = {name: p.default for name, p in inspect.signature(train).parameters.items() if name != "out"}
    options = TrainOptions(Path("x"))
    budget = {name: flags.pop(name) for name in ("patches", "second", "tokens")}
    assert all(getattr(options.budget, name) == value for name, value in budget.items())
    assert flags == {f.name: getattr(options, f.name) for f in fields(TrainOptions) if f.name not in ("out", "budget")}


def test_help_does_not_wait_for_heavy_packages() -> None:
    heavy = ("torch", "numpy", "fastapi", "uvicorn", "PIL", "av", "tokenizers", "rich.table", "huggingface_hub")
    code = f"import sys, saccade.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# --- ask -------------------------------------------------------------------------------------------------------------


def test_ask(echo: Listener) -> None:
    result = run("ask", "How are you?")
    assert result.exit_code == 0
    assert result.stdout == "How are you?\n"
    for word in ("fetch", "decode", "resize", "tokenize", "queue", "ViT", "prefill", "first token", "tokens/s"):
        assert word in result.stderr
    assert echo.alive() is False, "it was closed"


def test_ask_in_json(echo: Listener) -> None:
    told = json.loads(run("ask", "--json", "Grüße").stdout)
    assert (told["model"], told["answer"], told["finish_reason"]) == ("echo", "Grüße", "stop")
    assert told["usage"]["completion_tokens"] == 5
    assert told["timings"]["first_token_ms"] >= 0


def test_ask_about_pictures_and_videos(echo: Listener, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"\0\0\0\x18ftypisom rest")
    result = run(
        "ask", PNG, clip, "https://example.org/a.webm", "data:image/png;base64,AA", "What?", "--max-tokens", "2"
    )
    assert (result.exit_code, result.stdout) == (0, "Wh\n")
    assert echo.request.media == (
        MediaRef("image", str(PNG), data=PNG.read_bytes()),
        MediaRef("video", str(clip), data=clip.read_bytes()),
        MediaRef("video", "https://example.org/a.webm", url="https://example.org/a.webm"),
        MediaRef("image", "data:image/png;base64,AA", url="data:image/png;base64,AA"),
    )


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a", b"\0\0\0\x18ftypisom", "video"),
        ("a", b"\0\0\0\x18ftypqt  ", "video"),
        ("a.mp4", b"\0\0\0\x18ftypavif", "image"),
        ("a", b"\x1a\x45\xdf\xa3", "video"),
        ("a", b"RIFF\0\0\0\0AVI LIST", "video"),
        ("a", b"RIFF\0\0\0\0WEBPVP8 ", "image"),
        ("A.MPG", b"\0\0\1\xba", "video"),
        ("a.gif", b"GIF89a", "image"),
        ("a", b"", "image"),
    ],
)
def test_what_is_a_video(name: str, head: bytes, kind: str) -> None:
    assert kind_of(name, head) == kind


def test_settings_reach_the_model(echo: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("port = 7001\nmax_running = 3")
    monkeypatch.setenv("SACCADE_DTYPE", "float32")
    assert run("ask", "--config", file, "--no-offline", "--max-pixels", "5000", "--no-overlap", "a").exit_code == 0
    settings = echo.settings
    assert settings.overlap is False
    assert (settings.max_running, settings.dtype, settings.max_pixels, settings.port) == (3, "float32", 5000, 7001)


ENGINE = {
    "max_context": (4096, "max_context"),
    "max_running": (3, "max_running"),
    "step_timeout": (7.5, "step_timeout"),
    "gpu_memory_utilization": (0.5, "gpu_memory_utilization"),
    "kv_cache_memory": (2**30, "kv_cache_bytes"),
    "feature_cache_memory": (2**28, "feature_cache_bytes"),
    "host_feature_cache_memory": (2**31, "host_feature_cache_bytes"),
    "prefix_cache": (False, "prefix_cache"),
    "feature_cache": (False, "feature_cache"),
    "cuda_graphs": (False, "graphs"),
    "overlap": (False, "overlap"),
    "slices": (False, "slices"),
    "fused_kernels": (False, "fused"),
}
"""A setting, a value that is not its default, and the option of the engine that it decides."""


def test_every_option_of_the_engine_is_a_setting() -> None:
    assert engine_options(Settings()) == EngineOptions()
    assert {option for _, option in ENGINE.values()} == {field.name for field in fields(EngineOptions)}
    for name, (value, option) in ENGINE.items():
        changed = engine_options(Settings(**{name: value}))
        assert changed == replace(EngineOptions(), **{option: value}), name
        assert changed != EngineOptions(), name


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ask",), 2, "QUESTION"),
        (("ask", PNG), 2, "the last argument is the question"),
        (("ask", "nowhere.png", "a"), 1, "nowhere.png cannot be read: no such file"),
        (("ask", PNG.parent, "a"), 1, "cannot be read: is a directory"),
        (("ask", PNG, "a", "--max-file-bytes", "9"), 1, "more than 9 bytes"),
        (("ask", "a", "--max-tokens", "0"), 2, "max-tokens"),
        (("ask", "a", "--max-pixels", "many"), 2, "--max-pixels: "),
        (("ask", "a" * 9000), 1, "exceed the context"),
        (("ask", "a", "--port", "1"), 2, "--port"),
        (("serve", "--port", "99999"), 2, "--port: "),
        (("serve", "--host", "0.0.0.0"), 2, "other machines could ask on 0.0.0.0 without a key"),
        (("serve", "--host", "::"), 2, "other machines could ask on :: without a key"),
        (("serve", "--api-key", ""), 2, "--api-key: "),
        (("serve", "--api-key-file", "nowhere"), 2, "--api-key-file: "),
        (("serve", "--cors-origin", "*"), 2, "'*' is no origin"),
        (("key", "a b"), 2, "a name of a key"),
        (("serve", "--config", "nowhere.toml"), 2, "nowhere.toml cannot be read"),
        (("serve", "more"), 2, "more"),
        (("fly",), 2, "fly"),
        (("demo", "eval", "--only", "flying"), 2, "there is no row 'flying'"),
    ],
)
def test_what_is_wrong_is_one_line(echo: Listener, words: tuple[Any, ...], code: int, said: str) -> None:
    result = run(*words)
    assert result.exit_code == code
    assert said in result.stderr.lower().replace("question", "QUESTION" if said == "QUESTION" else "question")
    assert result.stdout == ""
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if result.stderr.startswith("saccade: "):
        assert result.stderr.count("\n") == 1


def test_an_error_after_the_first_words_is_still_one_line(echo: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(request: Request) -> Any:
        async for delta in Echo.generate(echo, request):
            yield delta
            raise EngineError("The engine broke.", hint="Restart.")

    monkeypatch.setattr(echo, "generate", broken)
    result = run("ask", "hello")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "h\n", "saccade: The engine broke. Restart.\n")


# --- with the real backend -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "empty file"), (b"hello", "is text"), (bytes(range(256)), "supported are")]
)
def test_ask_about_what_is_no_picture(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(content)
    result = run("ask", *DUMMY, file, "What?")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"saccade: {file}: ")
    assert said in result.stderr


def test_a_model_that_is_not_there() -> None:
    result = run("ask", "--model", "nowhere", "a")
    assert result.exit_code == 1
    assert "There is no directory 'nowhere'" in result.stderr


def test_a_new_key_and_its_line() -> None:
    result = run("key", "alice")
    assert result.exit_code == 0
    secret, line = result.stdout.splitlines()
    assert line == f"alice:{hashlib.sha256(secret.encode()).hexdigest()}"


def test_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def resolve(model: str, *, offline: bool, source: str) -> Path:
        asked.append((model, offline, source))
        if model == "a/b":
            return Path("/models/b")
        raise CheckpointError("No.", hint="Really.")

    monkeypatch.setattr(hub, "resolve", resolve)
    assert run("pull", "a/b", "--source", "modelscope").stdout == "/models/b\n"
    failed = run("pull", "c/d")
    assert (failed.exit_code, failed.stderr) == (1, "saccade: No. Really.\n")
    assert asked == [("a/b", False, "modelscope"), ("c/d", False, "huggingface")]


# --- serve -----------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_told_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = subprocess.run([*SACCADE, "serve", "--port", str(port)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"saccade: Port {port} on 127.0.0.1 is already in use. "
        f"Choose another one with --port, for example --port {port + 1}.\n"
    )


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A server with random weights, and what it said until it was ready."""
    command = [*SACCADE, "serve", *DUMMY, "--port", "0", "--drain-seconds", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line.rstrip("\n"))
            if line.startswith("curl "):
                break
        yield process, said
        process.kill()


def url_of(said: list[str]) -> str:
    """The address on a line of its own."""
    return next(line.strip() for line in said if line.startswith("  http"))


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_serve_until_sigterm(server: tuple[subprocess.Popen[str], list[str]]) -> None:
    process, said = server
    assert said[0].startswith("saccade serves demo (")
    assert " ready in " in said[0]
    assert re.fullmatch(r"Bytes set aside: weights [\d,]{9,}; kv [\d,]{9,}; features [\d,]{9,}\.", said[1])
    assert url_of(said).startswith("http://127.0.0.1:")
    assert url_of(said).endswith("/v1")
    if shutil.which("curl") and shutil.which("bash"):
        answered = subprocess.run(["bash", "-c", said[-1]], capture_output=True, text=True, timeout=60, cwd="/")
        told = json.loads(answered.stdout)
        assert told["usage"]["prompt_tokens_details"]["image_tokens"] > 0
        assert told["model"] == "demo"
    # An answer that has begun is finished.
    assert leave_while_it_answers(process, said, signal.SIGTERM, 40).endswith("data: [DONE]\n\n")
    assert end(process, signal.SIGTERM) == (0, "")


def test_ctrl_c_waits_only_so_long(server: tuple[subprocess.Popen[str], list[str]]) -> None:
    process, said = server
    assert '{"error":{"message":"The server was stopped' in leave_while_it_answers(process, said, signal.SIGINT, 4000)
    code, errors = end(process, signal.SIGINT)
    assert code == 130
    assert errors.count("\n") <= 1, "no traceback"


def leave_while_it_answers(
    process: subprocess.Popen[str], said: list[str], number: signal.Signals, max_tokens: int
) -> str:
    """The whole stream of an answer during which the server got a signal."""
    body = {"model": "demo", "messages": [{"role": "user", "content": "a"}], "stream": True, "temperature": 0}
    url = f"{url_of(said)}/chat/completions"
    with httpx.stream("POST", url, json={**body, "max_tokens": max_tokens, "ignore_eos": True}, timeout=60) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        process.send_signal(number)
        return text + "".join(pieces)


def test_the_curl_line_is_one_that_a_shell_understands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the model is called and wherever the picture is, the body arrives whole."""
    if not (shutil.which("curl") and shutil.which("bash")):
        pytest.skip("needs bash and curl")
    odd = tmp_path / "it's $HOME" / "demo" / "examples"
    odd.mkdir(parents=True)
    shutil.copy(PNG, odd)
    monkeypatch.setattr(terminal, "files", lambda _: tmp_path / "it's $HOME")
    heard: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.handle_request)
        thread.start()
        line = terminal.curl_line(f"http://127.0.0.1:{web.server_port}", 'o\'neill "x" $PATH')
        subprocess.run(["bash", "-c", line], check=True, timeout=30)
        thread.join()
    assert heard[0]["model"] == 'o\'neill "x" $PATH'
    url = heard[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert len(url) == len("data:image/png;base64,") + -(-PNG.stat().st_size // 3) * 4
