"""The checkpoint's own sampling, and its place behind the request's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saccade.backends.generation import GenerationDefaults, check_ids
from saccade.errors import CheckpointError, RequestError
from saccade.types import SamplingParams


def read(directory: Path, config: Any) -> GenerationDefaults:
    (directory / "generation_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return GenerationDefaults.from_dir(directory)


def test_the_released_values(shared: Path) -> None:
    defaults = GenerationDefaults.from_dir(shared / "qwen3-vl" / "4b-instruct")
    if not defaults.stop_ids:
        defaults = GenerationDefaults.from_dir(shared / "qwen3-vl" / "instruct-common")
    assert defaults == GenerationDefaults((151645, 151643), 0.7, 20, 0.8)


def test_the_request_wins_value_by_value(tmp_path: Path) -> None:
    defaults = read(tmp_path, {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "eos_token_id": 3})
    assert defaults.stop_ids == (3,)
    neutral = {"min_p": 0.0, "repetition_penalty": 1.0}
    assert defaults.fill(SamplingParams()) == SamplingParams(temperature=0.7, top_p=0.8, top_k=20, **neutral)
    asked = SamplingParams(
        temperature=0.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        repetition_penalty=1.0,
        seed=4,
        stop=("x",),
        logit_bias=((1, 2.0),),
    )
    assert defaults.fill(asked) == asked
    assert defaults.fill(SamplingParams(top_k=5)) == SamplingParams(temperature=0.7, top_p=0.8, top_k=5, **neutral)


def test_penalty_and_min_p_of_the_checkpoint_are_applied(tmp_path: Path) -> None:
    defaults = read(tmp_path, {"min_p": 0.05, "repetition_penalty": 1.05})
    filled = defaults.fill(SamplingParams())
    assert (filled.min_p, filled.repetition_penalty) == (0.05, 1.05)
    filled = defaults.fill(SamplingParams(min_p=0.0, repetition_penalty=1.0))
    assert (filled.min_p, filled.repetition_penalty) == (0.0, 1.0)


def test_neutral_without_a_file_and_greedy_without_sampling(tmp_path: Path) -> None:
    neutral = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
    assert GenerationDefaults.from_dir(tmp_path).fill(SamplingParams()) == neutral
    assert read(tmp_path, {}).fill(SamplingParams()) == neutral
    greedy = read(tmp_path, {"do_sample": False, "temperature": 0.7, "top_k": 3, "repetition_penalty": 1.1})
    assert greedy.fill(SamplingParams()).temperature == 0.0
    assert greedy.fill(SamplingParams()).repetition_penalty == 1.1
    greedy = read(tmp_path, {"do_sample": False, "temperature": 0.7, "top_k": 3})
    assert greedy.fill(SamplingParams(temperature=1.0)) == neutral


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ({"eos_token_id": "<|im_end|>"}, "eos_token_id"),
        ({"eos_token_id": [1, None]}, "eos_token_id"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": "20"}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"min_p": -0.1}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"do_sample": False, "repetition_penalty": "1"}, "repetition_penalty"),
    ],
)
def test_odd_values_are_named(tmp_path: Path, config: Any, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        read(tmp_path, config)


def test_a_bias_of_an_id_that_there_is_not_is_refused() -> None:
    check_ids(SamplingParams(logit_bias=((0, 1.0), (99, 1.0))), 100)
    with pytest.raises(RequestError, match=r"100.*99") as caught:
        check_ids(SamplingParams(logit_bias=((0, 1.0), (100, 1.0))), 100)
    assert caught.value.param == "logit_bias.100"
