"""Grammars, budgets of thought and the repetition guard through the whole corridor, with the bundled tokenizer and with
the released one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from test_native import play, request, told

import saccade
from saccade.backends.native import Native
from saccade.engine.grammar import Matcher
from saccade.engine.supervisor import EngineProcess
from saccade.errors import RequestError
from saccade.kernels import select
from saccade.media.limits import MediaLimits
from saccade.model.config import ModelConfig
from saccade.model.headers import read_json
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.weights import save
from saccade.types import Delta, Grammar, Request

Load = Callable[..., Native]
FORM = {
    "type": "object",
    "properties": {"what": {"type": "string", "maxLength": 8}, "where": {"enum": ["left", "right", "北"]}},
    "required": ["what", "where"],
    "additionalProperties": False,
}
GRAMMAR = Grammar("json_schema", json.dumps(FORM))


def form(**sampling: Any) -> Request:
    return request(**({"grammar": GRAMMAR, "temperature": 1.0, "max_tokens": 300, "ignore_eos": False} | sampling))


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


@pytest.fixture(params=["bundled", "released"])
def thinker(request: pytest.FixtureRequest, small_checkpoint: Path, shared: Path, tmp_path: Path) -> Path:
    """A checkpoint that thinks before it answers, with random weights."""
    directory = tmp_path / "thinker"
    shutil.copytree(small_checkpoint, directory)
    shutil.copy(shared / "qwen3-vl" / "thinking-common" / "chat_template.jinja", directory)
    if request.param == "released":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(shared / "tokenizer" / name, directory)
        released = read_json(shared / "qwen3-vl" / "4b-instruct" / "config.json")
        raw = read_json(directory / "config.json")
        raw["text_config"]["vocab_size"] = released["text_config"]["vocab_size"]
        raw |= {key: id for key, id in released.items() if key.endswith("_token_id")}
        (directory / "config.json").write_text(json.dumps(raw))
        (directory / "generation_config.json").unlink()
        model = Qwen3VL(ModelConfig.from_dict(raw), select("cpu"))
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(float(name.endswith("norm.weight")), 0.2, generator=generator)
        save(model, directory)
    return directory


@pytest.mark.parametrize("process", [False, True])
def test_answers_under_a_schema(load: Load, process: bool) -> None:
    async def scene(backend: Native) -> None:
        ended = 0
        for seed in range(6):
            deltas = await told(backend.generate(form(seed=seed)))
            if deltas[-1].finish_reason == "stop":
                jsonschema.validate(json.loads(text(deltas)), FORM)
                ended += 1
        assert ended
        for bad in (
            Grammar("regex", "(?!a)"),
            Grammar("json_schema", '{"not": {}}'),
            Grammar("lark", "start: b", "tools"),
        ):
            with pytest.raises(RequestError) as caught:
                await told(backend.generate(form(grammar=bad)))
            assert (caught.value.param, caught.value.code) == (bad.param, "invalid_grammar")
        assert await told(backend.generate(request()))

    play(load(process=EngineProcess()) if process else load(), scene)


def test_a_grammar_that_fails_in_the_middle_is_the_request_s_fault(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(backend: Native) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Matcher, "push", lambda self, *_: setattr(self, "mask", self.mask * 0))
            with pytest.raises(RequestError, match="allows nothing") as caught:
                await told(backend.generate(form()))
        assert caught.value.param == "response_format"
        assert await told(backend.generate(form()))

    play(load(), scene)


def test_thoughts_are_closed_and_the_answer_has_room(thinker: Path) -> None:
    async def scene(backend: Native) -> None:
        for budget, most in ((0, 60), (7, 60), (10_000, 40)):
            asked = form(thinking_budget=budget, max_tokens=most, seed=1, ignore_eos=True, grammar=None)
            deltas = await told(backend.generate(asked))
            whole = "".join(delta.reasoning + delta.text for delta in deltas)
            tokens = [id for delta in deltas for id in delta.token_ids]
            end = backend._prompts.tokenizer.added["</think>"]
            room = most - tokens.index(end)
            assert room >= most // 4
            assert tokens.index(end) <= budget + 10
            assert len(tokens) == most
            assert whole
        deltas = await told(backend.generate(form(thinking_budget=5, seed=2)))
        tokens = [id for delta in deltas for id in delta.token_ids]
        answer = backend._prompts.tokenizer.decode(tokens).rpartition("</think>\n\n")[2]
        if deltas[-1].finish_reason == "stop":
            jsonschema.validate(json.loads(answer), FORM)
        else:
            assert answer.startswith("{")
        with pytest.raises(RequestError) as caught:
            await told(backend.generate(form(thinking_budget=5, max_tokens=2)))
        assert caught.value.param == "max_tokens"

    play(Native.load(thinker, name="small", limits=MediaLimits()), scene)


def test_a_model_that_does_not_think_has_no_budget(load: Load) -> None:
    async def scene(backend: Native) -> None:
        with pytest.raises(RequestError) as caught:
            await told(backend.generate(request(thinking_budget=5)))
        assert caught.value.param == "thinking_budget"

    play(load(), scene)


def test_an_answer_that_repeats_itself_ends() -> None:
    bundled = Path(saccade.__file__).parent / "demo" / "checkpoint"
    same = Grammar("regex", r"(\[1, 2, 3, 4\], ){9}")

    async def scene(backend: Native) -> None:
        deltas = await told(backend.generate(form(grammar=same, repetition_guard=3, max_tokens=900)))
        assert text(deltas).count("[1, 2, 3, 4]") == 3
        assert deltas[-1].finish_reason == "length"
        deltas = await told(backend.generate(form(grammar=same, max_tokens=900)))
        assert text(deltas).count("[1, 2, 3, 4]") == 9
        assert deltas[-1].finish_reason == "stop"

    play(Native.load(bundled, name="small", limits=MediaLimits()), scene)
