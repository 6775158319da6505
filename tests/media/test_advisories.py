"""What was reported of servers and libraries like this one, each as a test of its own: its name says which report."""

from __future__ import annotations

import ast
import asyncio
import base64
import io
import re
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from inside import Inside
from media_samples import drawn, encoded, film, frames_of, picture_of
from PIL import Image

import saccade
from saccade.errors import MediaError
from saccade.media.address import AddressError, parse
from saccade.media.fetch import Fetcher
from saccade.media.frames import Sampling, sniff
from saccade.media.limits import MediaLimits
from saccade.media.stills import PICTURES
from saccade.media.store import MediaStore
from saccade.media.video import CODECS, DECODERS, VIDEOS
from saccade.types import MediaRef

SOURCES = sorted(Path(saccade.__file__).parent.rglob("*.py"))


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    server = Inside()
    yield server
    server.listener.close()


def refused(url: str, **limits: Any) -> MediaError:
    """Why a fetch fails."""

    async def run() -> None:
        fetcher = Fetcher(MediaLimits(**limits))
        ref = MediaRef("image", "here", url=url)
        fetcher.fetch(await fetcher.bring(ref))

    with pytest.raises(MediaError) as caught:
        asyncio.run(run())
    return caught.value


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0"])
def test_cve_2025_6242_cve_2026_33626_vllm_57157_sglang_17269_private_hosts(
    inside: Inside, host: str, allowed: bool
) -> None:
    refused(f"http://{host}:{inside.port}/", allow_remote=allowed)
    assert inside.hits == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:6666\\@1.1.1.1",
        "http://1.1.1.1\\@127.0.0.1/",
        "http://1.1.1.1 &@127.0.0.1# @1.1.1.1/",
        "http:\\\\127.0.0.1/",
        "http://example.org\uff20127.0.0.1/",
    ],
)
def test_cve_2026_24779_cve_2026_25960_cve_2026_46526_two_parsers(url: str) -> None:
    with pytest.raises(AddressError):
        parse(url)


@pytest.mark.parametrize("url", [" http://127.0.0.1/", "\x01http://a/", "http://[::1]b/", "http://[fe80::1%25a]/"])
def test_cve_2023_24329_cve_2024_11168_odd_hosts(url: str) -> None:
    with pytest.raises(AddressError):
        parse(url)


def test_cve_2026_63764_a_redirect_is_checked_like_an_address(inside: Inside) -> None:
    named = {"allow_hosts": frozenset({"127.0.0.1"})}
    assert "not allowed" in refused(f"{inside.url}/elsewhere", **named).message
    assert "not allowed" in refused(f"{inside.url}/file", **named).message


def test_cve_2026_34753_vllm_43117_one_way_out_and_one_decoder_each() -> None:
    homes: dict[str, set[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                homes.setdefault(ast.unparse(node.func), set()).add(path.name)
    assert homes["asyncio.open_connection"] == {"remote.py"}
    assert homes["av.open"] <= {"video.py", "outside.py"} | {path.name for path in SOURCES if "demo" in path.parts}
    served = {path.name for path in SOURCES if "demo" not in path.parts and "bench" not in path.parts}
    assert not homes.get("Image.open", set()) & served
    assert not {"requests.get", "urlopen", "httpx.get", "socket.create_connection"} & homes.keys()


@pytest.mark.parametrize("name", ["packed"])
def test_cve_2025_69223_cve_2026_21441_cve_2026_128131_packed_bodies(inside: Inside, name: str) -> None:
    error = refused(f"{inside.url}/{name}", allow_hosts=frozenset({"127.0.0.1"}))
    assert "packed" in error.message
    assert "Accept-Encoding: identity" in inside.heads[-1]


@pytest.mark.parametrize(
    "name", ["../secret.png", "..%2fsecret.png", "a/../../secret.png", "link/secret.png", "/etc/passwd"]
)
def test_cve_2024_1728_cve_2024_1561_cve_2023_51449_cve_2024_47164_files_outside(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path)
    for url in (name, f"file://{root}/{name}", f"FILE:{name}"):
        assert str(tmp_path) not in refused(url, media_root=root).message


def test_cve_2016_1897_cve_2016_1898_playlists(tmp_path: Path, inside: Inside) -> None:
    hits = inside.hits
    for text in (
        f"#EXTM3U\n#EXTINF:1,\n{inside.url}/x.ts\n",
        f"ffconcat version 1.0\nfile '{inside.url}/x.mp4'\n",
        f'<?xml version="1.0"?><MPD><Period><BaseURL>{inside.url}/</BaseURL></Period></MPD>',
        f"concat:{inside.url}|{inside.url}",
    ):
        for data in (text.encode(), b"\0" * 4 + b"ftypisom" + text.encode(), b"G" + b"\0" * 187 + b"G" + text.encode()):
            with pytest.raises(MediaError):
                frames_of(data, "video")
    assert inside.hits == hits


# --- files made to harm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"", b"\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_cve_2026_22778_no_heap_address_in_an_error(head: bytes, kind: str) -> None:
    for data in (head, head + b"\0" * 50):
        with pytest.raises(MediaError) as caught:
            picture_of(data, kind)
        assert not re.search(r"0x[0-9a-f]{4,}|object at|\bio\.|/", f"{caught.value.message} {caught.value.hint}")


def coded(codec: str, container: str, pixels: str = "yuv420p") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for _ in range(4):
            output.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8)).reformat(format=pixels))
            )
        output.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize(
    ("codec", "container", "pixels"),
    [
        ("jpeg2000", "mov", "rgb24"),
        ("jpeg2000", "mp4", "rgb24"),
        ("qtrle", "mov", "rgb24"),
        ("ffv1", "matroska", "yuv420p"),
        ("mpeg2video", "mpegts", "yuv420p"),
        ("prores_ks", "mov", "yuv422p10le"),
        ("png", "mov", "rgb24"),
        ("huffyuv", "avi", "yuv422p"),
    ],
)
def test_cve_2025_9951_cve_2026_22778_codecs_beside_the_list(codec: str, container: str, pixels: str) -> None:
    with pytest.raises(MediaError, match=r"is coded as \w+; supported are h264, hevc"):
        frames_of(coded(codec, container, pixels), "video")


def test_cve_2026_125251_cve_2026_125196_cve_2026_125227_cve_2026_125259_no_vvc_no_encoders() -> None:
    assert not {"vvc", "jpeg2000", "libopenjpeg", "magicyuv"} & set(DECODERS)
    assert set(CODECS) == {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "gif"}
    assert set(VIDEOS.values()) == {"mov", "matroska", "avi", "mpegts", "gif"}
    said = (Path(saccade.__file__).parent / "media" / "video.py").read_text()
    assert not re.search(r"add_stream|filter|bitstream", said)


def test_cve_2026_22773_vllm_15080_one_pixel(rng: np.random.Generator) -> None:
    for height, width in ((1, 1), (26, 28), (1, 200), (5, 1000)):
        assert picture_of(encoded(drawn(rng, height, width), "PNG")).num_tokens >= 1


@pytest.mark.parametrize(("width", "height"), [(52800, 44), (5, 1093), (1, 201), (40000, 1)])
def test_llama_cpp_minicpm_jundot_omlx_3529_extreme_shapes(width: int, height: int) -> None:
    with pytest.raises(MediaError, match="200 times the other"):
        picture_of(encoded(Image.new("L", (width, height)), "PNG"))


def test_cve_2026_34755_frames_are_counted_before_they_are_decoded() -> None:
    url = "data:video/jpeg;base64," + ",".join(["/9j/"] * 100_000)
    began = time.process_time()
    with pytest.raises(MediaError, match="a list of 100,000 frames; at most 768"):
        Fetcher(MediaLimits()).fetch(MediaRef("video", "", url=url))
    with pytest.raises(MediaError, match="a list of 769 frames"):
        Fetcher(MediaLimits()).fetch(MediaRef("video", "", frames=("data:,x",) * 769))
    assert time.process_time() - began < 0.1


def test_cve_2026_105758_cve_2026_105760_the_server_s_ceiling_holds() -> None:
    file = film(num_frames=30)
    for wishes in ({"num_frames": 10**9}, {"num_frames": 769}, {"fps": 0.0}, {"fps": float("inf")}, {"fps": -1.0}):
        with pytest.raises(MediaError):
            frames_of(file, "video", **wishes)
    tracemalloc.start()
    ref = MediaRef("video", "", fps=1e300)
    assert len(Sampling().indices(200_000, 30.0, ref, 768)) == 768
    assert len(frames_of(file, "video", fps=1e308).indices) == 30
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()


def test_cve_2026_100650_sizes_are_known_before_anything_is_decoded() -> None:
    limits = MediaLimits(max_file_bytes=1000)
    urls = ["data:;base64," + "A" * 40_000_000, "data:," + "%41" * 10_000_000, "data:;base64," + "%41" * 10_000_000]
    for url in urls:
        tracemalloc.start()
        with pytest.raises(MediaError, match="larger than 1,000 bytes"):
            Fetcher(limits).fetch(MediaRef("image", "", url=url))
        assert tracemalloc.get_traced_memory()[1] < 45_000_000, "the payload itself, and nothing made of it"
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"SIMPLE  =                    T" + b" " * 2850,
        b"\x1f\x8b\x08\0SIMPLE  =",
        b"STARTFONT 2.1\nSIZE 99999999 75 75\n",
        b"\xff\xfe" + b"\0" * 100,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"DDS |" + b"\0" * 200,
        b"8BPS\0\1" + b"\0" * 200,
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 100,
        b"\xffO\xffQ" + b"\0" * 100,
        b"%PDF-1.7\n",
        b"\0\0\0\0\0\0\0\4" + b"\0" * 300,
        b"II*\0" + b"\0" * 100,
        b"qoif" + b"\0" * 100,
        b"icns" + b"\0" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    ],
    ids=[
        "FITS",
        "FITS.gz",
        "BDF",
        "GD",
        "EPS",
        "DDS",
        "PSD",
        "JP2",
        "J2K",
        "PDF",
        "McIdas",
        "TIFF",
        "QOI",
        "ICNS",
        "SVG",
    ],
)
def test_cve_2026_40192_55379_55380_2025_48379_2026_25990_rare_formats(data: bytes) -> None:
    assert sniff(data) not in PICTURES
    with pytest.raises(MediaError, match="supported are JPEG, PNG, WebP, GIF, BMP"):
        frames_of(data)


def test_cve_2025_15514_base64_that_is_no_picture() -> None:
    for text in (b"hello", b"\0", b"\xff\xd8", b"\x89PNG", b"RIFF\0\0\0\0WEBP"):
        ref = MediaRef("image", "", url=f"data:image/png;base64,{base64.b64encode(text).decode()}")
        with pytest.raises(MediaError):
            frames_of(Fetcher(MediaLimits()).fetch(ref).data)


def test_pillow_s_own_guard_is_too_wide() -> None:
    """9400 x 9400 raises no warning there, and takes 670 MB."""
    began = time.process_time()
    with pytest.raises(MediaError, match="88,360,000 pixels; at most 40,000,000"):
        frames_of(encoded(Image.new("L", (9400, 9400)), "PNG"))
    assert time.process_time() - began < 2.0


# --- caches ----------------------------------------------------------------------------------------------------------


def test_cve_2025_46722_shape_mode_and_palette_are_in_the_key(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, 96 * 320, dtype=np.uint8)
    one, other = (encoded(Image.fromarray(grey.reshape(shape)), "PNG") for shape in ((96, 320), (320, 96)))
    keys = {picture_of(data).key for data in (one, other)}
    indexed = Image.fromarray(grey.reshape(96, 320) % 4).convert("P")
    for palette in ([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255], [0, 0, 0, 9, 9, 9, 99, 99, 99, 200, 200, 200]):
        indexed.putpalette(palette)
        keys.add(picture_of(encoded(indexed, "PNG")).key)
    assert len(keys) == 4


def test_vllm_hasher_exif_image_id_is_no_identity(rng: np.random.Generator) -> None:
    exif = Image.Exif()
    exif[0xA420] = "4fb5b4d3-6d7b-4b6e-9d0c-3a1b2c3d4e5f"  # ImageUniqueID
    files = [encoded(Image.fromarray(drawn(rng, 64, 64)), "PNG", exif=exif) for _ in range(2)]
    assert picture_of(files[0]).key != picture_of(files[1]).key
    assert Fetcher(MediaLimits()).fetch(MediaRef("image", "", data=files[0])).digest not in files[1].hex()


def test_cve_2025_46570_files_of_others_are_as_good_as_absent() -> None:
    store = MediaStore(1000)
    digest = store.put(b"file", b"victim") or ""
    assert store.get(digest, b"attacker") is store.get("0" * 64, b"attacker") is None


def test_cve_2025_29770_every_cache_has_a_limit() -> None:
    store = MediaStore(10_000)
    for number in range(1000):
        store.put(zlib.compress(number.to_bytes(4, "big") * 20), number.to_bytes(4, "big"))
        assert store.used <= 10_000
    assert len(store) < 1000
