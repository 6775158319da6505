"""Dialogs without a picture, and the plain refusal of what the demo model cannot do; no drawing."""

from __future__ import annotations

import numpy as np

from saccade.demo.world.ask import EVENTS, Slot, ask
from saccade.demo.world.figures import COLORS, KINDS, pick
from saccade.demo.world.sample import Sample, Turn, Wording, World, no_letters
from saccade.demo.world.vocabulary import Vocabulary

REFUSAL = "I cannot do that. I can read text, find things, count shapes and read charts in simple pictures."
NO_PICTURE = "There is no picture. Please show me one."
ANSWERS: dict[str, str] = {
    "hi": "Hello! Show me a picture and ask me about it.",
    "who": "I am the demo model of saccade, a very small one. I look at simple pictures and answer questions.",
    "can": "I can read text, find buttons and words, turn receipts, forms and charts into JSON, "
    "describe colored shapes, and say what happens in short clips.",
    "how": "I am fine, thank you. Show me a picture and ask me about it.",
    "thanks": "You are welcome.",
    "bye": "Goodbye!",
}


def scene(rng: np.random.Generator, world: World) -> Sample:
    """One to four turns of small talk, refusals, and questions that would need a picture; T = 0 frames."""
    turns: list[Turn] = []
    if rng.random() < 0.35:
        turns.append(_hello(rng, world.wording, pick(rng, ("hi", "hi", "how"))))
    for _ in range(int(rng.integers(0 if turns else 1, 3))):
        dice = rng.random()
        if dice < 0.25:
            turns.append(_hello(rng, world.wording, pick(rng, ("who", "can"))))
        elif dice < 0.7:
            turns.append(Turn("cannot", ask("cannot", rng, world.wording), REFUSAL))
        else:
            turns.append(_blind(rng, world))
    if rng.random() < 0.35:
        turns.append(_hello(rng, world.wording, pick(rng, ("thanks", "bye"))))
    return Sample("chat", np.zeros((0, 32, 32, 3), np.uint8), (), tuple(turns), no_letters())


def refusal_turn(rng: np.random.Generator, wording: Wording) -> Turn:
    """A question that no picture of this world answers, about the picture or not, and the one refusal; fits after any
    other turns."""
    about: dict[str, Slot] = {"about": "picture"} if rng.random() < 0.5 else {}
    return Turn("cannot", ask("cannot", rng, wording, **about), REFUSAL)


def _hello(rng: np.random.Generator, wording: Wording, about: str) -> Turn:
    return Turn("hello", ask("hello", rng, wording, about=about), ANSWERS[about])


def _blind(rng: np.random.Generator, world: World) -> Turn:
    """A question that clearly needs a picture where there is none."""
    write = Vocabulary(rng, world.split)
    figure = f"{pick(rng, tuple(COLORS))} {pick(rng, KINDS)}"
    unseen: dict[str, Slot] = {"about": "picture"}
    needs: list[tuple[str, dict[str, Slot]]] = [("cannot", unseen)] * 4
    needs += [(task, {}) for task in ("read", "read", "describe", "total", "html", "chart_highest", "chart_lowest")]
    needs += [
        ("describe", {"what": "video"}),
        ("json", {"what": pick(rng, ("receipt", "form", "table"))}),
        ("line", {"n": 1 + write.below(9)}),
        (
            "count",
            {"what": pick(rng, ("buttons", "words", "shapes", "bars", "items", f"{figure.split(' ')[0]} shapes"))},
        ),
        ("list", {"what": pick(rng, ("buttons", "fields", "labels"))}),
        ("locate", {"name": write.action(), "what": "button"}),
        ("locate", {"name": figure, "what": "shape"}),
        ("checked", {"name": write.switch()}),
        ("field", {"name": write.label()}),
        ("color", {"name": figure.split(" ")[1]}),
        ("position", {"name": figure}),
        ("when", {"name": figure, "event": pick(rng, EVENTS)}),
    ]
    task, slots = needs[write.below(len(needs))]
    return Turn("hello", ask(task, rng, world.wording, **slots), NO_PICTURE)
