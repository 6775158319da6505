"""Laws of the synthetic world: what is answered is what is drawn, and the same seed draws the same."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from saccade.demo.world import Sample, World, draw
from saccade.demo.world.blocklist import UNFORTUNATE
from saccade.demo.world.draw import MIXTURE, weights
from saccade.demo.world.faces import COMMON, FAMILIES
from saccade.demo.world.paper import Look, Paper, contrast
from saccade.demo.world.typefaces import FOLDER, files
from saccade.demo.world.vocabulary import GOODS, Vocabulary, share, words
from saccade.demo.world.widgets import Theme

TEXT = ("words", "lines", "repeats", "receipt", "form", "table", "window")
KINDS = tuple(kind for kind, _ in MIXTURE)


@cache
def samples(kind: str, count: int = 50) -> tuple[Sample, ...]:
    return tuple(draw(7, i, World(kinds={kind: 1.0})) for i in range(count))


def digest(count: int) -> str:
    """Of everything in the first samples of the default world."""
    state = hashlib.sha256()
    for i in range(count):
        sample = draw(3, i, World())
        state.update(sample.frames.tobytes())
        state.update(repr((sample.kind, sample.timestamps, sample.turns)).encode())
        for part in sample.letters:
            state.update(part.tobytes())
    return state.hexdigest()


def test_the_same_seed_draws_the_same_bytes_in_any_process() -> None:
    there = subprocess.run(
        [sys.executable, "-c", "from test_world import digest; print(digest(25))"],
        cwd=__file__.rsplit("/", 1)[0], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.stdout.strip() == digest(25)


def test_another_index_draws_another_picture() -> None:
    first, second = draw(1, 0, World()), draw(1, 1, World())
    assert first.turns != second.turns


@pytest.mark.parametrize("kind", KINDS)
def test_frames_turns_and_letters_have_their_shape(kind: str) -> None:
    for sample in samples(kind):
        assert sample.kind == kind
        frames = sample.frames
        height, width = frames.shape[1:3]
        assert frames.dtype == np.uint8
        assert frames.ndim == 4
        assert frames.shape[3] == 3
        assert (height % 32, width % 32) == (0, 0)
        assert height > 0 or kind == "chat"
        assert height * width // 256 <= 1900
        assert 1 <= len(sample.turns) <= 6
        assert all(turn.question.strip() and turn.answer.strip() for turn in sample.turns)
        codes, xs, ys = sample.letters
        assert codes.dtype == np.uint8
        assert xs.dtype == ys.dtype == np.int16
        assert len(codes) == len(xs) == len(ys)
        assert np.all((xs >= 0) & (xs < width) & (ys >= 0) & (ys < height))
        assert 32 not in codes
        pairs = frames.shape[0] // 2 if kind == "video" else 0
        assert len(sample.timestamps) == pairs


@pytest.mark.parametrize("kind", TEXT)
def test_reading_gives_every_drawn_character_and_no_other(kind: str) -> None:
    read = [(turn.answer, s) for s in samples(kind) for turn in s.turns if turn.task == "read"]
    assert read
    for answer, sample in read:
        drawn = Counter(bytes(sample.letters[0]).decode("cp1252"))
        assert drawn == Counter(re.sub(r"\s", "", answer))


@pytest.mark.parametrize("kind", TEXT)
def test_what_is_read_in_full_holds_every_other_answer(kind: str) -> None:
    for sample in samples(kind):
        whole = [turn.answer for turn in sample.turns if turn.task == "read"]
        for turn in sample.turns:
            if whole and turn.task in ("line", "total", "field", "at"):
                assert turn.answer in whole[0]
            if whole and turn.task == "absent":
                name = re.findall('"(.*?)"', turn.answer)[0]
                assert name.lower() not in whole[0].lower()


@pytest.mark.parametrize("kind", [*TEXT, "shapes"])
def test_boxes_lie_on_the_page(kind: str) -> None:
    for sample in samples(kind):
        for turn in sample.turns:
            if turn.task == "locate":
                assert turn.truth is not None
                x1, y1, x2, y2 = turn.truth["bbox"]
                assert 0 <= x1 < x2 <= 1000
                assert 0 <= y1 < y2 <= 1000
                assert json.loads(turn.answer)["bbox_2d"] == [x1, y1, x2, y2]


@pytest.mark.parametrize("kind", ["words", "lines", "repeats", "receipt", "table"])
def test_a_located_word_has_its_letters_in_its_box_and_ink_to_all_sides(kind: str) -> None:
    for sample in samples(kind, 120):
        for turn in sample.turns:
            if turn.task != "locate" or turn.truth is None:
                continue
            height, width = sample.frames.shape[1:3]
            x1, y1, x2, y2 = (v * side / 1000 for v, side in zip(turn.truth["bbox"], (width, height) * 2, strict=True))
            codes, xs, ys = sample.letters
            inside = (xs >= x1 - 2) & (xs <= x2 + 1) & (ys >= y1 - 2) & (ys <= y2 + 1)
            name = json.loads(turn.answer)["label"].replace(" ", "")
            assert Counter(bytes(codes[inside]).decode("cp1252")) == Counter(name)
            assert xs[inside].min() - x1 < 20
            assert x2 - xs[inside].max() < 24


def test_json_answers_are_their_truth() -> None:
    asked = [turn for kind in TEXT for s in samples(kind) for turn in s.turns if turn.task == "json"]
    assert len(asked) > 20
    for turn in asked:
        assert turn.truth is not None
        assert json.loads(turn.answer) == turn.truth["value"]


def cents(text: str) -> int:
    return int(re.sub(r"\D", "", text))


def test_receipts_add_up() -> None:
    bills = [
        turn.truth["value"] for s in samples("receipt", 120) for turn in s.turns if turn.task == "json" and turn.truth
    ]
    assert len(bills) > 20
    for bill in bills:
        subtotal = sum(cents(item["price"]) for item in bill["items"])
        if "tax" in bill:
            assert subtotal == cents(bill["subtotal"])
            assert subtotal + cents(bill["tax"]) == cents(bill["total"])
        else:
            assert subtotal == cents(bill["total"])


class Checker(HTMLParser):
    """Collects texts and values; unclosed or crossed tags are an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "input":
            self.open.append(tag)
        self.texts += [value for name, value in attrs if name == "value" and value is not None]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)


def test_html_is_well_formed_and_says_what_the_window_says() -> None:
    asked = [turn for s in samples("window", 120) for turn in s.turns if turn.task == "html"]
    assert len(asked) > 15
    for turn in asked:
        checker = Checker()
        checker.feed(turn.answer)
        checker.close()
        assert checker.open == []
        assert turn.truth is not None
        assert " ".join(checker.texts) == " ".join(turn.truth["texts"])


def test_every_task_of_text_comes_first_now_and_then() -> None:
    first = {s.turns[0].task for kind in TEXT for s in samples(kind)}
    anywhere = {turn.task for kind in TEXT for s in samples(kind) for turn in s.turns}
    assert anywhere <= first | {"absent", "cannot"}
    assert {"read", "line", "total", "field", "checked", "json", "locate", "list", "at", "html", "count"} <= first


def test_families_are_in_one_part_and_all_files_are_named() -> None:
    names = [name for name, _, _ in FAMILIES]
    assert len(names) == len(set(names))
    assert {split for _, split, _ in FAMILIES} == {"known", "unseen"}
    assert set(files("known")).isdisjoint(files("unseen"))
    assert {path.name for path in FOLDER.glob("*.ttf")} == set(files("known")) | set(files("unseen"))
    assert len(files("known")) >= 60
    assert sum(split == "unseen" for _, split, _ in FAMILIES) >= 10
    assert set(COMMON) <= set(files("known"))


def test_held_out_words_are_never_trained_on() -> None:
    assert len(words("train")) >= 8000
    assert len(words("test")) >= 1000
    assert set(words("train")).isdisjoint(words("test"))
    assert set(share(GOODS, "train")).isdisjoint(share(GOODS, "test"))
    train = {w.lower() for s in samples("words") for t in s.turns if t.task == "read" for w in t.answer.split()}
    assert train.isdisjoint(words("test"))
    drawn = [draw(1, i, World(split="test", kinds={"words": 1.0})) for i in range(40)]
    read = {w for s in drawn for t in s.turns if t.task == "read" for w in re.findall("[a-z]{4,}", t.answer)}
    assert len(read & set(words("test"))) > 10


def test_unfortunate_words_are_on_no_page() -> None:
    assert not UNFORTUNATE & {*words("train"), *words("test")}


def test_random_letters_can_be_told_from_their_neighbours() -> None:
    write = Vocabulary(np.random.default_rng(0), "train")
    for _ in range(2000):
        text = write.letters(1 + write.below(8))
        assert len(text) > 1
        assert text.islower() or text.isupper() or not set("lI") & set(text)
        assert set(text.lower()) - set("cilosuvwxz"), text


def test_ink_reads_on_its_ground() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        look, theme = Look.pick(rng), Theme.pick(rng)
        pairs = [
            (look.ground, look.ink),
            (look.ground, look.accent),
            (theme.ground, theme.ink),
            (theme.bar, theme.bar_ink),
        ]
        pairs += [(theme.well, theme.well_ink), (theme.button, theme.button_ink), (theme.main, theme.main_ink)]
        assert all(contrast(a, b) >= 2.5 for a, b in pairs)


def test_training_has_more_small_letters_than_a_test() -> None:
    def small(world: World) -> float:
        rng = np.random.default_rng(3)
        return float(np.mean([Paper.pick(rng, world).letter(rng) < 17 for _ in range(2000)]))

    assert small(World(split="train")) > small(World(split="test")) + 0.1
    assert 0.25 < small(World(split="test")) < 0.4


def test_training_repeats_lines_and_words_more_than_a_test() -> None:
    def repeated(world: World) -> float:
        """Share of the pages on which a line stands right below itself."""
        found, pages = 0, 0
        for i in range(150):
            for turn in draw(6, i, world).turns:
                if turn.task == "read":
                    lines = turn.answer.split("\n")
                    found += any(a == b for a, b in pairwise(lines))
                    pages += 1
        return found / pages

    only = {"repeats": 1.0}
    assert repeated(World(split="train", kinds=only)) > repeated(World(split="test", kinds=only)) + 0.1


def test_the_first_stage_is_small_and_has_only_text() -> None:
    assert set(weights(World(stage=0.0))) == {"words", "lines"}
    assert set(weights(World(stage=0.3))) == set(KINDS)
    for i in range(60):
        sample = draw(2, i, World(stage=0.0))
        assert sample.frames.shape[1] * sample.frames.shape[2] // 256 <= 320


@pytest.mark.parametrize("stage", [0.02, 0.1, 0.3, 0.5])
def test_every_kind_can_be_drawn_at_every_stage(stage: float) -> None:
    for kind in KINDS:
        for i in range(4):
            assert draw(11, i, World(stage=stage, kinds={kind: 1.0})).kind == kind


def test_one_core_draws_a_hundred_pictures_a_second() -> None:
    for i in range(100):
        draw(4, i, World(stage=0.5))
    start = time.process_time()
    for i in range(100):
        draw(4, i, World(stage=0.5))
    assert time.process_time() - start < 1.0


def test_what_a_kind_draws_does_not_hang_on_how_the_kind_was_drawn() -> None:
    large = Counter[str]()
    for i in range(900):
        sample = draw(6, i, World())
        large[sample.kind] += sample.frames.shape[1] * sample.frames.shape[2] // 256 > 1200
    assert sum(large[kind] > 0 for kind in TEXT) >= 3
