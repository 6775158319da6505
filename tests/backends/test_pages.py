"""A PDF file that is kept, and its pages one by one."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator

import pytest
from PIL import Image

from saccade.backends.pictures import Pictures
from saccade.errors import MediaError
from saccade.media.frames import Sampling
from saccade.media.limits import MediaLimits
from saccade.media.pixels import ImagePlan, Plans, VideoPlan
from saccade.types import MediaRef

LIMITS = MediaLimits()
PLANS = Plans(ImagePlan(1024, 60_000), VideoPlan(4096, 25_165_824, 0, 60_000, Sampling()), 60_000)


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    found = Pictures(LIMITS, PLANS)
    yield found
    found.close()


def _paper() -> bytes:
    pages = [Image.new("RGB", (300, 400), color) for color in ("red", "blue")]
    out = io.BytesIO()
    pages[0].save(out, "PDF", save_all=True, append_images=pages[1:], resolution=72)
    return out.getvalue()


def test_pages_of_a_kept_file(pictures: Pictures) -> None:
    pytest.importorskip("pypdfium2", reason="the extra pdf is not installed")

    async def run() -> None:
        kept, picture = await pictures.keep(MediaRef("image", "body", data=_paper()), b"mine")
        assert (kept.kind, kept.num_pages, kept.num_tokens, picture) == ("pdf", 2, 0, None)
        assert pictures.keeps(kept.digest, b"mine")
        for number, channel in ((1, 0), (2, 2)):
            page = Image.open(io.BytesIO(await pictures.page(kept.digest, number, b"mine")))
            assert page.getpixel((50, 50))[channel] > 240
            assert (page.height, page.width) == kept.size
            assert 0.97 * 60_000 < page.width * page.height <= 60_000, "as much as the checkpoint was made for"
        for digest, number, salt, words in (
            (kept.digest, 3, b"mine", "has 2 pages"),
            (kept.digest, 1, b"other", "not here"),
            ("0" * 64, 1, b"mine", "not here"),
        ):
            with pytest.raises(MediaError, match=words):
                await pictures.page(digest, number, salt)

    asyncio.run(run())


def test_without_the_extra_a_pdf_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, pictures: Pictures) -> None:
    monkeypatch.setattr("saccade.backends.pictures.can_read", lambda: False)
    assert pictures.facts()["pdf"] == 0
    with pytest.raises(MediaError) as refusal:
        asyncio.run(pictures.keep(MediaRef("image", "body", data=_paper()), b""))
    assert "cannot read PDF files" in refusal.value.message
    assert "saccade[pdf]" in (refusal.value.hint or "")
