"""Laws of the question bank: enough phrasings, unseen ones really unseen, slots kept, refusals apart from the rest."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from saccade.demo.world import ask as bank
from saccade.demo.world.ask import ask, form_of, preset

CASES: dict[str, tuple[str, dict[str, bank.Slot]]] = {
    "read": ("read", {}),
    "line": ("line", {"n": 3}),
    "total": ("total", {}),
    "field": ("field", {"name": "Email"}),
    "field_price": ("field", {"name": "Apples", "what": "price"}),
    "field_plain": ("field", {"name": "date", "what": "plain"}),
    "field_cell": ("field", {"name": "Price", "row": "Apples", "what": "cell"}),
    "checked": ("checked", {"name": "Agree"}),
    "json": ("json", {"what": "receipt"}),
    "locate": ("locate", {"name": "Save", "what": "button"}),
    "locate_shape": ("locate", {"name": "red circle", "what": "shape"}),
    "list": ("list", {"what": "buttons"}),
    "at": ("at", {"x": 512, "y": 304}),
    "html": ("html", {}),
    "color": ("color", {"name": "circle"}),
    "kind": ("kind", {"color": "red"}),
    "count": ("count", {"what": "red shapes"}),
    "position": ("position", {"name": "red circle"}),
    "position_side": ("position", {"name": "red circle", "side": "left"}),
    "chart_value": ("chart_value", {"name": "Oslo"}),
    "chart_highest": ("chart_highest", {}),
    "chart_lowest": ("chart_lowest", {}),
    "when": ("when", {"name": "red circle", "event": "appears"}),
    "video_appears": ("video_what", {"about": "appears"}),
    "video_leaves": ("video_what", {"about": "leaves"}),
    "video_moves": ("video_what", {"about": "moves", "name": "red circle"}),
    "video_color": ("video_what", {"about": "color", "name": "circle", "seconds": 2.5}),
    "describe": ("describe", {}),
    "describe_video": ("describe", {"what": "video"}),
    "cannot": ("cannot", {}),
    "cannot_seen": ("cannot", {"about": "picture"}),
    **{f"hello_{about}": ("hello", {"about": about}) for about in ("hi", "who", "can", "how", "thanks", "bye")},
}
FEW_UNSEEN = {form for form in CASES if form.startswith(("hello_", "video_"))}
"""Forms that share one task: thirty ways for the task together."""


def draws(form: str, wording: bank.Wording, number: int, seed: int = 0) -> list[str]:
    task, slots = CASES[form]
    rng = np.random.default_rng(seed)
    return [ask(task, rng, wording, **slots) for _ in range(number)]


def plain(question: str) -> str:
    """A question without case, end marks and the difference between quotes."""
    return " ".join(re.sub(r"[?.!,'\"]+", " ", question.lower()).split())


def expression(row: bank.Tree) -> str:
    """A parsed pattern as a regular expression over plain() templates."""
    return "".join(
        re.escape(re.sub(r"[?.!,'\"]+", " ", part.lower()).replace("{q}", "{name}")).replace(r"\ ", " *")
        if isinstance(part, str)
        else f"(?:{'|'.join(expression(option) for option in part)})"
        for part in row
    )


@cache
def grammar(form: str) -> re.Pattern[str]:
    """Everything the training grammar makes of a form before its slots are filled."""
    ways = [expression(bank.parse(pattern)) for pattern in bank.TRAIN[form]]
    frames = [expression((frame.replace("{}", "\0"),)) for frame in bank._FRAMES]
    orders = "|".join(expression(bank.parse(p)) for p in bank.TRAIN[form] if p.startswith("!")) or "(?!)"
    framed = [frame.replace(re.escape("\0"), "\0").replace("\0", f"(?:{orders})") for frame in frames]
    asked = "|".join(expression(bank.parse(p)) for p in bank.TRAIN[form] if p.endswith("?")) or "(?!)"
    tails = "|".join(expression((tail,)) for tail in bank.TAILS)
    framed.append(f"(?:{asked}) *(?:{tails})")
    first, last = ("|".join(expression((text,)) for text in texts) for texts in (bank.OPENINGS, bank.CLOSINGS))
    return re.compile(f" *(?:{first})?(?: *(?:" + "|".join([*ways, *framed]) + f")) *(?:{last})? *")


def test_every_form_is_a_case() -> None:
    assert set(CASES) == set(bank.TRAIN) == set(bank.UNSEEN)
    assert {form_of(task, slots) for task, slots in CASES.values()} == set(CASES)


@pytest.mark.parametrize("form", CASES)
def test_training_has_fifty_phrasings_beyond_case_and_end_marks(form: str) -> None:
    assert len({plain(question) for question in draws(form, "train", 1500)}) >= 50


@pytest.mark.parametrize("form", CASES)
def test_the_grammar_describes_what_training_draws(form: str) -> None:
    rng = np.random.default_rng(1)
    for pattern in bank.TRAIN[form]:
        template = bank._draw(bank.parse(pattern), rng)
        assert grammar(form).fullmatch(plain(template).replace("{q}", "{name}")), template


@pytest.mark.parametrize("form", CASES)
def test_unseen_phrasings_cannot_come_out_of_training(form: str) -> None:
    for template in bank.UNSEEN[form]:
        assert not grammar(form).fullmatch(plain(template).replace("{q}", "{name}")), template
    trained = {plain(question) for question in draws(form, "train", 1500)}
    assert not trained & {plain(question) for question in draws(form, "unseen", 500)}


@pytest.mark.parametrize("form", CASES)
def test_unseen_phrasings_are_many_and_distinct(form: str) -> None:
    templates = bank.UNSEEN[form]
    assert len(set(templates)) == len(templates) >= (10 if form in FEW_UNSEEN else 30)


@pytest.mark.parametrize("form", [form for form in CASES if form in bank.PRESET])
def test_the_preset_is_asked_in_about_two_of_ten(form: str) -> None:
    task, slots = CASES[form]
    share = draws(form, "train", 1000).count(preset(task, **slots)) / 1000
    assert 0.15 < share < 0.3


@pytest.mark.parametrize("form", CASES)
@pytest.mark.parametrize("wording", ["train", "unseen"])
def test_questions_keep_their_slots_and_leave_no_brackets(form: str, wording: bank.Wording) -> None:
    slots = CASES[form][1]
    for question in draws(form, wording, 400):
        assert not re.search(r"[{}|$]|  |^\s|\s$", question), question
        if "name" in slots:
            assert str(slots["name"]) in question
        if form in ("count", "list"):
            assert str(slots["what"]) in question
        if form == "at":
            assert "512" in question
            assert "304" in question
        if form == "video_color":
            assert "2.5" in question


@pytest.mark.parametrize("form", ["read", "when", "cannot", "locate"])
def test_the_same_dice_ask_the_same(form: str) -> None:
    assert draws(form, "train", 50, seed=5) == draws(form, "train", 50, seed=5) != draws(form, "train", 50, seed=6)


@pytest.mark.parametrize("wording", ["train", "unseen"])
def test_what_is_refused_is_never_what_can_be_answered(wording: bank.Wording) -> None:
    apart = {form: {plain(question) for question in draws(form, wording, 4000)} for form in ("cannot", "cannot_seen")}
    assert not apart["cannot"] & apart["cannot_seen"]
    refused = apart["cannot"] | apart["cannot_seen"]
    assert len(refused) >= (4000 if wording == "train" else 90)
    for form in CASES:
        if form not in apart:
            assert not refused & {plain(question) for question in draws(form, wording, 800)}, form


def test_no_two_forms_share_a_question_about_different_things() -> None:
    """The same words must not call for two answers; forms that differ by slots alone are left out."""
    apart = ["read", "total", "json", "html", "describe", "describe_video", "chart_highest", "chart_lowest"]
    sets = {form: {plain(question) for question in draws(form, "train", 1500)} for form in apart}
    shared = {
        (a, b): both for a in apart for b in apart if a < b and (both := sets[a] & sets[b]) if "describe" not in b
    }
    assert not shared
