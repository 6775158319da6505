"""Files of keys: what is read, what is refused, and what is never said."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from saccade.backends.base import Echo
from saccade.errors import SettingsError
from saccade.server import key_file
from saccade.server.guard import Access
from saccade.server.key_file import KeyFile
from saccade.server.keys import PREFIX, Key, KeyLimits, load_keys, new_key


def digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def test_a_new_key_is_found_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    made = [new_key(name) for name in ("one", "two")]
    file.write_text("# whose they are\n\n" + "\n".join(line for _, line in made) + "\n")
    keys = load_keys(None, file)
    for name, (secret, line) in zip(("one", "two"), made, strict=True):
        assert secret.startswith(PREFIX)
        assert len(secret) >= len(PREFIX) + 43, "256 bits"
        assert secret not in line
        found = keys.find(secret.encode())
        assert found is not None
        assert found.name == name
    assert made[0][0] != made[1][0]
    for wrong in ("", "x", made[0][0][:-1], made[0][0] + "x", digest(made[0][0]), "\ud800"):
        assert keys.find(wrong.encode("utf-8", "surrogatepass")) is None


def test_a_table_for_each_key_with_its_limits(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f"""
[team-a]
sha256 = "{digest("a")}"
requests_per_minute = 60
tokens_per_minute = 10000
concurrent = 4

[b]
sha256 = "{digest("b")}"
""")
    keys = load_keys("c", file)
    assert keys.find(b"a") == Key("team-a", sha256(b"a").digest(), KeyLimits(60, 10_000, 4))
    assert keys.find(b"b") == Key("b", sha256(b"b").digest(), KeyLimits())
    found = keys.find(b"c")
    assert found is not None
    assert found.name == "default"


def test_a_file_that_changes_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice:{digest('a')}\nbob:{digest('b')}\n")
    followed = KeyFile("c", file)
    keys = followed.keys
    file.write_text(f"bob:{digest('b')}\n")
    followed.look()
    assert (keys.find(b"a"), len(keys)) == (None, 2)
    for broken in (f"bob:{digest('b')}\nsk-saccade-secret-of-alice\n", "", None):
        caplog.clear()
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        followed.look()
        followed.look()
        assert keys.find(b"b")
        assert keys.find(b"c")
        (said,) = caplog.records
        assert said.levelname == "ERROR"
        assert "sk-saccade" not in said.getMessage()
        assert digest("b") not in said.getMessage()
    file.write_text(f"carol:{digest('d')}\n")
    followed.look()
    assert keys.find(b"b") is None
    assert keys.find(b"d")


def test_a_key_is_withdrawn_from_a_server(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "SECONDS", 0.01)
    file = tmp_path / "keys.toml"
    limited = '[{0}]\nsha256 = "{1}"\nrequests_per_minute = {2}\n'.format
    file.write_text(limited("alice", digest("a"), 1) + limited("bob", digest("b"), 1))
    followed = KeyFile(None, file)
    url = serve(Echo(), access=Access(followed.keys), beside=followed.follow).url

    def ask(secret: str) -> int:
        body = {"model": "echo", "messages": [{"role": "user", "content": "a"}]}
        headers = {"authorization": f"Bearer {secret}"}
        return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers).status_code

    assert [ask("a"), ask("b"), ask("b")] == [200, 200, 429]
    file.write_text(limited("bob", digest("b"), 100))
    end = time.monotonic() + 5
    while ask("a") != 401:
        assert time.monotonic() < end
    assert ask("b") == 200, "by its new limit"


def test_salts_differ_and_tell_nothing() -> None:
    one, two = (Key(name, sha256(name.encode()).digest()) for name in "ab")
    assert one.salt != two.salt
    assert one.salt == Key("renamed", one.digest).salt
    assert one.salt not in one.digest


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("keys", "", "There is no key"),
        ("keys", "one:abc", "line 1: the SHA-256 of the key must stand here"),
        ("keys", f"one:{'a' * 64}\ntwo", "line 2"),
        ("keys", f"o ne:{'a' * 64}", "line 1: a name of a key"),
        ("keys", f"one:{'a' * 64}\none:{'b' * 64}", "Two keys are named 'one'"),
        ("keys", f"one:{'a' * 64}\ntwo:{'a' * 64}", "'one' and 'two' are the same key"),
        ("keys.toml", "[one", "are not TOML"),
        ("keys.toml", "one = 1", "is no table"),
        ("keys.toml", "[one]\n", "must stand here"),
        ("keys.toml", f'[one]\nsha256 = "{"a" * 64}"\nrpm = 3', "rpm is no limit"),
        ("keys.toml", f'[one]\nsha256 = "{"a" * 64}"\nconcurrent = 0', "at least 1"),
        ("keys.toml", f'[one]\nsha256 = "{"a" * 64}"\nconcurrent = true', "at least 1"),
    ],
)
def test_what_is_no_file_of_keys(tmp_path: Path, name: str, text: str, told: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(SettingsError, match=told) as caught:
        load_keys(None, file)
    assert caught.value.param == "api_key_file"
    assert "aaaa" not in str(caught.value), "not even a digest is repeated"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_keys(None, tmp_path / "keys")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ü", "a" * 65])
def test_names_that_cannot_stand_in_a_file(name: str) -> None:
    with pytest.raises(SettingsError, match="a name of a key"):
        new_key(name)
