"""Who may ask: keys are known by their SHA-256 alone; a secret comes in, the holder's name and limits come out.

A key is 256 random bits, so that a plain hash of it cannot be turned back, and a file of hashes tells nobody a key.
"""

from __future__ import annotations

import hmac
import re
import secrets
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from saccade.errors import SettingsError

PREFIX = "sk-saccade-"
"""Of the keys made here: scanners for leaked secrets can find them."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may ask for; None: as much as the server gives."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Of prompts and answers."""
    concurrent: int | None = None
    """Requests at the same time, until their answers are complete."""


@dataclass(frozen=True, slots=True)
class Key:
    """One holder of a key."""

    name: str
    digest: bytes
    """SHA-256 of the key."""
    limits: KeyLimits = KeyLimits()

    @property
    def salt(self) -> bytes:
        """What keeps this holder's caches apart from those of others."""
        return blake2b(self.digest, digest_size=16, person=b"saccade salt").digest()


ANYONE = Key("anyone", b"")
"""Who asks a server without keys."""


class Keys:
    """All keys of a server."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def become(self, other: Keys) -> None:
        """From now on, these are the keys of `other`."""
        self._keys = other._keys

    def find(self, secret: bytes) -> Key | None:
        """The holder of `secret`. Takes as long for every wrong one: digests are compared, and all of them."""
        digest, found = sha256(secret).digest(), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


NONE = Keys()


def new_key(name: str) -> tuple[str, str]:
    """A new key, and its line for a file of keys. Raises SettingsError for a name that cannot stand in one."""
    _check_name(name, "NAME")
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, f"{name}:{sha256(secret.encode()).hexdigest()}"


def load_keys(secret: str | None, file: Path | None) -> Keys:
    """The key given as a setting, named "default", and those of a file.

    A file has lines NAME:SHA256, or, if its name ends in .toml, a table for each name with `sha256` and the fields of
    KeyLimits. Raises SettingsError that names the line or the table, and never says what a key or a digest is.
    """
    keys = [Key("default", sha256(secret.encode()).digest())] if secret else []
    if file:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"The keys in {file} cannot be read: {reason}.", param="api_key_file") from None
        found = list(_tables(text, file) if file.suffix == ".toml" else _lines(text, file))
        if not found:
            raise SettingsError(f"There is no key in {file}.", param="api_key_file", hint="Try: saccade key NAME")
        keys += found
    for number, key in enumerate(keys):
        for other in keys[:number]:
            if key.name == other.name:
                raise SettingsError(f"Two keys are named {key.name!r}.", param="api_key_file")
            if key.digest == other.digest:
                raise SettingsError(f"{other.name!r} and {key.name!r} are the same key.", param="api_key_file")
    return Keys(keys)


def _lines(text: str, file: Path) -> Iterable[Key]:
    for number, line in enumerate(text.splitlines(), 1):
        if (line := line.strip()) and not line.startswith("#"):
            name, _, digest = line.partition(":")
            yield Key(_check_name(name, f"{file}, line {number}"), _digest(digest, f"{file}, line {number}"))


def _tables(text: str, file: Path) -> Iterable[Key]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The keys in {file} are not TOML: {error}.", param="api_key_file") from None
    names = {field.name for field in fields(KeyLimits)}
    for name, table in tables.items():
        place = f"{file}, [{name}]"
        _check_name(name, place)
        if not isinstance(table, dict):
            raise SettingsError(f"{place} is no table.", param="api_key_file", hint="Write sha256 = ... below it.")
        for field, value in table.items():
            if field != "sha256" and field not in names:
                raise SettingsError(
                    f"{place}: {field} is no limit.", param="api_key_file", hint=f"Limits: {sorted(names)}"
                )
            if field in names and (type(value) is not int or value < 1):
                raise SettingsError(f"{place}: {field} must be a whole number of at least 1.", param="api_key_file")
        limits: dict[str, Any] = {field: value for field, value in table.items() if field != "sha256"}
        yield Key(name, _digest(table.get("sha256"), place), KeyLimits(**limits))


def _check_name(name: str, place: str) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{place}: a name of a key has 1 to 64 letters, digits, dots, dashes or underscores.", param="api_key_file"
        )
    return name


def _digest(text: object, place: str) -> bytes:
    if not isinstance(text, str) or not _DIGEST.fullmatch(text.strip()):
        raise SettingsError(
            f"{place}: the SHA-256 of the key must stand here, 64 hexadecimal digits.",
            param="api_key_file",
            hint="`saccade key NAME` makes a key and its line.",
        )
    return bytes.fromhex(text)
