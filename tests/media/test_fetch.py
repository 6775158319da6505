"""Laws of fetch: bytes arrive unchanged with their digest, or one error says what stands in the way."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, quote_from_bytes

import pytest
from blake3 import blake3

from saccade.errors import MediaError
from saccade.media.fetch import Fetcher, MediaLimits
from saccade.types import Blob, MediaRef

DATA = bytes(range(256)) * 5
PARAM = "messages[0].content[1].image_url"


def fetch(url: str | None = None, data: bytes | None = None, **limits: object) -> Blob:
    ref = MediaRef("image", PARAM, url=url, data=data)
    return Fetcher(MediaLimits(**limits)).fetch(ref)  # type: ignore[arg-type]


def refusal(url: str | None = None, data: bytes | None = None, **limits: object) -> MediaError:
    with pytest.raises(MediaError) as caught:
        fetch(url, data, **limits)
    assert caught.value.param == PARAM
    assert caught.value.code == "invalid_media"
    assert "\n" not in caught.value.message
    return caught.value


def packed(data: bytes = DATA) -> str:
    return base64.b64encode(data).decode()


def test_digest_is_that_of_the_bytes() -> None:
    assert fetch(data=DATA) == Blob(DATA, blake3(DATA).hexdigest())


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{packed()}",
        f"DATA:image/png;charset=utf-8;BASE64,{packed()}",
        f"data:;base64,{packed()}",
        f"data:image/png;base64,{quote(packed(), safe='')}",
        f"data:application/octet-stream,{quote_from_bytes(DATA)}",
        f"data:,{quote_from_bytes(DATA)}",
    ],
    ids=["plain", "capitals", "no type", "base64 in percents", "percents", "shortest"],
)
def test_data_urls(url: str) -> None:
    assert fetch(url).data == DATA


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,@@@@", "valid base64"),
        (f"data:image/png;base64,{packed(b'1234')[:-1]}", "valid base64"),
        ("data:image/png;base64,AAAA\nAAAA", "valid base64"),
        ("data:image/png;base64,AA AA", "valid base64"),
        ("data:image/png;base64,-_-_", "valid base64"),
        ("data:image/png;base64,äöü=", "valid base64"),
        ("ftp://example.org/a.png", "ftp: is no kind of address"),
        ("javascript:alert(1)", "javascript: is no kind of address"),
        ("C:\\pictures\\a.png", "c: is no kind of address"),
    ],
)
def test_bad_urls(url: str, message: str) -> None:
    assert message in refusal(url).message


def test_size_limit_is_exact_and_named() -> None:
    data_url = f"data:;base64,{packed()}"
    for source in ({"data": DATA}, {"url": data_url}, {"url": f"data:,{quote_from_bytes(DATA)}"}):
        assert fetch(**source, max_file_bytes=len(DATA)).data == DATA  # type: ignore[arg-type]
        error = refusal(**source, max_file_bytes=len(DATA) - 1)  # type: ignore[arg-type]
        assert "1,279 bytes (--max-file-bytes)" in error.message


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a b.png").write_bytes(DATA)
    (root / "sub" / "c.png").write_bytes(DATA)
    (tmp_path / "secret.png").write_bytes(DATA)
    (root / "inner").symlink_to(root / "sub")
    (root / "out").symlink_to(tmp_path)
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    return root


def test_files_below_the_root(root: Path) -> None:
    names = ["a b.png", "./a b.png", "sub/../a b.png", "inner/c.png", str(root / "sub" / "c.png")]
    urls = [f"file://{root}/a%20b.png", f"file://localhost{root}/a%20b.png", f"FILE:{root}/sub/c.png"]
    for url in names + urls:
        assert fetch(url, media_root=root).data == DATA


def test_files_elsewhere_are_as_good_as_missing(root: Path) -> None:
    outside = root.parent / "secret.png"
    names = ["../secret.png", str(outside), "out/secret.png", "out.png", "../nothing.png", "/nothing", "nothing"]
    odd = ["sub", "", "loop", "pipe", "a\0b", "x" * 5000, "/etc/passwd", "/dev/zero"]
    urls = [
        f"file://{outside}",
        f"file://{root}/..%2Fsecret.png",
        f"file://elsewhere{root}/sub/c.png",
        "file://[",
        "file:",
    ]
    for url in names + odd + urls:
        assert "is no file below the directory of --media-root" in refusal(url, media_root=root).message


def test_files_are_off_by_default(root: Path) -> None:
    error = refusal(str(root / "sub" / "c.png"))
    assert "Files are not read here" in error.message
    assert "--media-root" in (error.hint or "")


def test_file_size_limit(root: Path) -> None:
    assert "--max-file-bytes" in refusal("sub/c.png", media_root=root, max_file_bytes=100).message


# --- network ---------------------------------------------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    """A small server with good and bad habits, one for each path."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name in ("here", "round"):
            self.send_response(302)
            self.send_header("Location", "/good" if name == "here" else "/round")
            self.end_headers()
            return
        self.send_response({"missing": 404, "broken": 500, "partial": 206}.get(name, 200))
        if name == "packed":
            self.send_header("Content-Encoding", "gzip")
        if name != "endless":
            self.send_header("Content-Length", {"nonsense": "many", "short": "2000"}.get(name, str(len(DATA))))
        self.end_headers()
        if name == "slow":
            time.sleep(0.6)
        for _ in range(200 if name == "endless" else 1):
            self.wfile.write(DATA)
            time.sleep(0.01 if name == "endless" else 0)

    def log_message(self, *_: object) -> None:
        pass

    def finish(self) -> None:
        with suppress(OSError):  # the client has hung up, as it should
            super().finish()


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Answers) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_remote_is_off_by_default(server: str) -> None:
    for url in (f"{server}/good", "https://example.org/a.png", "HTTP://example.org"):
        assert "--allow-remote-media" in (refusal(url).hint or "")


def test_remote_when_allowed(server: str) -> None:
    assert fetch(f"{server}/good", allow_remote=True).data == DATA
    assert fetch(f"{server}/here", allow_remote=True).data == DATA


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "answered with status 404"),
        ("broken", "answered with status 500"),
        ("partial", "answered with status 206"),
        ("packed", "packed with gzip"),
        ("round", "could not be fetched"),
        ("short", "could not be fetched"),
        ("nonsense", "could not be fetched"),
        ("good", "larger than 1,000 bytes"),
        ("endless", "larger than 1,000 bytes"),
    ],
)
def test_remote_refusals(server: str, path: str, message: str) -> None:
    size = 1000 if "1,000" in message else 10_000
    assert message in refusal(f"{server}/{path}", allow_remote=True, max_file_bytes=size).message


def test_remote_takes_no_longer_than_allowed(server: str) -> None:
    for path in ("slow", "endless"):
        start = time.monotonic()
        assert "within 0.3 seconds" in refusal(f"{server}/{path}", allow_remote=True, timeout=0.3).message
        assert time.monotonic() - start < 1.5


def test_remote_addresses_that_lead_nowhere() -> None:
    for url in ("http://127.0.0.1:9/a.png", "http://", "http://[::1", "https:///a", "http://a b/"):
        assert "could not be fetched" in refusal(url, allow_remote=True, timeout=2.0).message


def test_decoders_and_network_are_loaded_when_needed() -> None:
    code = "import sys, saccade.media.frames; print(*sorted({'httpx', 'av', 'torch'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
