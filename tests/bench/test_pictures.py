"""Pictures are equal for equal seeds and different otherwise, and as heavy as real ones."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from saccade.bench.pictures import Pictures


def opened(url: str) -> tuple[Image.Image, int]:
    head, _, data = url.partition(",")
    raw = base64.b64decode(data)
    picture = Image.open(io.BytesIO(raw))
    assert head == f"data:image/{str(picture.format).lower()};base64"
    return picture, len(raw)


@pytest.mark.parametrize("kind", ["photo", "screen"])
def test_seeds(kind: str) -> None:
    one, same, other = (getattr(Pictures(seed), kind) for seed in (1, 1, 2))
    first = one(96, 64)
    assert first == same(96, 64)
    assert len({first, one(96, 64), other(96, 64)}) == 3


@pytest.mark.parametrize("size", [(1, 1), (31, 65), (224, 224), (640, 480)])
@pytest.mark.parametrize("kind", ["photo", "screen"])
def test_sizes(kind: str, size: tuple[int, int]) -> None:
    picture, _ = opened(getattr(Pictures(), kind)(*size))
    assert (picture.size, picture.mode) == (size, "RGB")
    assert picture.format == {"photo": "JPEG", "screen": "PNG"}[kind]


def test_weights() -> None:
    """A photograph of a megapixel has some hundred kilobytes; a screen is mostly flat."""
    assert 150_000 < opened(Pictures().photo(1024, 1024))[1] < 400_000
    assert 20_000 < opened(Pictures().screen(1024, 1024))[1] < 250_000
