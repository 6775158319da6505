"""Words that were encoded before are looked up instead of encoded again: 512 English words take 0.2 instead of 1 ms,
which every first token waits for.

The vocabularies of this family cut a text into words before anything else, and encode each by itself. Where a text is
plain ASCII, Python's `re` cuts it at the same places.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any

MAX_LENGTH = 32 * 1024
"""Characters. Longer texts are left to the tokenizer, which lets other threads run meanwhile."""
MAX_WORDS = 1 << 15
"""That are known at a time."""
MAX_NEW = 32
"""Words of one text that are encoded one by one; where more are new, the tokenizer is as quick."""
MAX_WORD = 32
"""Characters of a word that is worth knowing."""

_CUT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How these vocabularies cut, as tokenizer.json has it."""
_CUT_ASCII = re.compile(
    r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\na-zA-Z0-9]?[a-zA-Z]+|[0-9]| ?[^\sa-zA-Z0-9]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    re.ASCII,
)
"""The same of ASCII."""


def cuts_so(tokenizer: dict[str, Any]) -> bool:
    """Whether a tokenizer.json describes one that cuts as this file does, and does nothing else to ASCII."""
    cut = tokenizer.get("pre_tokenizer") or {}
    steps = [dict(step) for step in cut.get("pretokenizers") or ()]
    for step in steps:
        step.pop("trim_offsets", None)
    return (
        tokenizer.get("normalizer") in (None, {"type": "NFC"})
        and not tokenizer["model"].get("dropout")
        and steps
        == [
            {"type": "Split", "pattern": {"Regex": _CUT}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]
    )


class Words:
    """The ids of words. Safe to use from several threads."""

    def __init__(self, encode: Callable[[list[str]], list[list[int]]]) -> None:
        """`encode` gives the ids of each of several words."""
        self._encode = encode
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int] | None:
        """Of `text`; None: the tokenizer has to be asked."""
        if len(text) > MAX_LENGTH or not text.isascii():
            return None
        words = _CUT_ASCII.findall(text)
        try:
            return list(chain.from_iterable(map(self._known.__getitem__, words)))
        except KeyError:
            return self._learn(words)

    def _learn(self, words: list[str]) -> list[int] | None:
        if len(self._known) > MAX_WORDS - MAX_NEW:
            self._known = {}
        known = self._known  # from which nothing is ever taken
        unknown = dict.fromkeys(word for word in words if word not in known)
        new = [word for word in unknown if len(word) <= MAX_WORD][:MAX_NEW]
        known |= zip(new, self._encode(new), strict=True)
        return list(chain.from_iterable(map(known.__getitem__, words))) if len(new) == len(unknown) else None
