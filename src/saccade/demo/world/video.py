"""Short clips of coloured figures, about two frames a second, in which one or two things happen; with questions.

Time 0 is the first frame. An event's time is the time of the first frame that shows it: the first frame with the
figure, without it, in its new colour, at another place than the frame before (start), at the same place again (stop).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from saccade.demo.world.answers import plain
from saccade.demo.world.ask import ask
from saccade.demo.world.canvas import Canvas, Color, Overflow
from saccade.demo.world.chat import refusal_turn
from saccade.demo.world.figures import KINDS, Figure, colors_on, draw, ground, paint, pick, sides
from saccade.demo.world.paper import Asked, choose
from saccade.demo.world.sample import Sample, Turn, UInt8Array, World, no_letters
from saccade.demo.world.shapes import said

USUAL_PACE = 0.5
"""Seconds from frame to frame in most clips; a sampler that rounds to a real video's frames gives other ones too."""
_EVENTS = ("appears", "leaves", "changes", "starts", "stops", "moves", "stays")
_PRACTICE = ("changes", "changes", "stops", *_EVENTS)
"""What an actor does is drawn from these to learn from: what is hard to tell comes more often."""
_GAP = 4
_TRIES = 12
_DIRECTIONS: dict[str, tuple[int, int]] = {
    "to the left": (-1, 0),
    "to the right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}


@dataclass(frozen=True, slots=True)
class Actor:
    """One figure and what it does; `at` is the frame from which on it is so (0 for "moves" and "stays")."""

    figure: Figure
    """As it is in frame 0, or would be."""
    event: str
    """appears, leaves, changes, starts, stops, moves (all the time) or stays."""
    at: int
    step: tuple[int, int]
    """Pixels a frame while it moves."""
    color: str
    """The colour after a change; else the colour."""
    paint: Color

    @property
    def direction(self) -> str:
        return next(words for words, (x, y) in _DIRECTIONS.items() if x * self.step[0] + y * self.step[1] > 0)

    def seen(self, frame: int) -> Figure | None:
        """The figure as `frame` shows it; None when it is not there."""
        if (self.event == "appears" and frame < self.at) or (self.event == "leaves" and frame >= self.at):
            return None
        steps = {"starts": max(0, frame - self.at + 1), "stops": min(frame, self.at - 1), "moves": frame}.get(
            self.event, 0
        )
        figure = self.figure
        x0, y0, x1, y1 = figure.box
        dx, dy = steps * self.step[0], steps * self.step[1]
        figure = replace(figure, box=(x0 + dx, y0 + dy, x1 + dx, y1 + dy))
        if self.event == "changes" and frame >= self.at:
            figure = replace(figure, color=self.color, paint=self.paint)
        return figure


def scene(rng: np.random.Generator, world: World) -> Sample:
    """One clip of 4 to 16 frames, sides 64 to 160 pixels, with 1 to 3 figures."""
    full = min(world.stage / 0.6, 1.0)
    frames = 2 * int(rng.integers(2, 4 + round(5 * full)))
    width, height = (32 * int(n) for n in rng.integers(2, 6, size=2))
    shade, _ = ground(rng)
    many = 1 + int(rng.random() * (1 + 2 * full))
    events = _PRACTICE if world.split == "train" else _EVENTS
    actors = _cast(rng, width, height, frames, many, shade, events)
    sheets = []
    for i in range(frames):
        canvas = Canvas(width, height, shade)
        for actor in actors:
            figure = actor.seen(i)
            if figure is not None:
                draw(canvas, figure)
        sheets.append(canvas.pixels)
    pixels = np.stack(sheets)
    if rng.random() < 0.35:
        pixels = _noisy(rng, pixels)
    pace = USUAL_PACE if rng.random() < 0.5 else float(rng.uniform(0.4, 0.75))
    turns = choose(rng, _questions(rng, world, actors, frames, pace), 4)
    stamps = tuple((i + 0.5) * pace for i in range(0, frames, 2))
    return Sample("video", pixels, stamps, turns, no_letters())


# --- staging ---------------------------------------------------------------------------------------------------------


def _cast(
    rng: np.random.Generator, width: int, height: int, frames: int, many: int, shade: Color, events: tuple[str, ...]
) -> tuple[Actor, ...]:
    """Actors that never touch; the first one does something, no two have the same kind."""
    colors = colors_on(shade)
    actors: list[Actor] = []
    for kind in rng.permutation(KINDS)[:many]:
        event = pick(rng, events if actors else events[:-1])
        for _ in range(_TRIES):
            actor = _actor(rng, width, height, frames, str(kind), event, colors)
            if actor is not None and not any(_meet(actor, other, frames) for other in actors):
                actors.append(actor)
                break
    if not actors or (len(actors) == 1 and actors[0].event == "stays"):
        raise Overflow("nobody acts")
    return tuple(actors)


def _actor(
    rng: np.random.Generator, width: int, height: int, frames: int, kind: str, event: str, colors: tuple[str, ...]
) -> Actor | None:
    """An actor whose whole way lies on the picture; None when the dice fell badly."""
    wide, tall = sides(rng, kind, int(rng.integers(20, max(22, min(width, height, 120) // 2 + 1))))
    at = int(rng.integers(1, frames)) if event in _EVENTS[:5] else 0
    if event == "starts":
        at, moving = max(at, 1), frames - max(at, 1)
    elif event == "stops":
        at = max(2, at)
        moving = at - 1
    else:
        moving = frames - 1
    step = (0, 0)
    if event in ("starts", "stops", "moves"):
        way = _DIRECTIONS[pick(rng, tuple(_DIRECTIONS))]
        room = (width - wide - 4) if way[0] else (height - tall - 4)
        longest = min(room // moving, 16)
        if longest < 3:
            return None
        pace = int(rng.integers(3, longest + 1))
        step = (way[0] * pace, way[1] * pace)
    span_x, span_y = step[0] * moving, step[1] * moving
    low_x, high_x = 2 - min(span_x, 0), width - wide - 2 - max(span_x, 0)
    low_y, high_y = 2 - min(span_y, 0), height - tall - 2 - max(span_y, 0)
    if high_x < low_x or high_y < low_y:
        return None
    x, y = int(rng.integers(low_x, high_x + 1)), int(rng.integers(low_y, high_y + 1))
    color = pick(rng, colors)
    other = pick(rng, [c for c in colors if c != color]) if event == "changes" else color
    figure = Figure(kind, color, paint(rng, color), (x, y, x + wide, y + tall))
    return Actor(figure, event, at, step, other, paint(rng, other))


def _meet(a: Actor, b: Actor, frames: int) -> bool:
    """Whether the ways of two actors cross, at whatever times."""
    ax0, ay0, ax1, ay1 = _way(a, frames)
    bx0, by0, bx1, by1 = _way(b, frames)
    return ax0 < bx1 + _GAP and bx0 < ax1 + _GAP and ay0 < by1 + _GAP and by0 < ay1 + _GAP


def _way(actor: Actor, frames: int) -> tuple[float, float, float, float]:
    first = actor.figure.box
    last = (actor.seen(frames - 1) or actor.figure).box
    return min(first[0], last[0]), min(first[1], last[1]), max(first[2], last[2]), max(first[3], last[3])


def _noisy(rng: np.random.Generator, pixels: UInt8Array) -> UInt8Array:
    """Grain of its own in each frame on blocks of 2x2, and now and then a shift of brightness common to all."""
    t, h, w, _ = pixels.shape
    grain = rng.integers(-6, 7, size=(t, h // 2, w // 2, 1), dtype=np.int16).repeat(2, 1).repeat(2, 2)
    shift = int(rng.integers(-8, 9)) if rng.random() < 0.4 else 0
    noisy: UInt8Array = np.clip(pixels + grain + shift, 0, 255).astype(np.uint8)
    return noisy


# --- questions -------------------------------------------------------------------------------------------------------


def _questions(
    rng: np.random.Generator, world: World, actors: tuple[Actor, ...], frames: int, pace: float
) -> list[Asked]:
    ask_plain = partial(plain, rng, world)
    events = Counter(actor.event for actor in actors)
    pool: list[Asked] = [
        (1.0, partial(_describe, rng, world, actors, pace)),
        (0.25, partial(refusal_turn, rng, world.wording)),
    ]
    if not events["appears"] and not events["leaves"]:
        pool.append((0.4, partial(ask_plain, "count", str(len(actors)), what="shapes")))
    for actor in actors:
        kind, name = actor.figure.kind, actor.figure.name
        if actor.at:
            called = kind if actor.event == "changes" or rng.random() < 0.3 else name
            pool.append((6.0, partial(_when, rng, world, actor, called, pace)))
        if actor.event in ("appears", "leaves") and events[actor.event] == 1:
            pool.append((1.2, partial(ask_plain, "video_what", said(f"the {name}"), about=actor.event)))
        if actor.step != (0, 0):
            pool.append((1.2, partial(ask_plain, "video_what", said(actor.direction), about="moves", name=name)))
        if actor.event == "changes":
            pool.append((1.2, partial(_color, rng, world, actor, frames, pace)))
        elif actor.event != "leaves" or actor.at > 1:
            pool.append((0.3, partial(ask_plain, "color", said(actor.figure.color), name=kind)))
    return pool


def _when(rng: np.random.Generator, world: World, actor: Actor, called: str, pace: float) -> Turn:
    seconds = actor.at * pace
    question = ask("when", rng, world.wording, event=actor.event, name=called)
    return Turn("when", question, f"At {seconds:.1f} seconds.", {"seconds": seconds, "event": actor.event})


def _color(rng: np.random.Generator, world: World, actor: Actor, frames: int, pace: float) -> Turn:
    """The colour of an actor at the time of one of the frames."""
    frame = int(rng.integers(frames))
    figure = actor.seen(frame)
    assert figure is not None, "only a figure that stays is asked"
    seconds = f"{frame * pace:.1f}"
    return plain(rng, world, "video_what", said(figure.color), about="color", name=figure.kind, seconds=seconds)


def _describe(rng: np.random.Generator, world: World, actors: tuple[Actor, ...], pace: float) -> Turn:
    """What each actor does, one sentence each, in order of time, those at once from left to right."""
    ordered = sorted(actors, key=lambda a: (a.at, a.figure.centre))
    return plain(rng, world, "describe", " ".join(_story(actor, pace) for actor in ordered), what="video")


def _story(actor: Actor, pace: float) -> str:
    label = said(actor.figure.label)[:-1]
    time = f"at {actor.at * pace:.1f} seconds"
    if actor.event == "changes":
        return f"{label} turns {actor.color} {time}."
    if actor.event == "moves":
        return f"{label} moves {actor.direction}."
    if actor.event == "stays":
        return f"{label} stays where it is."
    if actor.event in ("starts", "stops"):
        return f"{label} {actor.event} moving {actor.direction} {time}."
    return f"{label} {actor.event} {time}."
