"""Our model equals the reference implementation on random tiny checkpoints that it wrote itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from saccade.model import weights
from saccade.model.qwen3vl import Qwen3VL

MODELS: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied": {"tied": False},
    "moe": {"moe": True, "tied": False},
    "moe in every second layer": {"moe": True, "text": {"decoder_sparse_step": 2, "mlp_only_layers": [3]}},
    "width72": {"vision": {"hidden_size": 144, "num_heads": 2}},
}


def _talks(rng: np.random.Generator) -> dict[str, tiny.Conversation]:
    text = tiny.text

    def image(gh: int, gw: int) -> tiny.Piece:
        return tiny.picture(rng, 0, gh, gw)

    def video(t: int, gh: int, gw: int) -> tiny.Piece:
        return tiny.picture(rng, t, gh, gw)

    five = (image(4, 4), text(2), image(2, 8), image(14, 6), text(9), image(2, 2), image(10, 10))
    return {
        "text": tiny.conversation(rng, text(61)),
        "picture": tiny.conversation(rng, text(7), image(8, 12), text(11)),
        "five": tiny.conversation(rng, text(3), *five, text(8)),
        "video": tiny.conversation(rng, text(5), video(3, 6, 4), text(6)),
        "mixed": tiny.conversation(rng, text(5), image(6, 6), text(3), video(2, 4, 8), text(4), image(2, 4), text(7)),
        "long": tiny.conversation(rng, text(200), image(20, 28), text(150), video(2, 8, 8), text(120)),
    }


Pair = tuple[Any, Qwen3VL]


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, transformers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The reference and ours, from one checkpoint directory."""
    reference = tiny.reference_model(transformers, tiny.config(**MODELS[request.param]))
    path = tiny.save_reference(reference, tmp_path_factory.mktemp("checkpoint"))
    return reference, weights.load(path, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def talks() -> dict[str, tiny.Conversation]:
    return _talks(np.random.default_rng(7))


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("name", ["picture", "five", "video", "mixed"])
def test_every_level_of_vision_features_is_equal(
    pair: Pair, talks: dict[str, tiny.Conversation], name: str, transformers: ModuleType
) -> None:
    reference, model = pair
    for one in talks[name].pictures:
        talk = tiny.Conversation(pictures=[one])
        inputs = tiny.reference_inputs(transformers, talk)
        pixels = inputs.get("pixel_values", inputs.get("pixel_values_videos"))
        out = reference.model.visual(pixels, grid_thw=inputs.get("image_grid_thw", inputs.get("video_grid_thw")))
        expected = torch.stack([out.pooler_output, *out.deepstack_features])
        ours = tiny.features(model, talk)
        for level in range(4):
            assert tiny.relative_error(ours[level], expected[level]) < 1e-5, level


@pytest.mark.parametrize("name", ["text", "picture", "five", "video", "mixed", "long"])
def test_logits_are_equal(pair: Pair, talks: dict[str, tiny.Conversation], name: str, transformers: ModuleType) -> None:
    reference, model = pair
    inputs = tiny.reference_inputs(transformers, talks[name])
    expected = reference(**inputs).logits[0]
    positions, _ = tiny.reference_positions(reference, inputs)
    for chunk in (1 << 20, 500, 37) + ((1,) if name != "long" else ()):
        ours = tiny.logits(model, talks[name], positions, chunk=chunk)
        assert tiny.relative_error(ours, expected) < 1e-5, chunk


@pytest.mark.parametrize("name", ["text", "picture", "mixed"])
def test_32_greedy_tokens_are_equal(
    pair: Pair, talks: dict[str, tiny.Conversation], name: str, transformers: ModuleType
) -> None:
    reference, model = pair
    inputs = tiny.reference_inputs(transformers, talks[name])
    positions, delta = tiny.reference_positions(reference, inputs)
    made = reference.generate(**inputs, max_new_tokens=32, do_sample=False, eos_token_id=None, pad_token_id=0)
    expected = made[0, len(talks[name].ids) :].tolist()
    ours = tiny.greedy(model, talks[name], positions, delta, 32)
    assert ours == expected
    assert len(set(expected)) > 3, "a sequence that repeats proves little"


@pytest.mark.parametrize("name", ["text", "picture", "mixed"])
def test_bf16_is_as_near_to_fp32_as_the_references_bf16(
    pair: Pair, talks: dict[str, tiny.Conversation], name: str, transformers: ModuleType, tmp_path: Path
) -> None:
    reference, _ = pair
    exact = copy.deepcopy(reference).bfloat16().float()  # the same rounded weights on all sides
    rough = copy.deepcopy(reference).bfloat16()
    model = weights.load(tiny.save_reference(rough, tmp_path), dtype="bfloat16", device="cpu")
    inputs = tiny.reference_inputs(transformers, talks[name])
    positions, _ = tiny.reference_positions(reference, inputs)
    expected = exact(**inputs).logits[0]
    theirs = tiny.relative_error(rough(**inputs).logits[0], expected)
    ours = tiny.relative_error(tiny.logits(model, talks[name], positions), expected)
    assert ours < 1.5 * theirs


def test_the_demo_checkpoint_gives_the_references_logits(
    shared: Path, transformers: ModuleType, rng: np.random.Generator
) -> None:
    path = shared / "demo-checkpoint"
    reference = transformers.Qwen3VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    model = weights.load(path, dtype="float32", device="cpu")
    ids = {"image": model.config.image_token_id, "video": model.config.video_token_id}
    pieces = tiny.text(12), tiny.picture(rng, 0, 14, 20), tiny.text(20), tiny.picture(rng, 2, 6, 8), tiny.text(9)
    talk = tiny.conversation(rng, *pieces)
    swap = {tiny.IMAGE: ids["image"], tiny.VIDEO: ids["video"], tiny.START: 265, tiny.END: 266}
    talk.ids = [swap.get(i, i) for i in talk.ids]
    inputs = tiny.reference_inputs(transformers, talk)
    positions, delta = tiny.reference_positions(reference, inputs)
    assert tiny.relative_error(tiny.logits(model, talk, positions), reference(**inputs).logits[0]) < 1e-5
    made = reference.generate(**inputs, max_new_tokens=16, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert tiny.greedy(model, talk, positions, delta, 16) == made[0, len(talk.ids) :].tolist()
