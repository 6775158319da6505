"""Text becomes token ids and ids become text again, all at once or as they come; knows no chat format and no model.

The vocabulary is a byte-level BPE (Qwen2's, or the demo model's 256 bytes). Two encoders share it: one that finds the
added tokens (<|im_start|>, <|image_pad|>, <think>, ...) in its input, and one that has never heard of them. Only text
that we wrote ourselves may go through the first.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import tokenizers

from saccade.errors import CheckpointError, RequestError
from saccade.text.words import Words, cuts_so

FILE = "tokenizer.json"

_SURROGATES = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """The text with every lone surrogate (not a character; JSON can smuggle one in) replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


class Tokenizer:
    """Both directions of one checkpoint's vocabulary. Immutable, and safe to use from several threads."""

    def __init__(self, full: tokenizers.Tokenizer, *, cuts_words: bool = False) -> None:
        """`cuts_words`: as words.py does."""
        full.no_truncation()
        full.no_padding()
        self._full = full
        # The same model, normaliser and pre-tokeniser objects, without the added tokens: whatever a user types, the
        # result is made of ordinary byte pairs.
        self._plain = tokenizers.Tokenizer(full.model)
        if full.normalizer is not None:
            self._plain.normalizer = full.normalizer
        self._plain.pre_tokenizer = full.pre_tokenizer
        self._words = (
            Words(lambda words: [e.ids for e in self._plain.encode_batch_fast(words, add_special_tokens=False)])
            if cuts_words
            else None
        )
        added = full.get_added_tokens_decoder()
        self._added_bytes = {id: token.content.encode() for id, token in added.items()}
        self._special_ids = frozenset(id for id, token in added.items() if token.special)
        self.added: Mapping[str, int] = MappingProxyType({token.content: id for id, token in added.items()})
        """Every added token, special or not, with its id."""
        self._token_bytes = lru_cache(maxsize=None)(self._look_up)  # bounded by the vocabulary

    @classmethod
    def from_dir(cls, directory: Path) -> Tokenizer:
        """Read `tokenizer.json`; CheckpointError when it is absent, broken or no byte-level BPE that is safe to use."""
        path = directory / FILE
        if not path.is_file():
            raise CheckpointError(f"{directory} has no {FILE}.", hint="Copy it from the model's repository.")
        try:
            source = path.read_text(encoding="utf-8")
            data = json.loads(source)
            full = tokenizers.Tokenizer.from_str(source)
        except Exception as error:  # the package raises bare Exception for a file it cannot use
            raise CheckpointError(
                f"{path} cannot be read: {str(error).rstrip('.')}.", hint="Download it again."
            ) from error
        kinds = [(data.get(part) or {}).get("type") for part in ("model", "decoder")]
        if kinds != ["BPE", "ByteLevel"]:
            raise CheckpointError(f"{path} is a {kinds[0]} tokenizer with a {kinds[1]} decoder, not a byte-level BPE.")
        tokenizer = cls(full, cuts_words=cuts_so(data))
        tokenizer._check(path)
        return tokenizer

    def _check(self, path: Path) -> None:
        """Refuse what would break a promise: added tokens that eat neighbours, or that plain text could produce."""
        ids = set(self.added.values())
        for token in self._full.get_added_tokens_decoder().values():
            if token.lstrip or token.rstrip or token.single_word:
                raise CheckpointError(f"{path}: added token {token.content!r} strips its surroundings: not supported.")
            if ids.intersection(self.encode(token.content, specials=False)):
                raise CheckpointError(f"{path}: added token {token.content!r} can be made from ordinary text.")

    @property
    def size(self) -> int:
        """One more than the largest id with a meaning; a model may have more (unused) rows."""
        return max(self._plain.get_vocab_size(), max(self.added.values(), default=-1) + 1)

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """The ids of `text`, nothing put before or after. With `specials` False no added token can come out."""
        if self._words and not specials and (ids := self._words.ids(text)) is not None:
            return ids
        encoder = self._full if specials else self._plain
        # A batch of one, since only this call lets other Python threads run meanwhile (0.3 s for 100,000 tokens).
        return encoder.encode_batch_fast([well_formed(text)], add_special_tokens=False)[0].ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids` without special tokens; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes(id) for id in ids if id not in self._special_ids).decode(errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """The exact bytes a token stands for; an added token's name; nothing for an id without a meaning."""
        return self._token_bytes(id)

    def all_bytes(self) -> tuple[bytes, ...]:
        """`token_bytes` of every id up to `size`; 0.1 s for 150,000 tokens."""
        name, added = self._plain.id_to_token, self._added_bytes
        tokens = ((added.get(id), name(id)) for id in range(self.size))
        return tuple(
            codecs.charmap_encode(token or "", "strict", _TO_BYTES)[0] if known is None else known
            for known, token in tokens
        )

    def is_special(self, id: int) -> bool:
        """Whether decoding leaves the token out (<|im_end|>: yes; <think> and <tool_call>: no)."""
        return id in self._special_ids

    def _look_up(self, id: int) -> bytes:
        if id in self._added_bytes:
            return self._added_bytes[id]
        token = self._plain.id_to_token(id)
        return b"" if token is None else bytes(_BYTE_OF[char] for char in token)


class Detokenizer:
    """The text of one answer as its tokens come.

    The concatenation of all pieces is `tokenizer.decode` of all tokens, cut before the stop string that is complete
    first (of two complete at once, the longer). A piece never ends inside a character, and what may yet become a stop
    string is held back until it is decided.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        if "" in stop:
            raise RequestError("A stop string must not be empty.", param="stop")
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.found: str | None = None
        """The stop string that was found; from then on there is no more text."""

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self.found is not None

    def push(self, id: int) -> str:
        """Take one token; returns the text that is certain now, often empty."""
        if self.stopped or self._tokenizer.is_special(id):
            return ""
        return self._take(self._decoder.decode(self._tokenizer.token_bytes(id)))

    def finish(self) -> str:
        """The rest after the last token: what was held back, and U+FFFD for half a character."""
        if self.stopped:
            return ""
        text = self._take(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _take(self, new: str) -> str:
        if not self._stop:
            return new
        text = self._held + new
        found = [(at + len(stop), at, stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self._held = ""
            _, at, self.found = min(found)
            return text[:at]
        cut = min(open_end(text, stop) for stop in self._stop)
        self._held = text[cut:]
        return text[:cut]


def open_end(text: str, stop: str, start: int = 0) -> int:
    """Where the longest tail of `text`, from `start` on, that `stop` begins with starts; the length of the text if
    there is none. A tail that is all of `stop` does not count."""
    at = text.find(stop[0], max(start, len(text) - len(stop) + 1))
    while at >= 0:
        if stop.startswith(text[at:]):
            return at
        at = text.find(stop[0], at + 1)
    return len(text)


def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's table): printable Latin-1 stands
    for itself, the other 68 bytes for U+0100 onwards in byte order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
_TO_BYTES = codecs.charmap_build("".join(sorted(_BYTE_OF, key=_BYTE_OF.__getitem__)))
