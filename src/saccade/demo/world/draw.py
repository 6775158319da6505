"""The front of the world: a seed and an index come in, one Sample goes out; the mixture of kinds is decided here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from saccade.demo.world import charts, chat, form, pages, receipt, shapes, table, video, window
from saccade.demo.world.canvas import Overflow
from saccade.demo.world.sample import Sample, World

Scene = Callable[[np.random.Generator, World], Sample]
_SCENES: dict[str, Scene] = {
    "words": pages.words,
    "lines": pages.lines,
    "repeats": pages.repeats,
    "receipt": receipt.scene,
    "form": form.scene,
    "table": table.scene,
    "window": window.scene,
    "shapes": shapes.scene,
    "chart": charts.scene,
    "video": video.scene,
    "chat": chat.scene,
}
MIXTURE: tuple[tuple[str, float], ...] = (
    ("lines", 13),
    ("words", 3),
    ("repeats", 10),
    ("receipt", 12),
    ("form", 13),
    ("table", 9),
    ("window", 26),
    ("shapes", 6),
    ("chart", 7),
    ("video", 11),
    ("chat", 3),
)
_EASY: tuple[tuple[str, float], ...] = (("words", 90), ("lines", 10))
"""What stage 0 draws; the full mixture is reached at stage 0.3."""
_TRIES = 64


def weights(world: World) -> Mapping[str, float]:
    """Probability of each kind."""
    if world.kinds is not None:
        chosen = dict(world.kinds)
    else:
        share = min(world.stage / 0.3, 1.0)
        easy, full = dict(_EASY), dict(MIXTURE)
        chosen = {kind: share * weight + (1 - share) * easy.get(kind, 0.0) for kind, weight in full.items()}
    total = sum(chosen.values())
    return {kind: weight / total for kind, weight in chosen.items() if weight > 0}


def draw(seed: int, index: int, world: World) -> Sample:
    """Sample `index` of the endless series `seed`: the same arguments give the same bytes, in any process."""
    rng = np.random.default_rng((seed, index))
    kinds = weights(world)
    for attempt in range(_TRIES):  # (seed, index, 0) would seed the same series as (seed, index), hence the 1 below
        kind = list(kinds)[int(rng.choice(len(kinds), p=list(kinds.values())))]
        try:
            return _SCENES[kind](np.random.default_rng((seed, index, 1 + attempt)), world)
        except Overflow:
            continue
    raise RuntimeError(f"no {kind} fits its page in {_TRIES} tries (seed {seed}, index {index}, {world})")
