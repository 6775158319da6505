"""Names become directories, and what goes wrong is told in one line with a hint; nothing here touches a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from saccade import hub
from saccade.errors import CheckpointError

NAME = "Qwen/Qwen3-VL-2B-Instruct"


class FakeHub:
    """Stands in for a hub's `snapshot_download`: notes how it was called, then fails or gives `result`."""

    def __init__(self, result: Path | Exception) -> None:
        self.result = result
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, model: str, **options: Any) -> str:
        self.calls.append((model, options))
        if isinstance(self.result, Exception):
            raise self.result
        return str(self.result)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A complete checkpoint in two shards, as a hub's cache holds it."""
    directory = tmp_path / "snapshot"
    directory.mkdir()
    for name in ("config.json", "tokenizer.json", "a.safetensors", "b.safetensors"):
        (directory / name).write_text("{}")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "b.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def pretend(monkeypatch: pytest.MonkeyPatch, result: Path | Exception, source: str = "huggingface") -> FakeHub:
    fake = FakeHub(result)
    monkeypatch.setattr(hub, f"_{source}", lambda: fake)
    return fake


def one_line(error: CheckpointError) -> None:
    assert "\n" not in error.message
    assert error.hint


def test_demo_is_in_the_package() -> None:
    directory = hub.resolve("demo")
    assert directory.parts[-3:] == ("saccade", "demo", "checkpoint")
    assert (directory / "tokenizer.json").is_file()


def test_a_directory_is_itself(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.resolve(str(snapshot), offline=True) == snapshot
    monkeypatch.setenv("HOME", str(snapshot.parent))
    assert hub.resolve("~/snapshot") == snapshot
    monkeypatch.chdir(snapshot.parent)
    (snapshot.parent / "demo").mkdir()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        hub.resolve("./demo")


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_name_is_fetched(source: Any, offline: bool, snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = pretend(monkeypatch, snapshot, source)
    assert hub.resolve(NAME, offline=offline, source=source) == snapshot
    [(model, options)] = fake.calls
    assert model == NAME
    assert options["local_files_only"] is offline
    assert options["allow_patterns"] == ["*.json", "*.jinja", "*.txt", "*.safetensors"]


def test_random_weights_need_no_files_of_weights(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in snapshot.glob("*.safetensors"):
        path.unlink()
    fake = pretend(monkeypatch, snapshot)
    assert hub.resolve(NAME, weights=False) == snapshot
    assert "*.safetensors" not in fake.calls[0][1]["allow_patterns"]
    with pytest.raises(CheckpointError, match="lacks"):
        hub.resolve(NAME)


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", "b.safetensors", "model.safetensors.index.json"])
def test_half_a_model_is_refused(lost: str, snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snapshot / lost).unlink()
    pretend(monkeypatch, snapshot)
    expected = "model.safetensors" if "index" in lost else lost
    with pytest.raises(CheckpointError, match=f"lacks {expected}") as caught:
        hub.resolve(NAME, offline=True)
    one_line(caught.value)


def test_a_single_file_of_weights_is_enough(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snapshot / "model.safetensors.index.json").rename(snapshot / "model.safetensors")
    pretend(monkeypatch, snapshot)
    assert hub.resolve(NAME) == snapshot


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": []}', '{"weight_map": {"a": {}}}'])
def test_a_broken_index_is_named(content: str, snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snapshot / "model.safetensors.index.json").write_text(content)
    pretend(monkeypatch, snapshot)
    with pytest.raises(CheckpointError, match=r"index\.json cannot be read"):
        hub.resolve(NAME)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no-such-dir", "There is no directory 'no-such-dir'"),
        ("./gone", "There is no directory './gone'"),
        ("/gone/for/good", "There is no directory"),
        ("a/b/c", "There is no directory"),
        ("org/name/", "There is no directory"),
        ("~nobody-of-this-name/model", "cannot be looked up"),
        ("nul\0byte", "There is no directory"),
        ("", "There is no directory ''"),
        ("x" * 5000, "cannot be looked up|There is no directory"),
    ],
)
def test_paths_that_lead_nowhere(model: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = pretend(monkeypatch, OSError("never asked"))
    with pytest.raises(CheckpointError, match=message) as caught:
        hub.resolve(model)
    assert "\n" not in caught.value.message
    assert not fake.calls


def test_files_and_empty_directories_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json") as caught:
        hub.resolve(str(tmp_path))
    one_line(caught.value)
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(CheckpointError, match="is a file") as caught:
        hub.resolve(str(tmp_path / "model.safetensors"))
    one_line(caught.value)


def failure(name: str, *bases: type[Exception], message: str = "first line\nsecond line") -> Exception:
    """An exception of a foreign class, known by its name."""
    return type(name, bases or (Exception,), {})(message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (failure("RepositoryNotFoundError"), f"no model {NAME} on Hugging Face"),
        (failure("GatedRepoError", type("RepositoryNotFoundError", (Exception,), {})), "permission you do not have"),
        (failure("LocalEntryNotFoundError", FileNotFoundError), "cannot be reached"),
        (failure("OfflineModeIsEnabled", ConnectionError), "cannot be reached"),
        (failure("ConnectError"), "cannot be reached"),
        (OSError(28, "No space left on device"), "failed: .*No space left"),
        (failure("Odd"), "failed: first line$"),
        (failure("Mute", message=""), "failed: Mute$"),
    ],
)
def test_what_a_failed_download_means(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, error)
    with pytest.raises(CheckpointError, match=message) as caught:
        hub.resolve(NAME)
    one_line(caught.value)
    with pytest.raises(CheckpointError, match="--offline forbids") as caught:
        hub.resolve(NAME, offline=True)
    one_line(caught.value)


def test_the_real_library_with_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is set for the tests: the library raises what it raises without a network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="cannot be reached"):
        hub.resolve(NAME)
    with pytest.raises(CheckpointError, match="--offline forbids"):
        hub.resolve(NAME, offline=True)


def test_the_real_library_with_a_full_cache(tmp_path: Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--Qwen--Qwen3-VL-2B-Instruct"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    found = snapshot.rename(repository / "snapshots" / ("0" * 40))
    assert hub.resolve(NAME, offline=True) == found
    assert hub.resolve(NAME) == found  # no network, but nothing is missing either
    (found / "a.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks a\.safetensors"):
        hub.resolve(NAME, offline=True)


def test_modelscope_is_an_extra(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    monkeypatch.setitem(sys.modules, "modelscope.hub.snapshot_download", None)
    with pytest.raises(CheckpointError) as caught:
        hub.resolve(NAME, source="modelscope")
    assert caught.value.hint == "pip install 'saccade[modelscope]'"
    module: Any = SimpleNamespace(snapshot_download=FakeHub(snapshot))
    for name in ("modelscope", "modelscope.hub"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "modelscope.hub.snapshot_download", module)
    assert hub.resolve(NAME, source="modelscope") == snapshot


def test_importing_it_imports_no_hub() -> None:
    code = "import sys, saccade.hub; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "saccade.hub" in loaded
    assert not {"huggingface_hub", "modelscope", "httpx", "torch", "saccade.demo"} & set(loaded)
