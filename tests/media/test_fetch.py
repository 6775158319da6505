"""Laws of fetch: bytes arrive unchanged with their digest, or one error says what stands in the way."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_from_bytes

import pytest
from blake3 import blake3

from saccade.errors import MediaError
from saccade.media.fetch import Fetcher
from saccade.media.limits import MediaLimits
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
        assert error.status == 413


def test_motion_jpeg_and_lists_are_counted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "data:video/jpeg;base64," + ",".join([packed(b"one"), packed(b"two"), packed(b"three")])
    listed = MediaRef("video", PARAM, frames=(b"one", f"data:;base64,{packed(b'two')}", b"three"))
    for ref in (MediaRef("video", PARAM, url=url), listed):
        blob = Fetcher(MediaLimits(max_frames=3)).fetch(ref)
        assert (blob.data, blob.parts) == (b"", (b"one", b"two", b"three"))
        assert blob.digest == Fetcher(MediaLimits()).fetch(listed).digest
        with pytest.raises(MediaError, match="larger than 10 bytes"):
            Fetcher(MediaLimits(max_file_bytes=10)).fetch(ref)
        monkeypatch.setattr(Fetcher, "_from_data_url", None)  # nothing is decoded of a list that is too long
        with pytest.raises(MediaError, match="a list of 3 frames; at most 2"):
            Fetcher(MediaLimits(max_frames=2)).fetch(ref)
        monkeypatch.undo()


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
        assert "no such file below the directory of --media-root" in refusal(url, media_root=root).message


def test_files_are_off_by_default(root: Path) -> None:
    error = refusal(str(root / "sub" / "c.png"))
    assert "Files are not read here" in error.message
    assert "--media-root" in (error.hint or "")


def test_a_directory_that_becomes_a_link_meanwhile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = os.path.realpath

    def swapped(path: str, **options: bool) -> str:
        found = plain(path, **options)
        if options.get("strict"):  # right after the look, before the file is opened
            (root / "sub").rename(root / "old")
            (root / "sub").symlink_to(root.parent)
        return found

    (root / "sub" / "secret.png").write_bytes(b"mine")
    monkeypatch.setattr(os.path, "realpath", swapped)
    refusal("sub/secret.png", media_root=root)


def test_file_size_limit(root: Path) -> None:
    assert "--max-file-bytes" in refusal("sub/c.png", media_root=root, max_file_bytes=100).message


def test_decoders_and_network_are_loaded_when_needed() -> None:
    code = (
        "import sys, saccade.media.frames; print(*sorted({'asyncio', 'h11', 'ssl', 'av', 'torch'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
