"""Questions in many words: a task and its slots come in, one way to ask it goes out; knows no pictures and no answers.

Slots by task: read(), line(n), total(), field(name, what="field" | "price" | "plain" | "cell" with row),
checked(name), json(what), locate(name, what="button" | "field" | "checkbox" | "radio" | "word" | "shape" | ...),
absent(as locate), list(what), at(x, y), html(), color(name), kind(color), count(what), position(name[, side]),
chart_value(name), chart_highest(), chart_lowest(), when(event, name), video_what(about="appears" | "leaves" | "moves"
with name | "color" with name and seconds), describe([what="image" | "video"]), cannot([about="picture"]),
hello(about="hi" | "who" | "can" | "how" | "thanks" | "bye").
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, TypeAlias

import numpy as np

from saccade.demo.world import ask_chat, ask_more, ask_train, ask_unseen

Wording: TypeAlias = Literal["train", "preset", "unseen"]
Slot: TypeAlias = str | int | float
Tree: TypeAlias = "tuple[str | tuple[Tree, ...], ...]"

TRAIN = {form: ways + ask_more.TRAIN.get(form, ()) for form, ways in (ask_train.TRAIN | ask_chat.TRAIN).items()}
UNSEEN = ask_unseen.UNSEEN | ask_chat.UNSEEN
SHARED = ask_train.SHARED | ask_more.SHARED | ask_chat.SHARED
PRESET: dict[str, str] = {
    **ask_chat.PRESET,
    "read": "Read all the text in the image.",
    "line": "Read line {n}.",
    "total": "What is the total?",
    "field": "What is in the field {q}?",
    "field_price": "What does {q} cost?",
    "field_plain": "What is the {name}?",
    "field_cell": "What is the {name} of {row}?",
    "checked": "Is {q} checked?",
    "json": "Give this {doc} as JSON.",
    "locate": "Where is {it}?",
    "locate_shape": "Locate {it}.",
    "list": "List the {what}.",
    "at": "What is at {p}?",
    "html": "Write this window as HTML.",
    "color": "What color is the {name}?",
    "kind": "What shape is {color}?",
    "count": "How many {what} are there?",
    "position": "Where is the {name}?",
    "position_side": "What is {side} the {name}?",
    "chart_value": "What is the value of {q}?",
    "chart_highest": "Which bar is the highest?",
    "chart_lowest": "Which bar is the lowest?",
    "when": "When does the {name} {base}?",
    "video_appears": "Which shape appears?",
    "video_leaves": "Which shape leaves?",
    "video_moves": "Which way does the {name} move?",
    "video_color": "What color is the {name} at {seconds} seconds?",
    "describe": "Describe the image.",
    "describe_video": "Describe the video.",
}
"""The standard wording of each form."""
PRESET_SHARE = 0.2
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth",
)  # fmt: skip
_FRAMES = (
    "please {}", "{} please", "{}, please", "can you {}?", "could you {}?", "could you please {}?",
    "can you please {}?",
    "I want you to {}", "I need you to {}", "I would like you to {}", "would you {}?",
    "now {}", "{} now", "just {}", "go ahead and {}", "you should {}", "try to {}", "be so kind and {}", "will you {}?",
    "can u {}", "next, {}", "then {}", "{} if you can", "{} for me", "for me, {}", "quickly {}", "simply {}",
    "it would be nice if you {}", "your task is to {}", "is it possible to {}?", "are you able to {}?", "help me: {}",
)  # fmt: skip
OPENINGS = (
    *("hey, ", "hi, ", "hello, ", "ok, ", "so ", "look: ", "question: ", "quick question: ", "one question: "),
    *("excuse me, ", "sorry, ", "well, ", "right, ", "alright, ", "again: ", "dear model, ", "one more thing: "),
    *("good morning. ", "I am in a hurry. ", "I forgot my glasses. ", "a friend sent me this. ", "see the picture. "),
    *("quick one: ", "please help. ", "for my notes: ", "not sure about this one. ", "help, ", "listen, ", "um, "),
    *("look at this. ", "look at this picture. ", "here is an image. ", "I have a question. ", "next: ", "and "),
)
"""What stands before some questions, in lower case; never before small talk."""
CLOSINGS = (
    *(" Thanks.", " Thank you!", " thanks", " It is important.", " I need it for work.", " Be exact.", " Be quick."),
    *(" Thanks in advance!", " Only the answer.", " No explanation.", " Take your time.", " My boss wants to know."),
)
"""What stands behind some."""
TAILS = (" please", ", please", ", do you know", ", any idea", ", can you tell", ", can you see it", " then", ", hm")
"""What stands before the question mark of some."""
_HASTY = {
    "what's": "whats",
    "please": "pls",
    "you": "u",
    "picture": "pic",
    "give me": "gimme",
    "are": "r",
    "the": "teh",
}
_HASTE = re.compile(r"\b(" + "|".join(_HASTY) + r")\b", re.IGNORECASE)
_EVENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "appears": (("appear", "appears"), ("show up", "shows up"), ("come in", "comes in"), ("pop up", "pops up")),
    "leaves": (("leave", "leaves"), ("disappear", "disappears"), ("go away", "goes away"), ("vanish", "vanishes")),
    "changes": (
        ("change color", "changes color"),
        ("change colour", "changes colour"),
        ("change its color", "changes its color"),
        ("turn into another color", "turns into another color"),
    ),
    "starts": (
        ("start moving", "starts moving"),
        ("begin to move", "begins to move"),
        ("start to move", "starts to move"),
    ),
    "stops": (("stop moving", "stops moving"), ("stop", "stops"), ("come to rest", "comes to rest")),
}
EVENTS = tuple(_EVENTS)
_SIDES: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "underneath"),
}
_NOUNS: dict[str, tuple[str, ...]] = {
    "button": ("the {q} button", "the button {q}", "the button labelled {q}", "the button with {q}"),
    "field": ("the {q} field", "the field {q}", "the {q} input", "the input field {q}"),
    "checkbox": ("the {q} checkbox", "the checkbox {q}", "the {q} check box", "the {q} tick box"),
    "radio": ("the {q} radio button", "the radio button {q}", "the {q} option", "the option {q}"),
    "word": ("the word {q}", "the text {q}", "{q}"),
    "shape": ("the {name}",),
}


def form_of(task: str, slots: dict[str, Slot]) -> str:
    """The form of question, a key of TRAIN, PRESET and UNSEEN, that a task with these slots takes."""
    what = slots.get("what")
    if task == "absent":
        task = "locate"
    if task == "field" and what not in (None, "field"):
        return f"field_{what}"
    if task == "locate" and what == "shape":
        return "locate_shape"
    if task == "position" and "side" in slots:
        return "position_side"
    if task == "describe" and what == "video":
        return "describe_video"
    if task == "video_what":
        return f"video_{slots['about']}"
    if task == "hello":
        return f"hello_{slots['about']}"
    if task == "cannot" and slots.get("about") == "picture":
        return "cannot_seen"
    return task


@cache
def parse(pattern: str) -> Tree:
    """A pattern as a row of texts and choices; each option of a choice is a row again."""
    for name, choice in SHARED.items():
        pattern = pattern.replace(f"${name}", choice)
    row, rest = _row(pattern.lstrip("!"), 0)
    if rest != len(pattern.lstrip("!")):
        raise ValueError(f"unbalanced choice in {pattern!r}")
    return row


def _row(text: str, at: int) -> tuple[Tree, int]:
    """The row that starts at `at` and the index where it ends: at a bar or bracket of the choice around it."""
    row: list[str | tuple[Tree, ...]] = []
    while at < len(text) and text[at] not in "|]":
        if text[at] == "[":
            options: list[Tree] = []
            while text[at] != "]":
                option, at = _row(text, at + 1)
                options.append(option)
            row.append(tuple(options))
            at += 1
        else:
            end = min((i for i in (text.find(mark, at) for mark in "[]|") if i >= 0), default=len(text))
            row.append(text[at:end])
            at = end
    return tuple(row), at


def _draw(row: Tree, rng: np.random.Generator) -> str:
    return "".join(part if isinstance(part, str) else _draw(part[int(rng.random() * len(part))], rng) for part in row)


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.random() * len(options))]


def _ordinal(n: int) -> str:
    return _ORDINALS[n - 1] if n <= len(_ORDINALS) else _nth(n)


def _nth(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _fill(template: str, slots: dict[str, Slot], rng: np.random.Generator | None) -> str:
    """`template` with its places filled; without `rng` each place gets its standard words."""

    def choose(options: tuple[str, ...]) -> str:
        return options[0] if rng is None else _pick(rng, options)

    values: dict[str, str] = {key: str(value) for key, value in slots.items()}
    if "{it}" in template:
        what = str(slots.get("what", "word"))
        template = template.replace("{it}", choose(_NOUNS.get(what, (f"the {what} {{q}}", f"the {{q}} {what}"))))
    if "{q}" in template:
        name = values["name"]
        values["q"] = choose((f'"{name}"', f'"{name}"', f"'{name}'", name))
    if "n" in slots:
        values["nth"], values["ordinal"] = _nth(int(slots["n"])), _ordinal(int(slots["n"]))
    if "x" in slots:
        x, y = slots["x"], slots["y"]
        values["p"] = choose((f"({x}, {y})", f"({x}, {y})", f"[{x}, {y}]", f"{x}, {y}", f"({x},{y})"))
    if "event" in slots:
        values["base"], values["does"] = _pick_pair(_EVENTS[str(slots["event"])], rng)
    if "side" in slots:
        values["side"] = choose(_SIDES[str(slots["side"])])
    if "{doc}" in template:
        values["doc"] = choose((str(slots["what"]), str(slots["what"]), "image", "picture"))
    if rng is not None:
        values.setdefault("w", choose(ask_chat.WORDS))
        values["a"], values["b"] = str(int(10 ** rng.uniform(0, 3.3))), str(int(10 ** rng.uniform(0, 3.3)))
    return template.format_map(values)


def _pick_pair(pairs: tuple[tuple[str, str], ...], rng: np.random.Generator | None) -> tuple[str, str]:
    return pairs[0] if rng is None else pairs[int(rng.random() * len(pairs))]


def _style(text: str, order: bool, talk: bool, rng: np.random.Generator) -> str:
    """A drawn template in the hand of one of many people: frame, tail, case, end mark, haste, a slip of the finger; and
    an opening or closing unless it is small `talk`."""
    if order and rng.random() < 0.45:
        text = _pick(rng, _FRAMES).replace("{}", text)
    elif not talk and text.endswith("?") and rng.random() < 0.1:
        text = text[:-1] + _pick(rng, TAILS) + "?"
    if not talk and rng.random() < 0.12:
        text = _pick(rng, OPENINGS) + text
    draw = rng.random()
    if draw < 0.62:
        text = text[0].upper() + text[1:] if text[0] != "{" else text
    elif draw < 0.64:
        text = "".join(part if part.startswith("{") else part.upper() for part in re.split(r"(\{\w+\})", text))
    draw = rng.random()
    if text.endswith("?"):
        text = text[:-1] if draw < 0.3 else text
    elif draw < 0.5:
        text += "." if draw < 0.45 else "!" if order else "?"
    if not talk and text[-1] in ".!?" and rng.random() < 0.06:
        text += _pick(rng, CLOSINGS)
    if rng.random() < 0.06:
        text = _HASTE.sub(lambda found: _HASTY[found.group().lower()], text)
    if rng.random() < 0.05:
        text = _slip(text, rng)
    return text


def _slip(text: str, rng: np.random.Generator) -> str:
    """`text` with two neighbouring letters exchanged or one lost, never inside a `{slot}`."""
    spots = [
        i
        for i in range(1, len(text) - 1)
        if text[i - 1 : i + 2].isalpha() and text.count("{", 0, i) == text.count("}", 0, i)
    ]
    if not spots:
        return text
    i = spots[int(rng.random() * len(spots))]
    return text[:i] + text[i + 1 :] if rng.random() < 0.5 else text[: i - 1] + text[i] + text[i - 1] + text[i + 1 :]


def preset(task: str, **slots: Slot) -> str:
    """The one standard wording of a task; its slots as in the module's docstring. KeyError: no such task or slot
    (there is no standard way to ask what cannot be done)."""
    return _fill(PRESET[form_of(task, slots)], slots, None)


def ask(task: str, rng: np.random.Generator, wording: Wording, **slots: Slot) -> str:
    """One way to ask `task`: from the training grammar (the preset in two of ten), or from the hand-written ones
    that training never sees. KeyError: no such task or slot."""
    form = form_of(task, slots)
    if wording == "preset" and form in PRESET:
        return preset(task, **slots)
    if wording == "unseen":
        return _fill(_pick(rng, UNSEEN[form]), slots, rng)
    if rng.random() < PRESET_SHARE and form in PRESET:
        return preset(task, **slots)
    pattern = _pick(rng, TRAIN[form])
    text = " ".join(_draw(parse(pattern), rng).split()).replace(" ?", "?")
    return _fill(_style(text, pattern.startswith("!"), form.startswith("hello"), rng), slots, rng)
