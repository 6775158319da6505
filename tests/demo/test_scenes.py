"""Laws of the drawn scenes: what an answer says is what the pixels show, and the dice alone decide."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from saccade.demo.world import charts, chat, shapes, video
from saccade.demo.world.canvas import Overflow
from saccade.demo.world.figures import COLORS, KINDS
from saccade.demo.world.sample import Sample, Turn, World

Scene = Callable[[np.random.Generator, World], Sample]
SCENES: dict[str, Scene] = {"shapes": shapes.scene, "chart": charts.scene, "video": video.scene, "chat": chat.scene}
CLEAN = World(stage=0.149)
"""Before pictures are worn."""


def samples(scene: Scene, number: int, world: World, seed: int = 0) -> Iterator[Sample]:
    for index in range(number):
        try:
            yield scene(np.random.default_rng((seed, index)), world)
        except Overflow:
            continue


def asked(scene: Scene, number: int, world: World, task: str) -> list[tuple[Sample, Turn]]:
    found = [(s, t) for s in samples(scene, number, world) for t in s.turns if t.task == task]
    assert len(found) >= 10, f"{task} is hardly ever asked"
    return found


def ink(frame: npt.NDArray[np.uint8], least: float = 60.0) -> npt.NDArray[np.bool_]:
    """Where a picture differs from its background, taken as the median of its rim."""
    rim = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
    return np.linalg.norm(frame - np.median(rim, axis=0), axis=-1) > least


def islands(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Boxes (x0, y0, x1, y1) of the connected parts of a mask, larger than 100 pixels."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    boxes = []
    while left:
        todo, part = [left.pop()], []
        while todo:
            y, x = todo.pop()
            part.append((y, x))
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if near in left:
                    left.remove(near)
                    todo.append(near)
        if len(part) > 100:
            ys, xs = [p[0] for p in part], [p[1] for p in part]
            boxes.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return boxes


def color_name(pixels: npt.NDArray[np.uint8]) -> str:
    """The palette's name for the commonest colour of some pixels [n, 3]."""
    middle = np.median(pixels.reshape(-1, 3), axis=0)
    return min(COLORS, key=lambda name: math.dist(COLORS[name], middle))


def scaled(box: list[int], frame: npt.NDArray[np.uint8]) -> tuple[float, float, float, float]:
    height, width = frame.shape[:2]
    return box[0] * width / 1000, box[1] * height / 1000, box[2] * width / 1000, box[3] * height / 1000


@pytest.mark.parametrize("kind", SCENES)
@pytest.mark.parametrize("stage", [0.0, 0.3, 1.0])
def test_samples_keep_the_form_of_the_world(kind: str, stage: float) -> None:
    for sample in samples(SCENES[kind], 40, World(stage=stage)):
        frames = sample.frames
        assert sample.kind == kind
        assert frames.dtype == np.uint8
        assert frames.shape[1] % 32 == frames.shape[2] % 32 == 0
        assert frames.shape[3] == 3
        assert frames.flags.c_contiguous
        assert 1 <= len(sample.turns) <= 5
        assert all(turn.question.strip() and turn.answer.strip() for turn in sample.turns)
        if kind == "video":
            assert len(frames) in range(4, 17, 2)
            pace = sample.timestamps[0] * 2
            assert 0.4 <= pace <= 0.75
            assert sample.timestamps == tuple((i + 0.5) * pace for i in range(0, len(frames), 2))
        else:
            assert len(frames) == (0 if kind == "chat" else 1)
            assert sample.timestamps == ()
        codes, xs, ys = sample.letters
        assert len(codes) == len(xs) == len(ys)
        assert ((xs >= 0) & (xs < frames.shape[2]) & (ys >= 0) & (ys < frames.shape[1])).all()


@pytest.mark.parametrize("kind", SCENES)
def test_the_same_dice_draw_the_same(kind: str) -> None:
    once, twice = (list(samples(SCENES[kind], 12, World())) for _ in range(2))
    other = list(samples(SCENES[kind], 12, World(), seed=1))
    for a, b in zip(once, twice, strict=True):
        assert np.array_equal(a.frames, b.frames)
        assert a.turns == b.turns
    assert [s.turns for s in once] != [s.turns for s in other]


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_a_located_shape_fills_its_box_in_its_colour() -> None:
    for sample, turn in asked(shapes.scene, 120, CLEAN, "locate"):
        frame, answer = sample.frames[0], json.loads(turn.answer)
        assert answer["bbox_2d"] == turn.truth["bbox"]  # type: ignore[index]
        x0, y0, x1, y1 = scaled(answer["bbox_2d"], frame)
        near = [
            b for b in islands(ink(frame)) if max(abs(b[0] - x0), abs(b[1] - y0), abs(b[2] - x1), abs(b[3] - y1)) < 3
        ]
        assert len(near) == 1, turn
        a, b, c, d = near[0]
        assert color_name(frame[b:d, a:c][ink(frame)[b:d, a:c]]) == answer["label"].split()[0]


def test_shapes_are_counted_right() -> None:
    for sample, turn in asked(shapes.scene, 300, CLEAN, "count"):
        frame = sample.frames[0]
        boxes = islands(ink(frame))
        colors = [color_name(frame[b:d, a:c][ink(frame)[b:d, a:c]]) for a, b, c, d in boxes]
        color = re.search(rf"\b({'|'.join(COLORS)})\b", turn.question)
        kind = re.search(rf"\b({'|'.join(KINDS)})(s|es)\b", turn.question)
        most = colors.count(color.group(1)) if color else len(boxes)
        assert int(turn.answer) <= most
        if not kind:
            assert int(turn.answer) == most


def test_a_description_names_every_shape_from_left_to_right_at_its_place() -> None:
    columns, rows = {"left": 0, "right": 2}, {"top": 0, "bottom": 2}
    for sample, turn in asked(shapes.scene, 150, CLEAN, "describe"):
        frame = sample.frames[0]
        boxes = sorted(islands(ink(frame)), key=lambda b: b[0] + b[2])
        parts = re.split(r", | and ", turn.answer.rstrip("."))
        assert len(parts) == len(boxes)
        for part, (a, b, c, d) in zip(parts, boxes, strict=True):
            assert part.lower().split()[1] == color_name(frame[b:d, a:c][ink(frame)[b:d, a:c]])
            column = next((n for word, n in columns.items() if word in part), 1)
            row = next((n for word, n in rows.items() if word in part), 1)
            assert (int(1.5 * (a + c) / frame.shape[1]), int(1.5 * (b + d) / frame.shape[0])) == (column, row), part


def test_a_neighbour_lies_on_the_named_side() -> None:
    seen = 0
    for sample, turn in asked(shapes.scene, 500, CLEAN, "position"):
        found = re.search(r"(left|right|above|over|on top|below|under\w*)\b.* the (\w+) \w+", turn.question.lower())
        named = re.fullmatch(r"An? (\w+) \w+\.", turn.answer)
        if not found or not named:
            continue
        frame = sample.frames[0]
        boxes = [
            (color_name(frame[b:d, a:c][ink(frame)[b:d, a:c]]), a + c, b + d) for a, b, c, d in islands(ink(frame))
        ]
        here = [centre for name, *centre in boxes if name == found.group(2)]
        there = [centre for name, *centre in boxes if name == named.group(1)]
        if len(here) == len(there) == 1:
            axis = 0 if found.group(1) in ("left", "right") else 1
            sign = -1 if found.group(1) in ("left", "above", "over", "on top") else 1
            assert sign * (there[0][axis] - here[0][axis]) > 0
            seen += 1
    assert seen >= 5


# --- charts ----------------------------------------------------------------------------------------------------------


def tables(number: int, world: World) -> Iterator[tuple[Sample, dict[str, Any]]]:
    for sample in samples(charts.scene, number, world):
        for turn in sample.turns:
            if turn.task == "json":
                assert turn.truth is not None
                value = json.loads(turn.answer)
                assert value == turn.truth["value"]
                yield sample, value


def test_chart_answers_agree_with_its_table() -> None:
    seen: set[str] = set()
    for sample, value in tables(300, World()):
        for turn in sample.turns:
            seen.add(turn.task)
            if turn.task == "chart_highest":
                assert value[turn.answer] == max(value.values())
                assert list(value.values()).count(value[turn.answer]) == 1
            elif turn.task == "chart_lowest":
                assert value[turn.answer] == min(value.values())
                assert list(value.values()).count(value[turn.answer]) == 1
            elif turn.task == "count":
                assert int(turn.answer) == len(value)
            elif turn.task == "list":
                assert turn.answer.split("\n") == list(value)
            elif turn.task == "chart_value":
                assert any(label in turn.question and turn.answer == str(v) for label, v in value.items())
    assert {"chart_highest", "chart_lowest", "count", "list", "chart_value"} <= seen


def test_bars_are_as_long_as_their_values() -> None:
    scales = 0
    for sample, value in tables(900, CLEAN):
        top = max(value.values())
        for turn in sample.turns:
            if turn.task != "locate":
                continue
            answer = json.loads(turn.answer)
            frame = sample.frames[0]
            x0, y0, x1, y1 = (round(v) for v in scaled(answer["bbox_2d"], frame))
            bar = frame[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].reshape(-1, 3)
            if len(bar) < 40:
                continue
            assert np.ptp(bar.astype(int), axis=0).max() <= 3, "one colour"
            if value[answer["label"]] == top:
                longer = max(x1 - x0, y1 - y0)
                assert longer >= 30
                scales += 1
    assert scales >= 3


# --- videos ----------------------------------------------------------------------------------------------------------


def test_an_event_happens_in_the_frame_that_is_told() -> None:
    seen: set[str] = set()
    for sample, turn in asked(video.scene, 250, World(stage=0.0), "when"):
        moved = [False, *(np.abs(np.diff(sample.frames.astype(int), axis=0)).max(axis=(1, 2, 3)) > 50)]
        ends = re.search(r"\b(stops?|rest)\b", turn.question)
        frame = moved.index(False, 1) if ends else moved.index(True)
        pace = sample.timestamps[0] * 2
        assert turn.truth is not None
        assert turn.truth["seconds"] == frame * pace, turn.question
        assert turn.answer == f"At {frame * pace:.1f} seconds."
        seen.add("ends" if ends else "begins")
    assert seen == {"ends", "begins"}


def test_a_clip_is_described_as_it_runs() -> None:
    seen: set[str] = set()
    for sample, turn in asked(video.scene, 200, World(stage=0.0), "describe"):
        frames = sample.frames
        masks = [ink(frame) for frame in frames]
        event = re.search(r"(appears|leaves|turns|starts|stops|moves)", turn.answer)
        assert event is not None
        seen.add(event.group())
        assert masks[0].any() == (event.group() != "appears")
        assert masks[-1].any() == (event.group() != "leaves")
        first, last = (np.argwhere(m).mean(axis=0) if m.any() else np.zeros(2) for m in (masks[0], masks[-1]))
        way = re.search(r"(to the left|to the right|up|down)", turn.answer)
        assert (way is not None) == (event.group() in ("starts", "stops", "moves"))
        if way:
            axis, sign = {"to the left": (1, -1), "to the right": (1, 1), "up": (0, -1), "down": (0, 1)}[way.group()]
            assert sign * (last - first)[axis] > 1
            assert abs((last - first)[1 - axis]) < 1
        if event.group() == "turns":
            found = re.search(r"turns (\w+)", turn.answer)
            assert found is not None
            assert color_name(frames[-1][masks[-1]]) == found.group(1)
    assert seen == {"appears", "leaves", "turns", "starts", "stops", "moves"}


# --- talk ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wording", ["train", "unseen"])
def test_talk_answers_plainly_and_refuses_with_one_voice(wording: Any) -> None:
    said = {t.answer for s in samples(chat.scene, 400, World(wording=wording)) for t in s.turns if t.task == "hello"}
    assert said == {*chat.ANSWERS.values(), chat.NO_PICTURE}
    for kind, scene in SCENES.items():
        turns = [t for s in samples(scene, 300, World(wording=wording)) for t in s.turns if t.task == "cannot"]
        assert turns, kind
        assert {t.answer for t in turns} == {chat.REFUSAL}
