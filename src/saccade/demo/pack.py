"""Samples of the picture world become packed training batches in shared memory, made by worker processes.

A batch has fixed shapes and no padding between samples: all pictures lie behind each other in `rows` (one row a patch),
all dialogues behind each other in `ids`; segment lengths say where one ends. The token ids are those that the chat
template and the byte tokenizer give (a test compares them with text/), written here directly because it happens 5,000
times a second.

P patches, Q patches that have a second frame (videos), T tokens, S segments at most, A answers at most.
Patch rows stay in (y, x, channel) order, 48-byte runs of the picture; the trainer permutes the weight instead.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from saccade.demo.world.sample import Sample

IM_START, IM_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD = 257, 258, 265, 266, 268, 269
CHARS_PER_PATCH = 4
CHAR_CLASSES = 192
"""Character codes the auxiliary loss knows; 0 means no character."""
TASKS = (
    "read", "line", "total", "field", "checked", "json", "locate", "absent", "list", "at", "color", "kind", "count",
    "position", "chart_value", "chart_highest", "chart_lowest", "when", "video_what", "html", "describe", "cannot",
    "hello",
)  # fmt: skip
TASK_BOOST = {
    "locate": 1.6, "color": 1.5, "kind": 1.5, "count": 2.0, "position": 1.5, "when": 2.0, "at": 1.5, "checked": 1.5,
    "json": 1.6, "html": 2.0, "field": 1.5, "total": 1.3, "cannot": 1.5, "chart_value": 1.5, "chart_highest": 1.5,
    "chart_lowest": 1.5,
}  # fmt: skip
"""Short answers that need a look at the picture weigh more than letters of a long page."""
DIGIT_BOOST = {"when": 3.0, "locate": 1.5}
"""In these answers only the digits tell; the words around them are always the same."""
FIRST_WEIGHT = 2.0
"""At least, of an answer's first letter: it decides whether the question was understood, and a long answer's letters
weigh little beside those of a refusal."""

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Budget:
    """Sizes of a batch."""

    patches: int = 73_728
    second: int = 16_384
    tokens: int = 61_440
    segments: int = 2_048
    answers: int = 2_048

    def layout(self) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
        """Name -> (dtype, shape) of every array of a batch."""
        return {
            "rows": (np.uint8, (self.patches, 768)),
            "second": (np.uint8, (self.second, 768)),
            "second_at": (np.int32, (self.second,)),
            "place": (np.int16, (self.patches, 4)),
            "picture": (np.int16, (self.patches,)),
            "chars": (np.uint8, (self.patches, CHARS_PER_PATCH)),
            "ids": (np.int16, (self.tokens,)),
            "positions": (np.int32, (3, self.tokens)),
            "targets": (np.int16, (self.tokens,)),
            "weights": (np.float32, (self.tokens,)),
            "answer": (np.int16, (self.tokens,)),
            "tasks": (np.uint8, (self.answers,)),
            "features_at": (np.int32, (self.patches // 4,)),
            "vision_bounds": (np.int32, (self.segments + 1,)),
            "text_bounds": (np.int32, (self.segments + 1,)),
            "vision_segments": (np.int32, (self.segments,)),
            "text_segments": (np.int32, (self.segments,)),
            "counts": (np.int64, (10,)),
        }

    def places(self) -> dict[str, tuple[int, type[np.generic], tuple[int, ...]]]:
        """Name -> (offset in bytes, dtype, shape) of every array in the one block of memory that holds a batch."""
        out, offset = {}, 0
        for name, (dtype, shape) in self.layout().items():
            out[name] = (offset, dtype, shape)
            offset += -(-math.prod(shape) * np.dtype(dtype).itemsize // 64) * 64
        return out


@dataclass(slots=True)
class Batch:
    """The arrays of one batch; `counts` = vision segments, text segments, pictures, answers, supervised tokens,
    used patches, used tokens, patches with a second frame, longest vision segment, longest text segment. Bounds are the
    running sums of the segments from 0 on; behind the last segment they stay at the total."""

    rows: Array
    second: Array
    second_at: Array
    place: Array
    picture: Array
    chars: Array
    ids: Array
    positions: Array
    targets: Array
    weights: Array
    answer: Array
    tasks: Array
    features_at: Array
    vision_bounds: Array
    text_bounds: Array
    vision_segments: Array
    text_segments: Array
    counts: Array

    @classmethod
    def over(cls, memory: mmap.mmap | bytearray, offset: int, budget: Budget) -> Batch:
        """Views into `memory` at `offset`."""
        return cls(
            **{
                name: np.frombuffer(memory, dtype, math.prod(shape), offset + place).reshape(shape)
                for name, (place, dtype, shape) in budget.places().items()
            }
        )

    @staticmethod
    def nbytes(budget: Budget) -> int:
        """Bytes of one batch, a multiple of the page size."""
        total = sum(-(-math.prod(s) * np.dtype(d).itemsize // 64) * 64 for d, s in budget.layout().values())
        return -(-total // 4096) * 4096

    def copy(self) -> Batch:
        """A batch of its own memory."""
        return Batch(**{f.name: getattr(self, f.name).copy() for f in fields(self)})


@dataclass(slots=True)
class Dialogue:
    """One sample as token rows: ids, positions, where answers are and where picture features go."""

    ids: npt.NDArray[np.int16]
    positions: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    answer: npt.NDArray[np.int16]
    visual: npt.NDArray[np.int64]
    tasks: list[int]


def dialogue(sample: Sample, rng: np.random.Generator) -> Dialogue:
    """The sample's turns in the chat template's form; one in eight puts the text before the picture, one in twenty has
    a system message. `weights` are of the token itself (the loss shifts by one)."""
    ids: list[npt.NDArray[np.int16]] = []
    positions: list[npt.NDArray[np.int32]] = []
    weights: list[npt.NDArray[np.float32]] = []
    answer: list[npt.NDArray[np.int16]] = []
    visual: list[npt.NDArray[np.int64]] = []
    state = [0, 0]  # tokens so far, position cursor

    def put(tokens: npt.NDArray[np.int16], weight: float | npt.NDArray[np.float32] = 0.0, number: int = -1) -> None:
        n = len(tokens)
        ids.append(tokens)
        positions.append(np.broadcast_to(np.arange(state[1], state[1] + n, dtype=np.int32), (3, n)))
        weights.append(np.broadcast_to(np.asarray(weight, np.float32), n))
        answer.append(np.full(n, number, np.int16))
        state[0] += n
        state[1] += n

    def put_visual(pad: int, rows: int, columns: int) -> None:
        n = rows * columns
        put(_ids(VISION_START))
        visual.append(np.arange(state[0], state[0] + n))
        block = np.empty((3, n), np.int32)
        block[0] = 0
        block[1] = np.repeat(np.arange(rows), columns)
        block[2] = np.tile(np.arange(columns), rows)
        ids.append(np.full(n, pad, np.int16))
        positions.append(block + state[1])
        weights.append(np.zeros(n, np.float32))
        answer.append(np.full(n, -1, np.int16))
        state[0] += n
        state[1] += max(rows, columns)
        put(_ids(VISION_END))

    def put_media() -> None:
        if not len(sample.frames):
            return
        h, w = sample.frames.shape[1] // 32, sample.frames.shape[2] // 32
        if len(sample.frames) == 1:
            put_visual(IMAGE_PAD, h, w)
        for seconds in sample.timestamps:
            put(_text(f"<{seconds:.1f} seconds>"))
            put_visual(VIDEO_PAD, h, w)

    if rng.random() < 0.05:
        put(_ids(IM_START))
        put(_text("system\nYou are a helpful assistant."))
        put(_ids(IM_END))
        put(_text("\n"))
    text_first = rng.random() < 0.125
    tasks = []
    for number, turn in enumerate(sample.turns):
        put(_ids(IM_START))
        put(_text("user\n"))
        if number == 0 and not text_first:
            put_media()
        put(_text(turn.question))
        if number == 0 and text_first:
            put_media()
        put(_ids(IM_END))
        put(_text("\n"))
        put(_ids(IM_START))
        put(_text("assistant\n"))
        reply = np.concatenate([_text(turn.answer), _ids(IM_END)])
        weight = min(2.0, max(0.35, 4 / math.sqrt(len(reply)))) * TASK_BOOST.get(turn.task, 1.0)
        digits = (reply >= ord("0")) & (reply <= ord("9"))
        each = np.where(digits, weight * DIGIT_BOOST.get(turn.task, 1.0), weight).astype(np.float32)
        each[0] = max(each[0], FIRST_WEIGHT)
        put(reply, each, number)
        put(_text("\n"))
        tasks.append(TASKS.index(turn.task))
    return Dialogue(
        np.concatenate(ids),
        np.concatenate(positions, axis=1),
        np.concatenate(weights),
        np.concatenate(answer),
        np.concatenate(visual) if visual else np.zeros(0, np.int64),
        tasks,
    )


def patch_rows(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """[H, W, 3] -> [patches, 768], rows in merge-block order, each row a 16 x 16 x 3 square."""
    h, w = frame.shape[0] // 32, frame.shape[1] // 32
    blocks = frame.reshape(h, 2, 16, w, 2, 48).transpose(0, 3, 1, 4, 2, 5)
    return blocks.reshape(h * w * 4, 768)


def patch_place(h: int, w: int) -> npt.NDArray[np.int16]:
    """[patches, 4]: row, column, grid height, grid width of each patch of an h x w grid, in merge-block order."""
    grid = np.empty((h, w, 4), np.int16)
    grid[..., 0] = np.arange(h)[:, None]
    grid[..., 1] = np.arange(w)
    grid[..., 2:] = h, w
    return grid.reshape(h // 2, 2, w // 2, 2, 4).transpose(0, 2, 1, 3, 4).reshape(-1, 4)


def patch_chars(sample: Sample, h: int, w: int) -> npt.NDArray[np.uint8]:
    """[patches, 4]: codes of the characters whose centre lies in each patch, left to right, 0 where there are fewer."""
    out = np.zeros((h * w, CHARS_PER_PATCH), np.uint8)
    codes, xs, ys = sample.letters
    if not len(codes):
        return out
    row, column = ys.astype(np.int64) // 16, xs.astype(np.int64) // 16
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w) & (codes < CHAR_CLASSES)
    codes, xs, row, column = codes[inside], xs[inside], row[inside], column[inside]
    patch = (((row // 2) * (w // 2) + column // 2) * 2 + row % 2) * 2 + column % 2
    order = np.lexsort((xs, patch))
    patch, codes = patch[order], codes[order]
    first = np.searchsorted(patch, patch, side="left")
    rank = np.arange(len(patch)) - first
    keep = rank < CHARS_PER_PATCH
    out[patch[keep], rank[keep]] = codes[keep]
    return out


class Packer:
    """Fills one batch after another from a stream of samples; a sample that does not fit opens the next batch."""

    def __init__(self, samples: Iterator[Sample], budget: Budget, seed: int) -> None:
        self.samples = samples
        self.budget = budget
        self.rng = np.random.default_rng(seed)
        self.waiting: tuple[Sample, Dialogue] | None = None

    def fill(self, batch: Batch) -> None:
        """Overwrite every array of `batch` with new samples."""
        budget = self.budget
        batch.weights[:] = 0
        batch.answer[:] = -1
        at = dict.fromkeys(("patch", "second", "token", "vision", "text", "picture", "answer", "supervised"), 0)
        misses = 0
        while misses < 4:
            sample, talk = self.waiting or self._next()
            self.waiting = None
            if not self._fits(sample, talk, at):
                # Try a few more, then keep the last one for the next batch: the fill stays above 95 %.
                misses += 1
                if misses == 4:
                    self.waiting = (sample, talk)
                continue
            self._put_text(batch, talk, at)
            self._put_pictures(batch, sample, at)
        self._pad(batch, at)
        for segments, bounds in (
            (batch.vision_segments[: at["vision"]], batch.vision_bounds),
            (batch.text_segments[: at["text"]], batch.text_bounds),
        ):
            bounds[0] = 0
            bounds[1 : len(segments) + 1] = np.cumsum(segments)
            bounds[len(segments) + 1 :] = segments.sum()
        batch.counts[:] = (
            at["vision"], at["text"], at["picture"], at["answer"], at["supervised"],
            at["patch"], at["token"], at["second"],
            batch.vision_segments[: at["vision"]].max(), batch.text_segments[: at["text"]].max(),
        )  # fmt: skip
        assert at["patch"] <= budget.patches
        assert at["token"] <= budget.tokens

    def _next(self) -> tuple[Sample, Dialogue]:
        sample = next(self.samples)
        return sample, dialogue(sample, self.rng)

    def _fits(self, sample: Sample, talk: Dialogue, at: dict[str, int]) -> bool:
        budget, frames = self.budget, sample.frames
        pairs = max(1, len(frames) // 2)
        patches = pairs * (frames.shape[1] // 16) * (frames.shape[2] // 16) if len(frames) else 0
        return (
            at["patch"] + patches <= budget.patches
            and at["second"] + (patches if len(frames) > 1 else 0) <= budget.second
            and at["token"] + len(talk.ids) <= budget.tokens
            # A quarter of the segments stays free for the padding.
            and at["vision"] + pairs <= budget.segments * 3 // 4
            and at["text"] + 1 <= budget.segments * 3 // 4
            and at["answer"] + len(talk.tasks) <= budget.answers
        )

    def _put_text(self, batch: Batch, talk: Dialogue, at: dict[str, int]) -> None:
        t, n, m = at["token"], len(talk.ids), len(talk.visual)
        batch.ids[t : t + n] = talk.ids
        batch.positions[:, t : t + n] = talk.positions
        # Row i is asked for token i + 1.
        batch.targets[t : t + n - 1] = talk.ids[1:]
        batch.weights[t : t + n - 1] = talk.weights[1:]
        numbered = talk.answer[1:]
        batch.answer[t : t + n - 1] = np.where(numbered >= 0, numbered + at["answer"], -1)
        batch.tasks[at["answer"] : at["answer"] + len(talk.tasks)] = talk.tasks
        batch.features_at[at["patch"] // 4 : at["patch"] // 4 + m] = talk.visual + t
        batch.text_segments[at["text"]] = n
        at["token"] += n
        at["text"] += 1
        at["answer"] += len(talk.tasks)
        at["supervised"] += int((talk.weights > 0).sum())

    def _put_pictures(self, batch: Batch, sample: Sample, at: dict[str, int]) -> None:
        if not len(sample.frames):
            return
        h, w = sample.frames.shape[1] // 16, sample.frames.shape[2] // 16
        n, still = h * w, len(sample.frames) == 1
        for first in range(0, len(sample.frames), 2):
            p = at["patch"]
            batch.rows[p : p + n] = patch_rows(sample.frames[first])
            batch.place[p : p + n] = patch_place(h, w)
            batch.picture[p : p + n] = at["picture"]
            batch.chars[p : p + n] = patch_chars(sample, h, w) if still else 0
            if not still:
                q = at["second"]
                batch.second[q : q + n] = patch_rows(sample.frames[first + 1])
                batch.second_at[q : q + n] = np.arange(p, p + n)
                at["second"] += n
            batch.vision_segments[at["vision"]] = n
            at["vision"] += 1
            at["patch"] += n
        at["picture"] += 1

    def _pad(self, batch: Batch, at: dict[str, int]) -> None:
        """Fill the rest: padding attends only to itself, in short segments, and feeds the last token row, which nobody
        is asked about."""
        budget, p, t = self.budget, at["patch"], at["token"]
        batch.rows[p:] = 0
        batch.place[p:] = (0, 0, 2, 2)
        batch.picture[p:] = at["picture"]
        batch.chars[p:] = 0
        batch.second[at["second"] :] = 0
        batch.second_at[at["second"] :] = budget.patches - 1
        batch.features_at[p // 4 :] = budget.tokens - 1
        batch.ids[t:] = 256
        batch.positions[:, t:] = 0
        batch.targets[t:] = 0
        for name, used, total in (("vision", p, budget.patches), ("text", t, budget.tokens)):
            segments = batch.vision_segments if name == "vision" else batch.text_segments
            while used < total:
                # At most 200 padding segments, also when the batch is nearly empty.
                length = min(max(256, -(-(total - used) // 200)), total - used)
                segments[at[name]] = length
                at[name] += 1
                used += length


def _ids(*tokens: int) -> npt.NDArray[np.int16]:
    return np.array(tokens, np.int16)


def _text(text: str) -> npt.NDArray[np.int16]:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int16)
