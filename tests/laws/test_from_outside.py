"""Over HTTP, with the family's real tokenizer and template: the probabilities of a whole answer are the reference's."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import outside
import tiny

COUNT = 16
TOKENS = {"image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652}
TOKENS |= {"vision_end_token_id": 151653}
SIZES = ((256, 256), (448, 320), (320, 640), (96, 1024), (64, 32))
"""(height, width). The last is below the least area of these checkpoints and is scaled up on both sides."""


@dataclass(frozen=True)
class Side:
    """The reference with its processor, and the address of ours."""

    model: Any
    processor: Any
    names: list[bytes]
    """The bytes of each token."""
    server: outside.Server


@pytest.fixture(scope="module")
def side(shared: Path, transformers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """A checkpoint directory, all of it written by the reference, served by a process of its own."""
    raw = tiny.config(tied=False, text={"vocab_size": 151936}, top=TOKENS)
    model = tiny.reference_model(transformers, raw, seed=3)
    small = tmp_path_factory.mktemp("small")
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        shutil.copy(shared / "qwen3-vl" / "4b-instruct" / name, small)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shared / "tokenizer" / name, small)
    processor = transformers.Qwen3VLProcessor(
        transformers.Qwen2VLImageProcessor.from_pretrained(small),
        transformers.AutoTokenizer.from_pretrained(small),
        transformers.Qwen3VLVideoProcessor.from_pretrained(small),
        chat_template=(shared / "qwen3-vl" / "instruct-common" / "chat_template.jinja").read_text(),
    )
    directory = tiny.save_reference(model, tmp_path_factory.mktemp("written"))
    processor.save_pretrained(directory)
    # The reference of this version keeps one more pair of markers around a video than the first releases did.
    with outside.serving("--model", directory, "--dtype", "float32", "--video-outer-markers") as server:
        yield Side(model, processor, _bytes_of_tokens(directory / "tokenizer.json"), server)


def _bytes_of_tokens(file: Path) -> list[bytes]:
    """The bytes of each id, by GPT-2's table of printable stand-ins for bytes."""
    told = json.loads(file.read_text())
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = plain + [256 + i for i in range(256 - len(plain))]
    values = plain + [i for i in range(256) if i not in plain]
    table = {chr(stand_in): value for stand_in, value in zip(stand_ins, values, strict=True)}
    names = {id: bytes(table[char] for char in text) for text, id in told["model"]["vocab"].items()}
    names |= {token["id"]: token["content"].encode() for token in told["added_tokens"]}
    return [names[id] for id in range(len(names))]


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    ramp = np.linspace(0, 128, width)[None, :, None] + rng.integers(0, 127, (height, width, 3))
    return ramp.astype(np.uint8)


@torch.inference_mode()
def _check(side: Side, messages: list[dict[str, Any]], media: dict[str, Any], ours: list[dict[str, Any]]) -> list[int]:
    """Ask both; the ids chosen. `messages` in the template's form, `ours` in that of the interface."""
    prompt = side.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = side.processor(text=[prompt], return_tensors="pt", **media)
    made = side.model.generate(
        **inputs,
        max_new_tokens=COUNT,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    expected = torch.stack([row[0] for row in made.logits]).double().log_softmax(-1)
    assert expected.shape == (COUNT, 151936)
    answer = side.server.talk(ours, max_tokens=COUNT, ignore_eos=True, logprobs=True, top_logprobs=20)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] == inputs["input_ids"].shape[1]
    told = answer.json()["choices"][0]["logprobs"]["content"]
    assert len(told) == COUNT
    chosen = made.sequences[0, -COUNT:].tolist()
    assert [bytes(one["bytes"]) for one in told] == [side.names[id] for id in chosen]
    for step, one in enumerate(told):
        best = expected[step, : len(side.names)].topk(20)
        values = [other["logprob"] for other in one["top_logprobs"]]
        assert values == pytest.approx(best.values.tolist(), abs=1e-4), step
        named = {side.names[id]: value for id, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)}
        for other in one["top_logprobs"]:
            # Two that are closer than the bound at the end of the list may change places.
            assert other["logprob"] == pytest.approx(named.get(bytes(other["bytes"]), values[-1]), abs=1e-4), step
        assert one["logprob"] == pytest.approx(float(expected[step, chosen[step]]), abs=1e-4), step
    return chosen


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize("text", ["Hello!", "Grüße, 世界 🌍 — 12.50 €\n\n  def f(x):\n\treturn x", "a" * 700])
def test_text(side: Side, text: str) -> None:
    talk = [_user(_text(text))]
    assert len(set(_check(side, talk, {}, talk))) > 3, "an answer that repeats itself proves little"


@pytest.mark.parametrize("size", SIZES)
def test_one_picture(side: Side, rng: np.random.Generator, size: tuple[int, int]) -> None:
    pixels = _noise(rng, *size)
    question = _text("What is this?")
    theirs = [_user({"type": "image"}, question)]
    _check(side, theirs, {"images": [Image.fromarray(pixels)]}, [_user(outside.image(outside.png(pixels)), question)])


def test_a_picture_that_must_be_resized(side: Side, rng: np.random.Generator) -> None:
    pixels = _noise(rng, 301, 517)
    theirs = [_user({"type": "image"})]
    _check(side, theirs, {"images": [Image.fromarray(pixels)]}, [_user(outside.image(outside.png(pixels)))])


def test_several_turns_and_pictures_and_a_system_message(side: Side, rng: np.random.Generator) -> None:
    first, second = _noise(rng, 256, 320), _noise(rng, 384, 256)

    def talk(one: dict[str, Any], two: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"role": "system", "content": [_text("You are terse.")]},
            _user(_text("Look at this:"), one, _text("What does it say?")),
            {"role": "assistant", "content": [_text("Nothing, it is noise.")]},
            _user(two, _text("And this one?")),
        ]

    media = {"images": [Image.fromarray(first), Image.fromarray(second)]}
    one, two = (outside.image(outside.png(pixels)) for pixels in (first, second))
    _check(side, talk({"type": "image"}, {"type": "image"}), media, talk(one, two))


@pytest.mark.parametrize(("num_frames", "rate", "size"), [(61, 30, (96, 160)), (40, 8, (64, 64)), (25, 10, (128, 96))])
def test_a_video(
    side: Side, rng: np.random.Generator, transformers: ModuleType, num_frames: int, rate: int, size: tuple[int, int]
) -> None:
    import av

    shades = np.linspace(0, 255, num_frames)[:, None, None, None] * np.ones((1, *size, 3))
    shades[:, : size[0] // 2, : size[1] // 2] = _noise(rng, size[0] // 2, size[1] // 2)
    data = outside.clip(shades.astype(np.uint8), rate)
    with av.open(io.BytesIO(data)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert len(frames) == num_frames
    facts = transformers.video_utils.VideoMetadata(
        total_num_frames=num_frames, fps=float(rate), duration=num_frames / rate, width=size[1], height=size[0]
    )
    media = {"videos": [frames], "video_metadata": [facts]}
    question = _text("When does it become light?")
    _check(side, [_user({"type": "video"}, question)], media, [_user(outside.video(data), question)])
