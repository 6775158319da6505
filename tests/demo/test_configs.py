"""The demo checkpoint's files say the same as their generator, and the reference implementation understands them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from saccade.demo.configs import CHECKPOINT, SPECIALS, TOKEN_IDS, byte_alphabet, contents


@pytest.mark.parametrize("name", contents())
def test_files_are_what_the_generator_writes(name: str) -> None:
    assert json.loads((CHECKPOINT / name).read_text(encoding="utf-8")) == contents()[name]


def test_the_alphabet_has_one_character_for_each_byte() -> None:
    assert len(set(byte_alphabet())) == 256
    assert all(byte_alphabet()[ord(char)] == char for char in "AZaz09!~")


def test_the_template_is_the_official_one(shared: Path) -> None:
    official = shared / "qwen3-vl" / "instruct-common" / "chat_template.jinja"
    assert (CHECKPOINT / "chat_template.jinja").read_bytes() == official.read_bytes()


def test_special_tokens_come_in_the_order_of_the_released_tokenizer(shared: Path) -> None:
    released = json.loads((shared / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    added = sorted(released["added_tokens"], key=lambda token: token["id"])
    assert [token["content"] for token in added] == list(SPECIALS)
    ours = {token["content"]: token["special"] for token in contents()["tokenizer.json"]["added_tokens"]}
    theirs = {token["content"]: token["special"] for token in added}
    assert ours == theirs


def test_the_reference_processor_gives_one_token_for_each_byte(transformers: ModuleType) -> None:
    processor = transformers.AutoProcessor.from_pretrained(CHECKPOINT)
    text = 'Price: 3 €, "naïve"\n\ttotal  12'
    content = [{"type": "image", "image": np.zeros((64, 96, 3), np.uint8)}, {"type": "text", "text": text}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    ids = processor(text=prompt, images=[np.zeros((64, 96, 3), np.uint8)])["input_ids"][0]
    mark = TOKEN_IDS
    assert list(ids) == [
        *(mark["<|im_start|>"], *b"user\n", mark["<|vision_start|>"], *[mark["<|image_pad|>"]] * 6),
        *(mark["<|vision_end|>"], *text.encode(), mark["<|im_end|>"], *b"\n"),
        *(mark["<|im_start|>"], *b"assistant\n"),
    ]
    assert processor.tokenizer.decode(list(text.encode())) == text


def test_the_reference_reads_the_same_limits(transformers: ModuleType) -> None:
    processor = transformers.AutoProcessor.from_pretrained(CHECKPOINT)
    assert dict(processor.image_processor.size) == {"shortest_edge": 1024, "longest_edge": 800 * 608}
    video = processor.video_processor
    assert dict(video.size) == {"shortest_edge": 4096, "longest_edge": 1_228_800}
    assert (video.fps, video.min_frames, video.max_frames) == (2, 4, 16)
    config = transformers.AutoConfig.from_pretrained(CHECKPOINT)
    assert config.text_config.rope_parameters["mrope_section"] == [12, 10, 10]
    assert config.text_config.rope_parameters["rope_theta"] == 10000.0
