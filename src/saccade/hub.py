"""The name of a model becomes a directory on this machine, downloaded if need be; knows nothing of what is in it."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias

from saccade.errors import CheckpointError

Source: TypeAlias = Literal["huggingface", "modelscope"]

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_CONFIG = "config.json"
_WEIGHTS = "*.safetensors"
_WANTED = ["*.json", "*.jinja", "*.txt"]
_UNWANTED = ["*/*"]  # other formats and training leftovers live in sub-folders
_NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}


def resolve(model: str, *, offline: bool = False, source: Source = "huggingface", weights: bool = True) -> Path:
    """The directory of `model`: "demo" (bundled), a directory, or a hub name such as Qwen/Qwen3-VL-2B-Instruct.

    A hub model is fetched with a progress bar and kept in the hub's own cache; an interrupted download goes on where it
    stopped. With `offline` nothing is fetched, but a complete copy in the cache is used. Without `weights` (a model
    that will be filled at random) the large files are left where they are. CheckpointError says what is wrong in one
    sentence, with a hint.
    """
    here = _on_disk(model)
    if here is not None:
        return here
    wanted = [*_WANTED, _WEIGHTS] if weights else _WANTED
    return _complete(_download(model, offline, source, wanted), model, weights)


def resolve_config(model: str, *, offline: bool = False, source: Source = "huggingface") -> dict[str, Any]:
    """The config.json of `model`, a name as for `resolve`; of a hub model nothing else is fetched."""
    here = _on_disk(model)
    path = (here or _download(model, offline, source, [_CONFIG])) / _CONFIG
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{model} has no {_CONFIG} in {path.parent}.", hint="Check the name.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.", hint="Delete it and download it again.") from None
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} must hold a JSON object.")
    return raw


def is_hub_name(model: str) -> bool:
    """Whether it is no model on this machine, and may be one on the hub."""
    return model != "demo" and not Path(model).exists() and _HUB_NAME.fullmatch(model) is not None


def name_on_hub(directory: Path) -> str | None:
    """The name of a model whose directory is in the hub's cache: .../models--Qwen--Qwen3-VL-2B/snapshots/..."""
    found = re.search(r"/models--(\w[\w.-]*?)--(\w[\w.-]*)/snapshots/", f"{directory.absolute()}/")
    return f"{found[1]}/{found[2]}" if found else None


def cache_directory(source: Source = "huggingface") -> Path:
    """Where models of a hub are kept on this machine."""
    if source == "modelscope":
        return Path.home() / ".cache" / "modelscope"
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _on_disk(model: str) -> Path | None:
    """The directory of a model that is here; None for a name on the hub."""
    if model == "demo":
        return _bundled()
    try:
        path = Path(model).expanduser()
        is_dir, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long, no permission, ~nobody
        raise CheckpointError(f"{model!r} cannot be looked up: {error}") from error
    if is_dir and model:
        return _with_config(path)
    if is_file:
        raise CheckpointError(f"{model} is a file, not a model directory.", hint="Give the directory that holds it.")
    if not _HUB_NAME.fullmatch(model):
        raise CheckpointError(
            f"There is no directory {model!r}.",
            hint='A model is "demo", a directory with config.json, or a hub name such as Qwen/Qwen3-VL-2B-Instruct.',
        )
    return None


def _bundled() -> Path:
    path = Path(str(files("saccade"))) / "demo" / "checkpoint"
    if not (path / "config.json").is_file():
        raise CheckpointError("The demo model is missing from this installation.", hint="Install saccade again.")
    return path


def _with_config(path: Path) -> Path:
    if not (path / "config.json").is_file():
        raise CheckpointError(
            f"{path} has no config.json, so it is no model directory.",
            hint="Give the directory that config.json and the safetensors files are in.",
        )
    return path


def _download(model: str, offline: bool, source: Source, wanted: list[str]) -> Path:
    fetch = _huggingface if source == "huggingface" else _modelscope
    try:
        return Path(fetch()(model, allow_patterns=wanted, ignore_patterns=_UNWANTED, local_files_only=offline))
    except CheckpointError:
        raise
    except Exception as error:  # two libraries, each with its own tree over its own HTTP client
        raise _explain(error, model, offline, source) from error


def _huggingface() -> Callable[..., str]:
    from huggingface_hub import snapshot_download  # here, since importing it takes a while

    return snapshot_download


def _modelscope() -> Callable[..., str]:
    try:
        module = importlib.import_module("modelscope.hub.snapshot_download")
    except ImportError as error:
        raise CheckpointError(
            "Downloading from ModelScope needs the modelscope package.", hint="pip install 'saccade[modelscope]'"
        ) from error
    return module.snapshot_download  # type: ignore[no-any-return]


def _explain(error: Exception, model: str, offline: bool, source: Source) -> CheckpointError:
    """What a failed download means for the person who asked for it, told by the names in the error's family."""
    hub = _NAMES[source]
    family = {kind.__name__ for kind in type(error).__mro__}
    if offline:
        return CheckpointError(
            f"{model} is not in the local cache, or not completely, and --offline forbids to download it.",
            hint="Run `saccade pull` once while there is a network, or give a directory.",
        )
    if "GatedRepoError" in family:
        return CheckpointError(
            f"{model} on {hub} asks for a permission you do not have.", hint="Accept its terms there and log in."
        )
    if family & {"RepositoryNotFoundError", "NotExistError"}:
        return CheckpointError(
            f"There is no model {model} on {hub}, and no directory of that name here.", hint="Check the spelling."
        )
    again = "Try again: what has arrived is kept."
    if family & {"LocalEntryNotFoundError", "ConnectionError", "ConnectError", "NetworkError", "TimeoutException"}:
        return CheckpointError(f"{hub} cannot be reached to download {model}.", hint=f"Check the network. {again}")
    cause = next(iter(str(error).splitlines()), type(error).__name__)
    return CheckpointError(f"Downloading {model} from {hub} failed: {cause}", hint=again)


def _complete(path: Path, model: str, weights: bool) -> Path:
    """Make sure that nothing of the checkpoint is missing: a cache can hold the half of one."""
    needed = ["config.json", "tokenizer.json", *(_weights(path) if weights else ())]
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{model} lacks {missing[0]}{more} in {path}.",
            hint="Either the download is incomplete (run it again with a network), or it has no safetensors weights.",
        )
    return path


def _weights(path: Path) -> list[str]:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    try:
        weight_map: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} cannot be read: {error!r}", hint="Delete it and download again.") from error
