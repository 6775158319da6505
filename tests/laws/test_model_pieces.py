"""The pieces of the model are one graph each, wait for no device, and add up to the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tiny
from saccade.kernels import select
from saccade.model import weights
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL


def _model(*, moe: bool) -> Qwen3VL:
    made = Qwen3VL(ModelConfig.from_dict(tiny.config(moe=moe)), select("cpu"))
    weights.initialize(made, seed=1)
    return made


@pytest.fixture(scope="module", params=["dense", "moe"])
def model(request: pytest.FixtureRequest) -> Qwen3VL:
    return _model(moe=request.param == "moe")


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def _pieces(model: Qwen3VL) -> dict[str, tuple[nn.Module, Callable[..., object], tuple[Tensor, ...]]]:
    layout = model.visual.layout([(1, 4, 6), (1, 4, 2)], "cpu")
    block, layer = model.visual.blocks[0], model.language.layers[0]
    patches, rows = torch.randn(32, 64), torch.randn(10, 96)
    return {
        "block.qkv": (block, block.qkv, (patches, torch.randn(32, 64), layout.cos, layout.sin)),
        "block.finish": (block, block.finish, (patches, torch.randn(32, 2, 32))),
        "merger": (model.visual.merger, model.visual.merger.forward, (patches,)),
        "deepstack": (model.visual.deepstack_mergers[0], model.visual.deepstack_mergers[0].forward, (patches,)),
        "layer.qkv": (layer, layer.qkv, (rows,)),
        "layer.finish": (layer, layer.finish, (rows, torch.randn(10, 6, 32))),
    }


def _run(module: nn.Module, call: Callable[..., object], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs, and the gradients of inputs and weights that take part."""
    module.zero_grad()
    first = inputs[0].clone().requires_grad_()
    out = call(first, *inputs[1:])
    outs = list(out) if isinstance(out, tuple) else [out]
    assert all(isinstance(x, Tensor) for x in outs)
    torch.stack([x.square().sum() for x in outs]).sum().backward()
    return [*outs, first.grad, *(p.grad.clone() for p in module.parameters() if p.grad is not None)]


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("name", ["block.qkv", "block.finish", "merger", "deepstack", "layer.qkv", "layer.finish"])
def test_a_compiled_piece_is_one_graph_with_the_same_gradients(name: str) -> None:
    module, call, inputs = _pieces(_model(moe=False))[name]
    compiled = torch.compile(call, fullgraph=True, dynamic=False, backend="aot_eager")
    for ours, expected in zip(_run(module, compiled, inputs), _run(module, call, inputs), strict=True):
        torch.testing.assert_close(ours, expected)


def test_no_forward_asks_for_a_value(model: Qwen3VL) -> None:
    """On the meta device there are shapes but no values: whatever would wait for an accelerator fails here."""
    with torch.device("meta"):
        ghost = Qwen3VL(model.config, select("meta")).bfloat16()
        pixels = [torch.empty(1, 64, 96, 3, dtype=torch.uint8), torch.empty(4, 32, 64, 3, dtype=torch.uint8)]
        features = ghost.visual(pixels, [(1, 4, 6), (2, 2, 4)])
        assert features.shape == (4, 6 + 4, 96)
        ids, rows = torch.empty(20, dtype=torch.int64), torch.empty(10, dtype=torch.int64)
        x = ghost.language.embed(ids)
        kv = tiny.ContiguousKV(ghost).at(torch.empty(3, 20, dtype=torch.int64))
        assert ghost.language.head(ghost.language(x, kv, features[1:], rows)).shape == (20, 300)


@torch.inference_mode()
def test_the_pieces_of_the_tower_are_the_tower(model: Qwen3VL, rng: np.random.Generator) -> None:
    tower, piece = model.visual, tiny.picture(rng, 0, 6, 8)
    pixels = torch.from_numpy(piece.pixels)
    layout = tower.layout([piece.grid], "cpu")
    x = tower.place(tower.embed(model.ops.patch_rows(pixels, torch.float32)), layout)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1)

    torch.testing.assert_close(tower.encode(x, layout.cos, layout.sin, attend), tower([pixels], [piece.grid]))


@torch.inference_mode()
@pytest.mark.parametrize("wanted", [[5, 0, 11], []])
@pytest.mark.parametrize("levels", [0, 3, 5])
def test_wanted_rows_are_those_of_the_whole(
    model: Qwen3VL, rng: np.random.Generator, wanted: list[int], levels: int
) -> None:
    """Also where DeepStack reaches behind the last layer."""
    language = model.language
    few = len(language.layers)
    assert levels <= 3 or levels > few - 1, "no case reaches behind the last layer"
    x, positions = torch.from_numpy(rng.standard_normal((12, 96), dtype=np.float32)), torch.arange(12).expand(3, -1)
    deepstack = torch.from_numpy(rng.standard_normal((min(levels, few), 4, 96), dtype=np.float32)) if levels else None
    rows = torch.tensor([0, 3, 5, 6]) if levels else None
    whole = language(x.clone(), tiny.ContiguousKV(model).at(positions), deepstack, rows)
    some = language(x.clone(), tiny.ContiguousKV(model).at(positions), deepstack, rows, torch.tensor(wanted).long())
    torch.testing.assert_close(some, whole[wanted], rtol=0, atol=1e-5)


def test_gradients_reach_every_parameter(model: Qwen3VL, rng: np.random.Generator) -> None:
    model.zero_grad()
    talk = tiny.conversation(rng, tiny.text(9), tiny.picture(rng, 0, 4, 4), tiny.picture(rng, 2, 2, 4), tiny.text(30))
    positions = torch.arange(len(talk.ids)).expand(3, -1)
    tiny.logits(model, talk, positions).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@torch.inference_mode()
def test_a_token_knows_nothing_of_what_follows(model: Qwen3VL, rng: np.random.Generator) -> None:
    head = tiny.conversation(rng, tiny.text(6), tiny.picture(rng, 0, 4, 6), tiny.text(5))
    positions = torch.arange(60).expand(3, 60)
    short = tiny.logits(model, head, positions[:, : len(head.ids)])
    longer = tiny.Conversation(head.ids + [7] * 20, head.kinds + [0] * 20, head.pictures)
    long = tiny.logits(model, longer, positions[:, : len(longer.ids)])
    torch.testing.assert_close(long[: len(head.ids)], short)
