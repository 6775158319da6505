"""The nouns of the synthetic world: what is asked for (World), what comes out (Sample with its Turns); no drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Letters: TypeAlias = tuple[UInt8Array, Int16Array, Int16Array]
Split: TypeAlias = Literal["train", "test"]
FontSet: TypeAlias = Literal["known", "unseen"]
Wording: TypeAlias = Literal["train", "preset", "unseen"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One question about a picture with its one right answer."""

    task: str
    """read, line, total, field, checked, json, locate, absent, list, at, html, color, kind, count, position, ..."""
    question: str
    answer: str
    truth: dict[str, Any] | None = None
    """What a scorer needs beyond the answer's text: {"value": object}, {"bbox": [x1, y1, x2, y2] in 0..1000}, ..."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture or video (or none) and a short dialogue about it."""

    kind: str
    frames: UInt8Array
    """[T, H, W, 3] RGB, H and W multiples of 32; T is 1 for a still, even for a video, 0 for text only."""
    timestamps: tuple[float, ...]
    """Seconds of each pair of frames of a video (mean of the two frame times); empty otherwise."""
    turns: tuple[Turn, ...]
    letters: Letters
    """(codes, xs, ys): every drawn character's cp1252 code and the centre of its ink, in pixels of frame 0."""


@dataclass(frozen=True, slots=True)
class World:
    """Which part of the world to draw from. `stage` runs from 0 (few large words) to 1 (everything, all sizes)."""

    split: Split = "train"
    fonts: FontSet = "known"
    wording: Wording = "train"
    stage: float = 1.0
    kinds: Mapping[str, float] | None = None
    """Weights of the kinds to draw, replacing the default mixture and the stages' choice of kinds."""


def no_letters() -> Letters:
    """The letters of a sample in which no character's place is known (videos, text only)."""
    return np.zeros(0, np.uint8), np.zeros(0, np.int16), np.zeros(0, np.int16)
