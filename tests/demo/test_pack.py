"""What training packs is what serving builds: the same ids, positions, patch rows and targets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from saccade.demo import bundle, pack
from saccade.demo.world.sample import Sample, Turn, no_letters
from saccade.kernels import reference
from saccade.text.prompt import PromptBuilder
from saccade.types import MediaPart, MediaRef, Message, Picture, TextPart

TURNS = (Turn("read", "Read all the text.", "Grüße\n12.50 €"), Turn("total", "What is the total?", "$3.00"))


def sample(frames: int, height: int, width: int, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    stamps = tuple(0.25 + k for k in range(frames // 2)) if frames > 1 else ()
    letters = (
        np.array([65, 66, 67], np.uint8),
        np.array([5, 10, 40], np.int16),
        np.array([3, 8, 20], np.int16),
    )
    return Sample("lines", pixels, stamps, TURNS, letters if frames == 1 else no_letters())


def picture_of(s: Sample) -> Picture:
    t, h, w = max(1, len(s.frames) // 2), s.frames.shape[1] // 16, s.frames.shape[2] // 16
    kind = "image" if len(s.frames) == 1 else "video"
    return Picture(kind, s.frames, (t, h, w), s.timestamps, s.frames.shape[1:3], "key")


class NeverOdd(np.random.Generator):
    """A generator whose coin always falls on the common side: picture first, no system message."""

    def random(self, *args: object, **kwargs: object) -> float:  # type: ignore[override]
        return 0.99


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 96), (6, 32, 64), (0, 32, 32)])
def test_dialogue_equals_the_prompt_builder(frames: int, height: int, width: int) -> None:
    s = (
        sample(frames, height, width)
        if frames
        else Sample("chat", np.zeros((0, 0, 0, 3), np.uint8), (), TURNS, no_letters())
    )
    talk = pack.dialogue(s, NeverOdd(np.random.PCG64(0)))
    pictures = (picture_of(s),) if frames else ()
    media = tuple(MediaPart(MediaRef(p.kind, "x", data=b"")) for p in pictures)
    messages = [
        Message("user", (*media, TextPart(TURNS[0].question))),
        Message("assistant", (TextPart(TURNS[0].answer),)),
        Message("user", (TextPart(TURNS[1].question),)),
        Message("assistant", (TextPart(TURNS[1].answer),)),
    ]
    prompt = PromptBuilder.from_dir(bundle.directory()).build(messages, pictures, add_generation_prompt=False)
    assert talk.ids.tolist() == list(prompt.ids)
    assert np.array_equal(talk.positions, prompt.positions)
    rows = [i for span in prompt.spans for i in range(span.start, span.start + span.length)]
    assert talk.visual.tolist() == rows


def test_the_first_letter_of_an_answer_weighs_as_much_as_that_of_a_refusal() -> None:
    frames = np.zeros((1, 64, 96, 3), np.uint8)
    for task, answer in (("read", "word " * 80), ("cannot", "I cannot do that."), ("count", "3")):
        one = Sample("lines", frames, (), (Turn(task, "?", answer),), no_letters())
        weights = pack.dialogue(one, np.random.default_rng(0)).weights
        first, *rest = weights[weights > 0]
        assert first >= pack.FIRST_WEIGHT
        assert all(weight <= first for weight in rest)


def test_patch_rows_are_the_reference_rows_in_another_column_order() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    wanted = reference.patch_rows(torch.from_numpy(frame[None]), torch.float32)
    rows = torch.from_numpy(pack.patch_rows(frame)).view(-1, 16, 16, 3).permute(0, 3, 1, 2).flatten(1)
    assert torch.equal((rows.float() - 127.5) / 127.5, wanted)


def test_characters_fall_into_their_patches_left_to_right() -> None:
    chars = pack.patch_chars(sample(1, 64, 96), 4, 6)
    assert chars[0].tolist() == [65, 66, 0, 0]
    # x 40, y 20 is patch row 1, column 2: the second block of the first block row, third in it.
    assert chars[4 + 2].tolist() == [67, 0, 0, 0]
    assert int((chars > 0).sum()) == 3


def test_a_batch_holds_whole_samples_and_pads_the_rest() -> None:
    budget = pack.Budget(patches=512, second=128, tokens=1024, segments=256, answers=64)

    def stream() -> Iterator[Sample]:
        for n in range(10_000):
            yield sample((1, 4, 1)[n % 3], 64, 96, seed=n)

    packer = pack.Packer(stream(), budget, seed=0)
    batch = pack.Batch.over(bytearray(pack.Batch.nbytes(budget)), 0, budget)
    for _ in range(3):
        packer.fill(batch)
        vision, text, pictures, answers, supervised, patches, tokens, second, *longest = batch.counts.tolist()
        assert batch.vision_segments[:vision].sum() == budget.patches
        assert batch.text_segments[:text].sum() == budget.tokens
        assert longest == [batch.vision_segments[:vision].max(), batch.text_segments[:text].max()]
        assert (np.diff(batch.vision_bounds[: vision + 1]) == batch.vision_segments[:vision]).all()
        assert (np.diff(batch.text_bounds[: text + 1]) == batch.text_segments[:text]).all()
        assert set(batch.vision_bounds[vision:].tolist()) == {budget.patches}
        assert 0 < patches <= budget.patches
        assert 0 < tokens < budget.tokens
        assert answers == 2 * (batch.answer.max() + 1) // 2 > 0
        assert (batch.weights > 0).sum() == supervised == (batch.answer >= 0).sum()
        # Every merged patch feeds a placeholder row, every padding patch the last row.
        fed = batch.ids[batch.features_at[: patches // 4]]
        assert set(fed.tolist()) <= {pack.IMAGE_PAD, pack.VIDEO_PAD}
        assert (batch.features_at[patches // 4 :] == budget.tokens - 1).all()
        assert (batch.picture[:patches] < pictures).all()
        assert 0 < second <= patches
        # A supervised row's target is the next id.
        rows = np.flatnonzero(batch.weights > 0)
        assert (batch.targets[rows] == batch.ids[rows + 1]).all()
