"""Pages of PDF files: what is drawn on them, what it may cost, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from saccade.errors import MediaError
from saccade.media.decoders import Decoders
from saccade.media.frames import Sampling, decode
from saccade.media.limits import Decoding, MediaLimits
from saccade.types import Blob, MediaRef

pytest.importorskip("pypdfium2", reason="the extra pdf is not installed")
COLORS = [(200, 30, 40), (20, 160, 60), (30, 60, 220)]
LIMITS = MediaLimits()


def paper(colors: list[tuple[int, int, int]] = COLORS, size: tuple[int, int] = (300, 400)) -> bytes:
    """A page of each colour, `size` (width, height) in points, with a white corner at the upper left."""
    pages = [Image.new("RGB", size, color) for color in colors]
    for page in pages:
        page.paste((255, 255, 255), (0, 0, size[0] // 4, size[1] // 4))
    out = io.BytesIO()
    pages[0].save(out, "PDF", save_all=True, append_images=pages[1:], resolution=72)
    return out.getvalue()


def locked() -> bytes:
    """The same with a password that nobody knows."""
    words = f"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{'11' * 32}> /U <{'22' * 32}> >> /ID [<00> <00>]"
    return paper().replace(b"trailer\n<<", b"trailer\n<< " + words.encode())


def ref_of(number: int | None, **wishes: int) -> MediaRef:
    return MediaRef("image", "number", data=b"", page=number, **wishes)


@pytest.fixture(scope="module")
def pool() -> Iterator[Decoders]:
    decoders = Decoders(LIMITS, Sampling(), Decoding(1))
    yield decoders
    decoders.close()


def test_each_page_is_as_it_was_drawn(pool: Decoders) -> None:
    blob = Blob(paper(), "")
    for number, color in enumerate(COLORS, 1):
        with pool.decode(blob, ref_of(number)) as frames:
            (pixels,) = (frame.copy() for frame in frames.pixels)
        assert (frames.num_pages, frames.size, pixels.shape) == (3, (800, 600), (800, 600, 3))
        assert np.abs(pixels[700, 500].astype(int) - color).max() < 12, "JPEG within the file"
        assert pixels[50, 50].min() > 243
        here = decode(blob, ref_of(number), LIMITS)
        assert np.array_equal(next(iter(here.pixels)), pixels)


def test_a_page_has_no_more_pixels_than_are_wanted() -> None:
    frames = decode(Blob(paper(), ""), ref_of(1, max_pixels=30_000), LIMITS)
    height, width = frames.size
    assert 0.97 * 30_000 < height * width <= 30_000
    assert abs(height / width - 4 / 3) < 0.02


@pytest.mark.parametrize(
    ("data", "number", "words"),
    [
        (paper(), 4, "has 3 pages; there is no page 4"),
        (locked(), 1, "locked with a password"),
        (paper()[:200], 1, "The PDF file is damaged or cut off"),
        (b"%PDF-1.7\n%%EOF", 1, "The PDF file is damaged or cut off"),
        (b"\x89PNG\r\n\x1a\n", 1, "The file is PNG, and only a PDF has pages"),
        (paper(), None, "The picture is PDF"),
    ],
)
def test_refusals(pool: Decoders, data: bytes, number: int | None, words: str) -> None:
    with pytest.raises(MediaError, match=words) as refusal, pool.decode(Blob(data, ""), ref_of(number)) as frames:
        list(frames.pixels)
    assert refusal.value.param == "number"


@pytest.mark.parametrize("size", [b"3000000000 1", b"14400 14400", b"0.5 0.5"])
def test_a_page_of_any_size_stays_within_the_limit(pool: Decoders, size: bytes) -> None:
    data = paper().replace(b"0 0 300.0 400.0", b"0 0 " + size)
    assert data != paper()
    with pool.decode(Blob(data, ""), ref_of(1)) as frames:
        list(frames.pixels)
    assert 1 <= frames.size[0] * frames.size[1] <= LIMITS.max_pixels


def test_damaged_files_are_read_or_refused(pool: Decoders, rng: np.random.Generator) -> None:
    """And the decoder lives on, or is replaced: either way the next file is read."""
    whole = paper()
    for _ in range(40):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(8, len(data), 30)] = rng.integers(0, 256, 30)
        try:
            with pool.decode(Blob(data.tobytes(), ""), ref_of(1)) as frames:
                assert all(frame.shape[2] == 3 for frame in frames.pixels)
        except MediaError:
            pass
    with pool.decode(Blob(whole, ""), ref_of(2)) as frames:
        assert frames.num_pages == 3
        list(frames.pixels)
