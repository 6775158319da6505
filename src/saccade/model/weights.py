"""A checkpoint directory becomes a model on its device, and a model becomes a directory; knows no requests.

Loading streams: the model is built without memory, its parameters are allocated once on the device in their final
type, and each tensor is read through one 32 MiB buffer into its slice of a parameter, converted on the way. Peak memory
is the weights, that buffer, and on the device one converted piece of it.

All names and shapes are compared before the first byte is read: a missing, surplus or wrongly shaped tensor is an
error. Names as released (and as transformers writes them); accepted besides: no leading `model.`, and `model.layers`
for `model.language_model.layers`.

Experts come in two layouts. Released files are input-major, gate_up [X, E, 2F] and down [X, F, E]; transformers 5
writes output-major, gate_up [X, 2F, E] and down [X, E, F], which is ours. One of the two shapes may be square (E = 2F
or E = F), never both, so the pair of shapes always tells.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from saccade.errors import CheckpointError
from saccade.kernels import Ops, select
from saccade.model.config import ModelConfig
from saccade.model.headers import INDEX, SINGLE, Entry, entries, read_json
from saccade.model.moe import Experts
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.shards import DTYPES, Reader

CPU_DTYPE = torch.float32
"""What "auto" means on a CPU, whatever the checkpoint's type: bf16 instructions do not make the bundled model faster
(docs/log.md)."""

EMBEDDING, HEAD = "model.language_model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of the checkpoint goes: rows [start, start + shape[0]) of one of our parameters."""

    parameter: str
    start: int
    shape: tuple[int, ...]
    """As it must be in the checkpoint."""
    swapped: bool = False
    """Whether the checkpoint holds axes 1 and 2 the other way round."""


def load(
    directory: Path,
    *,
    dtype: str | torch.dtype,
    device: torch.device | str,
    ops: Ops | None = None,
    load_format: Literal["auto", "dummy"] = "auto",
    tell: Callable[[float], None] | None = None,
) -> Qwen3VL:
    """The model of a directory with config.json and, unless load_format is "dummy", safetensors files.

    dtype is a type, its name, or "auto": the checkpoint's own on an accelerator, float32 on a CPU. "dummy" draws
    weights from a fixed seed and reads no weight file. `tell` is called with the share that is there, 0 to 1, about a
    hundred times. Raises CheckpointError.
    """
    directory, device = Path(directory), torch.device(device)
    config = ModelConfig.from_dict(read_json(directory / "config.json"))
    found = _by_canonical_name(entries(directory)) if load_format == "auto" else {}
    model = build_empty(config, ops or select(device))
    places = _settle(directory, model, found) if load_format == "auto" else _places(model)
    _allocate(model, resolve_dtype(dtype, config, found, device), device)
    if load_format == "dummy":
        initialize(model)
    else:
        _fill(model, places, found, tell or (lambda _: None))
    return model.eval()


def build_empty(config: ModelConfig, ops: Ops) -> Qwen3VL:
    """A model whose tensors have shapes and no memory."""
    with torch.device("meta"), _Unfilled():
        return Qwen3VL(config, ops)


def check(directory: Path) -> None:
    """All that `load` looks at before it reads the first number of a weight. Raises CheckpointError as it does."""
    config = ModelConfig.from_dict(read_json(directory / "config.json"))
    _settle(directory, build_empty(config, select("cpu")), _by_canonical_name(entries(directory)))


def save(model: Qwen3VL, directory: Path) -> None:
    """Write config.json and model.safetensors with released names, types as they are, experts input-major.

    Needs the memory of one more copy of the weights. The weights file is replaced in one step.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    parameters = dict(model.named_parameters())
    tensors = {}
    for name, place in _places(model).items():
        part = parameters[place.parameter].detach()[place.start : place.start + place.shape[0]]
        part = part.transpose(1, 2) if place.swapped else part
        tensors[name] = part.to("cpu", copy=True, memory_format=torch.contiguous_format)
    unfinished = directory / f"{SINGLE}.part"
    save_file(tensors, unfinished, metadata={"format": "pt"})
    os.replace(unfinished, directory / SINGLE)
    (directory / "config.json").write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")


@torch.no_grad()
def initialize(model: nn.Module, seed: int = 0) -> None:
    """Fill every parameter where it lies: matrices from normal(0, 0.02), biases 0, norm weights 1."""
    generator: torch.Generator | None = None
    for name, parameter in model.named_parameters():
        if generator is None:
            generator = torch.Generator(parameter.device).manual_seed(seed)
        if parameter.dim() > 1:
            parameter.normal_(0.0, 0.02, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def resolve_dtype(
    dtype: str | torch.dtype, config: ModelConfig, found: dict[str, Entry], device: torch.device
) -> torch.dtype:
    """The type of the weights; "auto" asks config.json, then the embedding in the file, and ends at bfloat16."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        if device.type == "cpu":
            return CPU_DTYPE
        if config.dtype is None:
            return DTYPES[found[EMBEDDING].kind] if found else torch.bfloat16
        dtype = config.dtype
    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype not in names:
        raise CheckpointError(f"dtype is {dtype!r}; it must be auto, {', '.join(names)}.", param="dtype")
    return names[dtype]


class _Unfilled(TorchFunctionMode):
    """Inside, torch.nn.init leaves tensors as they are: what has no memory needs no values, and drawing normal ones on
    the meta device would import the whole of torch's compiler first, a second or two."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _allocate(model: Qwen3VL, dtype: torch.dtype, device: torch.device) -> None:
    """Give every parameter its memory. In fp16 the MLPs of the vision blocks stay fp32, because they overflow."""
    model.to(dtype)
    if dtype == torch.float16:
        for block in model.visual.blocks:
            for part in (block.linear_fc1, block.linear_fc2):
                assert isinstance(part, nn.Linear)
                part.float()
    model.to_empty(device=device)
    if device.type == "cpu" and dtype == torch.float32:
        for part in model.language.modules():
            if isinstance(part, nn.Linear) and part.out_features >= part.in_features:
                # Column by column in memory: a product with one row, which is decoding, reads it faster unless its
                # columns are short (docs/log.md).
                part.weight.data = torch.empty_like(part.weight.t(), memory_format=torch.contiguous_format).t()


# --- names -----------------------------------------------------------------------------------------------------------

_RELEASED = (
    (r"^visual\.patch_embed\.", "model.visual.patch_embed.proj."),
    (r"^visual\.deepstack_mergers\.", "model.visual.deepstack_merger_list."),
    (r"^(visual\.blocks\.\d+)\.qkv_proj\.", r"model.\1.attn.qkv."),
    (r"^(visual\.blocks\.\d+)\.proj\.", r"model.\1.attn.proj."),
    (r"^(visual\.blocks\.\d+)\.linear_", r"model.\1.mlp.linear_"),
    (r"^visual\.", "model.visual."),
    (r"^language\.lm_head\.", "lm_head."),
    (r"^language\.(layers\.\d+\.)([qko]_(?:norm|proj)|qkv_proj)\.", r"model.language_model.\1self_attn.\2."),
    (r"^language\.(layers\.\d+\.)mlp\.router$", r"model.language_model.\1mlp.gate.weight"),
    (r"^language\.(layers\.\d+\.)mlp\.(gate_up|down)_proj$", r"model.language_model.\1mlp.experts.\2_proj"),
    (r"^language\.", "model.language_model."),
)
"""Our parameter names to released names; the first pattern that fits is applied."""

_ACCEPTED = (
    (r"^(?:model\.)?visual\.", "model.visual."),
    (r"^(?:model\.)?language_model\.(?:model\.)?(?!lm_head)", "model.language_model."),
    (r"^model\.(?=(?:layers|embed_tokens|norm)\.)", "model.language_model."),
    (r"^(?:model\.)?(?:language_model\.)?lm_head\.", "lm_head."),
)
"""Names found in checkpoint files to released names."""


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, released in rules:
        renamed, count = re.subn(pattern, released, name)
        if count:
            return renamed
    return name


def _places(model: Qwen3VL) -> dict[str, Place]:
    """Every tensor a released checkpoint of this model has, and where it goes."""
    text = model.config.text
    heads = {"q_proj": text.num_attention_heads, "k_proj": text.num_key_value_heads, "v_proj": text.num_key_value_heads}
    fused = {
        ".self_attn.qkv_proj.": {name: count * text.head_dim for name, count in heads.items()},
        ".mlp.gate_up_proj.": {"gate_proj": text.intermediate_size, "up_proj": text.intermediate_size},
    }
    places: dict[str, Place] = {}
    for parameter, value in model.named_parameters():
        name, shape = _rename(parameter, _RELEASED), tuple(value.shape)
        parts = next((item for item in fused.items() if item[0] in name), None)
        if parts is not None:
            start = 0
            for part, rows in parts[1].items():
                split = name.replace(parts[0].split(".")[2], part)
                places[split] = Place(parameter, start, (rows, *shape[1:]))
                start += rows
        elif ".experts." in name:
            places[name] = Place(parameter, 0, (shape[0], shape[2], shape[1]), swapped=True)
        else:
            places[name] = Place(parameter, 0, shape)
    return places


def _by_canonical_name(found: list[Entry]) -> dict[str, Entry]:
    named: dict[str, Entry] = {}
    for entry in found:
        name = _rename(entry.name, _ACCEPTED)
        if name in named:
            raise CheckpointError(f"{entry.file}: tensor {entry.name} is there twice, also as {named[name].name}.")
        named[name] = entry
    return named


# --- agreement of file and model -------------------------------------------------------------------------------------


def _settle(directory: Path, model: Qwen3VL, found: dict[str, Entry]) -> dict[str, Place]:
    """Where every tensor that was found goes; a CheckpointError when they are not exactly those of the model."""
    _settle_tied_head(model.config, found)
    places = _settle_experts(model, _places(model), found)
    _compare(directory, places, found)
    return places


def _settle_tied_head(config: ModelConfig, found: dict[str, Entry]) -> None:
    """A tied checkpoint may also carry its head, or only its head; two different matrices contradict config.json."""
    if not config.text.tie_word_embeddings or HEAD not in found:
        return
    head = found.pop(HEAD)
    embedding = found.setdefault(EMBEDDING, head)
    if embedding is not head and not _equal(embedding, head):
        raise CheckpointError(
            f"{head.file}: tensor {head.name} differs from {embedding.name}, but tie_word_embeddings is true.",
            param="tie_word_embeddings",
            hint="Set tie_word_embeddings to false in config.json if the head is its own.",
        )


def _equal(one: Entry, other: Entry) -> bool:
    if one.shape != other.shape or one.kind != other.kind:
        return False
    with Reader() as left, Reader() as right:
        pairs = zip(left.rows(one), right.rows(other), strict=True)
        return all(torch.equal(a, b) for (_, a), (_, b) in pairs)


def _settle_experts(model: Qwen3VL, places: dict[str, Place], found: dict[str, Entry]) -> dict[str, Place]:
    """The places of the experts in the layout of this checkpoint: output-major when both tensors of a layer say so.

    Width 2048, inner 768: gate_up [X, 2048, 1536] is input-major, [X, 1536, 2048] output-major. Width 1536, inner 768:
    gate_up is square, and down [X, 768, 1536] or [X, 1536, 768] decides.
    """
    settled = dict(places)
    for i, layer in enumerate(model.language.layers):
        if not isinstance(layer.mlp, Experts):
            continue
        names = [f"model.language_model.layers.{i}.mlp.experts.{part}_proj" for part in ("gate_up", "down")]
        ours = [tuple(weight.shape) for weight in (layer.mlp.gate_up_proj, layer.mlp.down_proj)]
        if all(name in found and found[name].shape == shape for name, shape in zip(names, ours, strict=True)):
            for name, shape in zip(names, ours, strict=True):
                settled[name] = Place(places[name].parameter, 0, shape)
    return settled


def _compare(directory: Path, places: dict[str, Place], found: dict[str, Entry]) -> None:
    """Names and shapes, before any data is read."""
    missing = [name for name in places if name not in found]
    if missing:
        file = SINGLE if (directory / SINGLE).exists() else INDEX
        raise CheckpointError(f"{directory / file}: tensor {missing[0]} is missing{_more(missing)}.")
    surplus = [entry for name, entry in found.items() if name not in places]
    if surplus:
        names = [entry.name for entry in surplus]
        raise CheckpointError(f"{surplus[0].file}: tensor {names[0]} belongs to no part of the model{_more(names)}.")
    for name, place in places.items():
        entry = found[name]
        if entry.shape != place.shape:
            expected, have = list(place.shape), list(entry.shape)
            raise CheckpointError(f"{entry.file}: tensor {entry.name} has shape {have}; config.json wants {expected}.")


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


@torch.no_grad()
def _fill(model: Qwen3VL, places: dict[str, Place], found: dict[str, Entry], tell: Callable[[float], None]) -> None:
    """Copy every tensor into its place, in the order of the files."""
    parameters = dict(model.named_parameters())
    total = sum(parameter.numel() for parameter in parameters.values())
    done, told = 0, 0.0
    with Reader() as reader:
        for name, entry in found.items():
            place = places[name]
            for first, rows in reader.rows(entry):
                start = place.start + first
                target = parameters[place.parameter][start : start + len(rows)]
                target.copy_(rows.transpose(1, 2) if place.swapped else rows)
                done += rows.numel()
                if done / total >= told + 0.01:
                    told = min(1.0, done / total)
                    tell(told)
