"""What people get wrong: each gets one clear line or an error in OpenAI's form, and the server answers the next one."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import outside
import saccade

PACKAGE = Path(saccade.__file__).parent
RECEIPT = (PACKAGE / "demo" / "examples" / "receipt.png").read_bytes()
CONTEXT = 1500


def bomb() -> bytes:
    """A PNG file of a few kilobytes with 60 million pixels, all there."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1251)) for _ in range(6000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 10_000, 6_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _clip(num_frames: int) -> bytes:
    return outside.clip(np.full((num_frames, 64, 96, 3), 200, np.uint8), 10)


def _without_rate() -> bytes:
    """One frame in transport packets: nothing in the file tells how long it is shown."""
    import io

    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), 9, np.uint8), format="rgb24")))
        output.mux(stream.encode())
    with av.open(io.BytesIO(file.getvalue())) as container:
        assert container.streams.video[0].average_rate is None
    return file.getvalue()


PICTURES: dict[str, tuple[bytes, str]] = {
    "text": (b"not a picture\n", "The picture is text; supported are JPEG, PNG, WebP, GIF, BMP."),
    "noise": (bytes(range(256)), "The picture is of no known format; supported are JPEG, PNG, WebP, GIF, BMP."),
    "empty": (b"", "The picture is an empty file; supported are JPEG, PNG, WebP, GIF, BMP."),
    "cut off": (RECEIPT[:1500], "The PNG file is damaged or cut off: image file is truncated."),
    "bomb": (
        bomb(),
        "The picture is 10000 x 6000 = 60,000,000 pixels; at most 40,000,000 are decoded (--max-image-pixels).",
    ),
    "strip": (
        outside.png(np.zeros((5000, 1, 3), np.uint8)),
        "The picture is 1 x 5000 pixels: one side may be at most 200 times the other.",
    ),
    "flat strip": (
        outside.png(np.zeros((1, 5000, 3), np.uint8)),
        "The picture is 5000 x 1 pixels: one side may be at most 200 times the other.",
    ),
    "video": (
        _clip(1),
        "The picture is MP4; supported are JPEG, PNG, WebP, GIF, BMP. Send it as a video.",
    ),
}


# --- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[outside.Server]:
    """The bundled model with a small context; it must come through all of this without a word."""
    with outside.serving("--model", "demo", "--max-context", str(CONTEXT)) as server:
        yield server
        assert server.process.poll() is None
    assert server.heard == []


@pytest.fixture(autouse=True)
def _next_request_is_answered(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        answer = request.getfixturevalue("server").chat(outside.image(RECEIPT), "What is the total?")
        assert answer.json()["choices"][0]["message"]["content"].startswith("$")


def _error(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer, in OpenAI's form and fit for a person."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".")
    assert "\n" not in error["message"]
    assert "Traceback" not in error["message"]
    return error


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("stream", [False, True])
def test_pictures_that_are_none(server: outside.Server, name: str, stream: bool) -> None:
    data, message = PICTURES[name]
    answer = server.chat("Look:", outside.image(data), "What is this?", stream=stream)
    assert answer.status_code == 400
    assert _error(answer) == {
        "message": message,
        "type": "invalid_request_error",
        "param": "messages[0].content[1].image_url",
        "code": "invalid_media",
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The video is an empty file; supported are MP4, Matroska or WebM, AVI, MPEG-TS, GIF."),
        (RECEIPT, "The video is PNG; supported are MP4, Matroska or WebM, AVI, MPEG-TS, GIF. Send it as a picture."),
        (_clip(20)[:700], "The MP4 file is damaged or cut off: Invalid data found when processing input."),
    ],
    ids=["empty", "picture", "cut off"],
)
def test_videos_that_are_none(server: outside.Server, data: bytes, message: str) -> None:
    error = _error(server.chat(outside.video(data), "What happens?"))
    assert (error["message"], error["param"]) == (message, "messages[0].content[0].video_url")


@pytest.mark.parametrize("data", [_clip(1), _without_rate()], ids=["one frame", "no rate"])
def test_videos_that_hardly_are_one(server: outside.Server, data: bytes) -> None:
    """One frame is shown twice; without a rate, 24 frames a second are taken."""
    answer = server.chat(outside.video(data), "What happens?")
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens_details"]["video_tokens"] > 0


def test_a_prompt_longer_than_the_context(server: outside.Server) -> None:
    answer = server.chat("word " * CONTEXT)
    error = _error(answer)
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert f"the context holds {CONTEXT}" in error["message"]
    error = _error(server.chat(*[outside.image(RECEIPT)] * 12, "What?"))
    assert error["message"].endswith("Shorten the text, or send fewer or smaller pictures.")


def test_an_answer_longer_than_the_context(server: outside.Server) -> None:
    error = _error(server.chat("word", max_tokens=CONTEXT))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "max_tokens")
    room = int(error["message"].split("Ask for at most ")[1].split()[0])
    assert server.chat("word", max_tokens=room, stop=["."]).status_code == 200


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("data:image/png;base64,@@@", "does not hold valid base64"),
        ("data:image/png;base64", "has no comma"),
        ("https://example.org/a.png", "--allow-remote-media"),
        ("/etc/hostname", "--media-root"),
        ("gopher://a/b", "gopher: is no kind of address"),
    ],
)
def test_addresses_that_cannot_be_read(server: outside.Server, url: str, said: str) -> None:
    answer = server.chat({"type": "image_url", "image_url": {"url": url}})
    assert answer.status_code == 400
    assert said in _error(answer)["message"]


def test_ten_bad_requests_at_once(server: outside.Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(10) as pool:
        answers = pool.map(lambda data: server.chat(outside.image(data), "?"), [bomb(), RECEIPT] * 5)
        assert [answer.status_code for answer in answers] == [400, 200] * 5


# --- from the shell --------------------------------------------------------------------------------------------------


def _one_line(*words: str | Path, code: int = 1) -> str:
    """What a command that fails says: one line."""
    done = outside.run(*words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("saccade: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(".\n")
    return done.stderr.removeprefix("saccade: ").rstrip("\n")


@pytest.mark.parametrize("name", ["text", "bomb"])
def test_ask_about_pictures_that_are_none(name: str, tmp_path: Path) -> None:
    data, message = PICTURES[name]
    file = tmp_path / "a.png"
    file.write_bytes(data)
    assert _one_line("ask", file, "What is this?") == f"{file}: {message}"


def test_ask_more_than_the_context_holds() -> None:
    said = _one_line("ask", "word " * CONTEXT, "--max-context", str(CONTEXT))
    assert said.endswith("Shorten the text, or send fewer or smaller pictures.")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nowhere", "There is no directory 'nowhere'."),
        (__file__, "is a file, not a model directory."),
        (Path(__file__).parent, "has no config.json, so it is no model directory."),
    ],
    ids=["absent", "file", "other"],
)
def test_no_such_model(model: str | Path, said: str) -> None:
    assert said in _one_line("serve", "--model", model, "--port", "0")


def test_no_such_model_on_the_hub() -> None:
    done = _one_line("serve", "--model", "nobody/nothing", "--offline")
    assert done.startswith("nobody/nothing is not in the local cache, or not completely, and --offline forbids")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the bundled one, cut in two shards."""
    directory = tmp_path / "model"
    shutil.copytree(PACKAGE / "demo" / "checkpoint", directory)
    from safetensors.torch import load_file, save_file

    whole = directory / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    shards = {name: _SHARDS[number * 2 // len(tensors)] for number, name in enumerate(sorted(tensors))}
    for shard in _SHARDS:
        save_file({name: tensors[name] for name in tensors if shards[name] == shard}, directory / shard)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return directory


_SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("half", "model-00002-of-00002.safetensors has 1,000,000 of "),
        ("empty", "model-00002-of-00002.safetensors is not a safetensors file: it is empty."),
        ("absent", "names model-00002-of-00002.safetensors, which is absent."),
        ("unfinished config", "config.json is not valid JSON."),
        ("other family", "model_type is 'llama'; only qwen3_vl and qwen3_vl_moe are supported."),
        ("other shape", "config.json wants [1536, 256]."),
        ("no tokenizer", "tokenizer.json is absent."),
        ("broken tokenizer", "tokenizer.json cannot be read: "),
        ("no preprocessor", "has no preprocessor_config.json"),
    ],
)
def test_a_broken_checkpoint(checkpoint: Path, fault: str, said: str) -> None:
    shard, config = checkpoint / _SHARDS[1], checkpoint / "config.json"
    match fault:
        case "half":
            shard.write_bytes(shard.read_bytes()[:1_000_000])
        case "empty":
            shard.write_bytes(b"")
        case "absent":
            shard.unlink()
        case "unfinished config":
            config.write_text(config.read_text()[:200])
        case "other family":
            config.write_text('{"model_type": "llama"}')
        case "other shape":
            told = json.loads(config.read_text())
            told["text_config"]["intermediate_size"] *= 2
            config.write_text(json.dumps(told))
        case "no tokenizer":
            (checkpoint / "tokenizer.json").unlink()
        case "broken tokenizer":
            (checkpoint / "tokenizer.json").write_text("{}")
        case "no preprocessor":
            (checkpoint / "preprocessor_config.json").unlink()
    assert said in _one_line("serve", "--model", checkpoint, "--port", "0")


def test_a_port_in_use(server: outside.Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = _one_line("serve", "--port", str(port))
    assert said == (
        f"Port {port} on 127.0.0.1 is already in use. Choose another one with --port, for example --port {port + 1}."
    )
