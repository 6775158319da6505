"""Where a setting may come from, which place wins, and what is said of a wrong one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from saccade.errors import SettingsError
from saccade.settings import Settings, flag, load, reference, variable, with_allocator


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "saccade.toml"
    path.write_text('port = 7001\nhost = "10.0.0.1"\nmodel = "in-file"\noffline = true\n')
    return path


def test_flags_win_over_environment_over_file_over_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_PORT", "7002")
    monkeypatch.setenv("SACCADE_HOST", "10.0.0.2")
    settings = load({"port": "7003"}, file)
    assert (settings.port, settings.host, settings.model, settings.max_running) == (7003, "10.0.0.2", "in-file", None)
    assert settings.offline
    assert load({}) == load({}, None)
    assert load({}).port == 7002


def test_the_file_may_be_named_by_a_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_CONFIG", str(file))
    assert load({}).port == 7001
    other = file.with_name("other.toml")
    other.write_text("port = 7005")
    assert load({}, other).port == 7005


def test_texts_become_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SACCADE_MAX_FILE_BYTES", "3 MiB")
    monkeypatch.setenv("SACCADE_OFFLINE", "true")
    monkeypatch.setenv("SACCADE_KV_CACHE_MEMORY", "1.5GiB")
    monkeypatch.setenv("SACCADE_PREFIX_CACHE", "no")
    monkeypatch.setenv("SACCADE_MEDIA_ROOT", str(tmp_path))
    monkeypatch.setenv("SACCADE_MAX_CONTEXT", "")
    settings = load({"max_pixels": "1000000", "offline": False})
    assert settings.max_file_bytes == 3 * 2**20
    assert settings.kv_cache_memory == 3 * 2**29
    assert settings.feature_cache_memory is None
    assert not settings.prefix_cache
    assert settings.overlap is None
    assert settings.max_pixels == 1_000_000
    assert settings.media_root == tmp_path
    assert settings.max_context is None, "an empty variable is no value"
    assert not settings.offline


def test_the_served_name() -> None:
    assert load({}).model_name == "demo"
    assert load({"model": "/a/b"}).model_name == "/a/b"
    assert load({"model": "/a/b", "served_model_name": "b"}).model_name == "b"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("port", "http"),
        ("dtype", "int4"),
        ("device", "tpu"),
        ("device", "cuda:x"),
        ("load_format", "fast"),
        ("offline", "maybe"),
        ("max_pixels", "0"),
        ("max_running", "0"),
        ("gpu_memory_utilization", "0"),
        ("gpu_memory_utilization", "1.1"),
        ("kv_cache_memory", "0"),
        ("kv_cache_memory", "half"),
        ("feature_cache_memory", "0"),
        ("host_feature_cache_memory", "-1"),
        ("cuda_graphs", "never"),
        ("max_file_bytes", "many"),
        ("media_root", "/nowhere/at/all"),
        ("model", ""),
        ("drain_seconds", "-1"),
        ("remote_timeout", "0"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.toml"
    file.write_text(f'{name} = "{value}"')
    with pytest.raises(SettingsError, match=f"^{flag(name)}: ") as caught:
        load({name: value})
    assert repr(value) in caught.value.message
    with pytest.raises(SettingsError, match=f"a.toml: {name}: "):
        load({}, file)
    if value:
        monkeypatch.setenv(variable(name), value)
        with pytest.raises(SettingsError, match=f"^{variable(name)}: "):
            load({}, file)


def test_unknown_names_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.toml"
    file.write_text("prot = 1")
    with pytest.raises(SettingsError, match=r"a\.toml: prot is no setting") as caught:
        load({}, file)
    assert caught.value.hint == "Did you mean port?"
    monkeypatch.setenv("SACCADE_MAX_PIXEL", "1")
    with pytest.raises(SettingsError, match="SACCADE_MAX_PIXEL is no setting") as caught:
        load({})
    assert caught.value.hint == "Did you mean SACCADE_MAX_PIXELS?"


@pytest.mark.parametrize("content", [None, "port 1", b"\xff"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str | bytes | None) -> None:
    file = tmp_path / "a.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=r"a\.toml"):
        load({}, file)


def test_settings_are_frozen_and_know_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_PORT", "7002")
    settings = Settings()
    assert settings.port == 8000
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_how_torch_allocates_is_said_where_its_owner_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert with_allocator() == {**os.environ, names[0]: "expandable_segments:True"}
    for name in names:
        with monkeypatch.context() as patch:
            patch.setenv(name, "backend:native")
            assert with_allocator() == dict(os.environ)


def test_every_setting_has_a_help_text() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.description.endswith("."), name


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text() == reference(), (
        "run: python -c 'from saccade.settings import reference as r; print(r(), end=\"\")' > docs/settings.md"
    )
