"""Dialogs without a picture, and the plain refusal of what the demo model cannot do; no drawing."""

from __future__ import annotations

import numpy as np

from saccade.demo.world.ask import ask
from saccade.demo.world.figures import pick
from saccade.demo.world.sample import Sample, Turn, Wording, World, no_letters

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
_BLIND = ("read", "describe", "total", "html", "chart_highest", "chart_lowest")
"""Tasks without slots that need a picture."""


def scene(rng: np.random.Generator, world: World) -> Sample:
    """One to four turns of small talk, refusals, and questions that would need a picture; T = 0 frames."""
    turns: list[Turn] = []
    if rng.random() < 0.35:
        turns.append(_hello(rng, world.wording, pick(rng, ("hi", "hi", "how"))))
    for _ in range(int(rng.integers(0 if turns else 1, 3))):
        dice = rng.random()
        if dice < 0.4:
            turns.append(_hello(rng, world.wording, pick(rng, ("who", "can"))))
        elif dice < 0.8:
            turns.append(refusal_turn(rng, world.wording))
        else:
            turns.append(_blind(rng, world.wording))
    if rng.random() < 0.35:
        turns.append(_hello(rng, world.wording, pick(rng, ("thanks", "bye"))))
    return Sample("chat", np.zeros((0, 32, 32, 3), np.uint8), (), tuple(turns), no_letters())


def refusal_turn(rng: np.random.Generator, wording: Wording) -> Turn:
    """A question that no picture of this world answers, and the one refusal; fits after any other turns."""
    return Turn("cannot", ask("cannot", rng, wording), REFUSAL)


def _hello(rng: np.random.Generator, wording: Wording, about: str) -> Turn:
    return Turn("hello", ask("hello", rng, wording, about=about), ANSWERS[about])


def _blind(rng: np.random.Generator, wording: Wording) -> Turn:
    """A question about a picture where there is none."""
    if rng.random() < 0.3:
        what = pick(rng, ("buttons", "words", "shapes", "bars", "items"))
        return Turn("hello", ask("count", rng, wording, what=what), NO_PICTURE)
    return Turn("hello", ask(pick(rng, _BLIND), rng, wording), NO_PICTURE)
