"""Checkpoints: every key style and layout, every way to be broken, and the memory that loading takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny
from saccade.errors import CheckpointError
from saccade.kernels import select
from saccade.model import weights
from saccade.model.config import ModelConfig
from saccade.model.qwen3vl import Qwen3VL

Tensors = dict[str, Tensor]
LAYER = "model.language_model.layers.2."
EMBEDDING = "model.language_model.embed_tokens.weight"


def _save(directory: Path, **changes: object) -> tuple[Qwen3VL, Tensors]:
    """A random model, its directory, and the tensors in it."""
    model = Qwen3VL(ModelConfig.from_dict(tiny.config(**changes)), select("cpu"))
    weights.initialize(model, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    weights.save(model, directory)
    return model, load_file(directory / "model.safetensors")


def _load(directory: Path, dtype: str = "float32") -> Qwen3VL:
    return weights.load(directory, dtype=dtype, device="cpu")


def _assert_equal(one: Qwen3VL, other: Qwen3VL) -> None:
    ours, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def _write(directory: Path, tensors: Tensors) -> None:
    save_file({name: value.contiguous() for name, value in tensors.items()}, directory / "model.safetensors")


def _shard(directory: Path, tensors: Tensors, count: int = 3) -> dict[str, str]:
    """Deal the tensors out to shards; returns the weight map of the index."""
    (directory / "model.safetensors").unlink(missing_ok=True)
    files = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    for i, file in enumerate(files):
        save_file({name: tensors[name].clone() for name in sorted(tensors)[i::count]}, directory / file)
    places = {name: files[i % count] for i, name in enumerate(sorted(tensors))}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


@pytest.mark.parametrize(
    "changes", [{}, {"tied": False}, {"moe": True}, {"moe": True, "text": {"mlp_only_layers": [2]}}]
)
def test_what_is_saved_loads_equal(tmp_path: Path, changes: dict[str, object]) -> None:
    model, _ = _save(tmp_path, **changes)
    _assert_equal(_load(tmp_path), model)
    assert not (tmp_path / "model.safetensors.part").exists()


@pytest.mark.parametrize("moe", [False, True])
def test_the_reference_reads_what_is_saved(tmp_path: Path, moe: bool, transformers: ModuleType) -> None:
    model, _ = _save(tmp_path, moe=moe, tied=False)
    kind = transformers.Qwen3VLMoeForConditionalGeneration if moe else transformers.Qwen3VLForConditionalGeneration
    reference, report = kind.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    talk = tiny.conversation(np.random.default_rng(0), tiny.text(20))
    with torch.inference_mode():
        expected = reference(torch.tensor([talk.ids])).logits[0]
        ours = tiny.logits(model, talk, torch.arange(20).expand(3, 20))
    assert tiny.relative_error(ours, expected) < 1e-5


def test_shards_equal_one_file(tmp_path: Path) -> None:
    model, tensors = _save(tmp_path, tied=False)
    _shard(tmp_path, tensors)
    _assert_equal(_load(tmp_path), model)


RENAMED: dict[str, Callable[[str], str]] = {
    "base model": lambda name: name.removeprefix("model."),
    "older": lambda name: name.replace("model.visual.", "visual.").replace("model.language_model.", "model."),
    "nested": lambda name: name.replace("model.language_model.", "language_model.model.").replace(
        "lm_head", "language_model.lm_head"
    ),
}


@pytest.mark.parametrize("style", RENAMED)
def test_other_key_styles_load(tmp_path: Path, style: str) -> None:
    model, tensors = _save(tmp_path, tied=False)
    _write(tmp_path, {RENAMED[style](name): value for name, value in tensors.items()})
    _assert_equal(_load(tmp_path), model)


@pytest.mark.parametrize(("width", "inner"), [(96, 40), (96, 48), (96, 96)])
def test_experts_load_from_both_layouts(tmp_path: Path, width: int, inner: int) -> None:
    """48: gate_up is square; 96: down is square; the other of the two decides."""
    model, tensors = _save(tmp_path, moe=True, text={"moe_intermediate_size": inner})
    assert tensors[f"{LAYER}mlp.experts.gate_up_proj"].shape == (8, width, 2 * inner)
    assert tensors[f"{LAYER}mlp.experts.down_proj"].shape == (8, inner, width)
    _assert_equal(_load(tmp_path), model)
    _write(tmp_path, {name: t.transpose(1, 2) if ".experts." in name else t for name, t in tensors.items()})
    _assert_equal(_load(tmp_path), model)


def test_experts_in_mixed_layouts_are_refused(tmp_path: Path) -> None:
    _, tensors = _save(tmp_path, moe=True)
    name = f"{LAYER}mlp.experts.down_proj"
    _write(tmp_path, tensors | {name: tensors[name].transpose(1, 2)})
    with pytest.raises(CheckpointError, match=r"down_proj has shape \[8, 96, 40\]"):
        _load(tmp_path)


def test_a_tied_checkpoint_may_carry_its_head(tmp_path: Path) -> None:
    model, tensors = _save(tmp_path)
    _write(tmp_path, tensors | {"lm_head.weight": tensors[EMBEDDING].clone()})
    _assert_equal(_load(tmp_path), model)
    only_head = {name: t for name, t in tensors.items() if name != EMBEDDING}
    _write(tmp_path, only_head | {"lm_head.weight": tensors[EMBEDDING]})
    _assert_equal(_load(tmp_path), model)
    _write(tmp_path, tensors | {"lm_head.weight": tensors[EMBEDDING] + 1})
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs .* tie_word_embeddings is true"):
        _load(tmp_path)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("wanted", ["bfloat16", "float16", "float32"])
def test_types_are_converted_while_copying(tmp_path: Path, stored: torch.dtype, wanted: str) -> None:
    _, tensors = _save(tmp_path)
    _write(tmp_path, {name: t.to(stored) for name, t in tensors.items()})
    model = _load(tmp_path, wanted)
    dtype = getattr(torch, wanted)
    assert model.dtype == dtype
    assert torch.equal(model.language.embed_tokens.weight, tensors[EMBEDDING].to(stored).to(dtype))
    q = model.language.layers[2].qkv_proj.weight[: 6 * 32]
    assert torch.equal(q, tensors[f"{LAYER}self_attn.q_proj.weight"].to(stored).to(dtype))


def test_auto_means_float32_on_a_cpu_and_the_checkpoints_type_elsewhere() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    says, silent = (ModelConfig.from_dict(tiny.config(top=top)) for top in ({"dtype": "float16"}, {}))
    assert weights.resolve_dtype("auto", says, {}, cpu) == torch.float32
    assert weights.resolve_dtype("auto", says, {}, cuda) == torch.float16
    assert weights.resolve_dtype("auto", silent, {}, cuda) == torch.bfloat16
    assert weights.resolve_dtype(torch.bfloat16, says, {}, cpu) == torch.bfloat16
    with pytest.raises(CheckpointError, match="int8"):
        weights.resolve_dtype("int8", says, {}, cpu)


def test_dummy_weights_need_only_config_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(tiny.config(moe=True, tied=False)))
    one, two = (weights.load(tmp_path, dtype="bfloat16", device="cpu", load_format="dummy") for _ in range(2))
    _assert_equal(one, two)
    for name, value in one.named_parameters():
        assert value.dtype == torch.bfloat16
        if value.dim() == 1:
            assert set(value.tolist()) == {0.0 if name.endswith("bias") else 1.0}
        else:
            assert 0.015 < float(value.detach().float().std()) < 0.025, name


# --- broken checkpoints ----------------------------------------------------------------------------------------------


def _refused(directory: Path, *words: str) -> None:
    """Loading fails with one line that holds every word."""
    with pytest.raises(CheckpointError) as caught:
        _load(directory)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def _without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: value for name, value in tensors.items() if part not in name}


def _with(name: str, value: Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: value}


BREAKS: dict[str, tuple[Callable[[Tensors], Tensors], list[str]]] = {
    "missing": (_without(f"{LAYER}self_attn.k_proj"), ["k_proj.weight is missing."]),
    "several missing": (_without(".norm1.bias"), ["norm1.bias is missing (and 3 more)"]),
    "no head": (_without("lm_head"), ["lm_head.weight is missing"]),
    "surplus": (_with(f"{LAYER}self_attn.q_proj.bias", torch.zeros(3)), ["q_proj.bias belongs to no part"]),
    "shape": (
        _with(f"{LAYER}mlp.up_proj.weight", torch.zeros(159, 96)),
        ["up_proj.weight has shape [159, 96]", "[160, 96]"],
    ),
    "type": (_with(f"{LAYER}mlp.up_proj.weight", torch.zeros(160, 96).long()), ["up_proj.weight has type I64"]),
    "twice": (_with(EMBEDDING.removeprefix("model."), torch.zeros(300, 96)), ["is there twice"]),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str) -> None:
    _, tensors = _save(tmp_path, tied=False)
    change, words = BREAKS[name]
    _write(tmp_path, change(tensors))
    _refused(tmp_path, "model.safetensors", *words)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.001])
def test_a_half_downloaded_file_is_named(tmp_path: Path, keep: float) -> None:
    _save(tmp_path)
    path = tmp_path / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    words = ["incomplete", f"{len(data):,}"] if keep > 0.1 else ["header cannot be read"]
    _refused(tmp_path, str(path), *words)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x80\x02" * 50,
        b"\x0a" + bytes(7) + b"not json!!" * 3,
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes) -> None:
    _save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    _refused(tmp_path, "model.safetensors is not a safetensors file")


def test_a_header_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    _save(tmp_path)
    header = json.dumps({EMBEDDING: {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 15]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    _refused(tmp_path, "model.safetensors", EMBEDDING, "does not fit")


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    _, tensors = _save(tmp_path)
    places = _shard(tmp_path, tensors)
    index = tmp_path / "model.safetensors.index.json"

    def rewrite(value: object) -> None:
        index.write_text(json.dumps(value))

    absent = sorted(set(places.values()))[1]
    (tmp_path / absent).rename(tmp_path / "elsewhere")
    _refused(tmp_path, index.name, absent, "absent")
    (tmp_path / "elsewhere").rename(tmp_path / absent)
    rewrite({"weight_map": places | {"ghost.weight": absent}})
    _refused(tmp_path, index.name, "ghost.weight", absent)
    rewrite({"weight_map": places | {EMBEDDING: "../model.safetensors"}})
    _refused(tmp_path, index.name, "../model.safetensors")
    rewrite({"weight_map": [1]})
    _refused(tmp_path, index.name, "weight_map")
    index.write_text("{")
    _refused(tmp_path, index.name, "not valid JSON")
    index.unlink()
    _refused(tmp_path, "has no model.safetensors")


def test_a_directory_without_config_is_named(tmp_path: Path) -> None:
    _refused(tmp_path, str(tmp_path), "config.json")
    (tmp_path / "config.json").write_text("[]")
    _refused(tmp_path, "config.json", "object")


# --- memory ----------------------------------------------------------------------------------------------------------

_MEASURE = """
import resource, sys
from pathlib import Path
from saccade.model import weights
import torch

torch.set_num_threads(1)
weights.load(Path(sys.argv[1]), dtype="float32", device="cpu")  # a small one: everything is imported and warm
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = weights.load(Path(sys.argv[2]), dtype=sys.argv[3], device="cpu")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(peak * 1024, sum(p.numel() * p.element_size() for p in model.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_takes_the_weights_and_little_more(tmp_path: Path, dtype: str) -> None:
    """A bf16 file of 307 MB: 0.3 GB or 0.6 GB of weights, and at most 100 MB besides."""
    _save(tmp_path / "small")
    large = tmp_path / "large"
    large.mkdir()
    text = {"vocab_size": 150_000, "hidden_size": 512}
    (large / "config.json").write_text(json.dumps(tiny.config(tied=False, text=text, vision={"out_hidden_size": 512})))
    model = weights.load(large, dtype="bfloat16", device="cpu", load_format="dummy")
    weights.save(model, large)
    assert (large / "model.safetensors").stat().st_size > 300e6
    command = [sys.executable, "-c", _MEASURE, tmp_path / "small", large, dtype]
    peak, size = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert peak < size + 100e6, f"{peak / 1e6:.0f} MB for {size / 1e6:.0f} MB of weights"


def test_loading_does_not_wait_for_the_compiler(tmp_path: Path) -> None:
    _save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from saccade.model.weights import load\n"
        f"load(Path({str(tmp_path)!r}), dtype='auto', device='cpu'); print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
