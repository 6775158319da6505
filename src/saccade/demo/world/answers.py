"""Turns whose answer has a fixed form: boxes, absences, JSON; the truth comes in, a Turn with its question goes out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from saccade.demo.world.ask import ask
from saccade.demo.world.canvas import Box, Canvas
from saccade.demo.world.sample import Turn, World

_NOUNS = {"button": "button", "field": "field", "checkbox": "checkbox", "radio": "radio button", "word": "text"}


def plain(rng: np.random.Generator, world: World, task: str, answer: str, **slots: str | int | float) -> Turn:
    """A question whose answer is its own truth."""
    return Turn(task, ask(task, rng, world.wording, **slots), answer)


def located(rng: np.random.Generator, world: World, canvas: Canvas, box: Box, name: str, what: str) -> Turn:
    """Where is the `what` called `name`? `box` is in pixels of the canvas."""
    bbox = canvas.share(box)
    answer = json.dumps({"bbox_2d": bbox, "label": name}, ensure_ascii=False)
    return Turn("locate", ask("locate", rng, world.wording, name=name, what=what), answer, {"bbox": bbox})


def absent(rng: np.random.Generator, world: World, name: str, what: str) -> Turn:
    """Where is the `what` called `name`, which is not there?"""
    question = ask("locate", rng, world.wording, name=name, what=what)
    return Turn("absent", question, f'There is no "{name}" {_NOUNS[what]}.')


def as_json(rng: np.random.Generator, world: World, what: str, value: Any) -> Turn:
    """The page as a JSON object, keys in the order of the page."""
    question = ask("json", rng, world.wording, what=what)
    return Turn("json", question, json.dumps(value, ensure_ascii=False), {"value": value})
