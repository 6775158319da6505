"""The tokenizer is the reference's, text never makes added tokens, and streaming tells what decoding at once tells."""

from __future__ import annotations

import json
import random
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from saccade.errors import CheckpointError, RequestError
from saccade.text.tokenizer import Detokenizer, Tokenizer
from saccade.text.words import MAX_NEW, MAX_WORDS, Words, cuts_so

MIXED = "Grüße, 世界! 👩‍👩‍👧 1+1=2\n\n\tжил कोड ០១ e\u0301 don't  \r\n<b>&amp;</b> 🏳️‍🌈 ﷽ \u200b."
ALPHABET = "aAbz é\u0301ß世界👍🏽👩‍👧\n\r\t  '\"<>|{}0123.,:;-_/\\ж\u0e01\ufeff\u00a0"


def scribble(chars: str, length: int) -> str:
    return "".join(random.choices(chars, k=length))


def cut(text: str, stops: tuple[str, ...]) -> str:
    """What remains of `text`, by the definition: the first place where a stop string is complete."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


def test_vectors(qwen: Tokenizer, shared: Path) -> None:
    groups = json.loads((shared / "tokenizer" / "test_vectors.json").read_text())
    cases = [case for group in groups.values() for case in group]
    assert len(cases) == 48
    for case in cases:
        assert qwen.encode(case["text"], specials=True) == case["ids"]
        if not any(token in case["text"] for token in qwen.added):
            assert qwen.encode(case["text"], specials=False) == case["ids"]


def test_encodes_as_the_reference(qwen: Tokenizer, references: dict[str, Any]) -> None:
    reference = references["instruct"]
    texts = [MIXED, *(scribble(ALPHABET, 60) for _ in range(300))]
    texts += [scribble("".join(qwen.added) + ALPHABET, 5) + random.choice(list(qwen.added)) for _ in range(100)]
    for text in texts:
        assert qwen.encode(text, specials=True) == reference.encode(text, add_special_tokens=False)
    for text in texts[:301]:
        assert qwen.encode(text, specials=False) == reference.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("chars", ["".join(map(chr, range(128))), "ab'sStTreEvVlLmMdD 01\n\r\t  .,!-\x0b\x0c\x1c\x1f"])
def test_words_that_are_known_have_the_ids_that_they_have_in_a_text(qwen: Tokenizer, chars: str) -> None:
    words = qwen._words
    assert words
    known = 0
    for _ in range(3000):
        text = scribble(chars, random.randrange(40))
        expected = qwen._plain.encode_batch_fast([text], add_special_tokens=False)[0].ids
        ids = words.ids(text)
        assert ids in (None, expected), repr(text)
        assert qwen.encode(text, specials=False) == expected
        known += ids is not None
    assert known > 2000


def test_what_is_known_of_words_is_bounded() -> None:
    words = Words(lambda new: [[len(word)] for word in new])
    assert words.ids("one two two") == [3, 4, 4]
    assert words.ids("x" * 100) is None
    assert words.ids("größer") is None
    assert words.ids(" ".join(f"a{'b' * n}" for n in range(1, MAX_NEW + 2))) is None
    for number in range(2 * MAX_WORDS // MAX_NEW):
        words.ids("".join(f" {chr(97 + n)}{scribble('abcdefghijklmnop', 8)}" for n in range(26)) + str(number))
        assert len(words._known) <= MAX_WORDS
    assert words.ids("one two two") == [3, 4, 4]


def test_only_vocabularies_that_cut_so_know_words(checkpoints: dict[str, Path]) -> None:
    told = json.loads((checkpoints["instruct"] / "tokenizer.json").read_text())
    assert cuts_so(told)
    for part, other in (
        ("normalizer", {"type": "Lowercase"}),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}),
        ("pre_tokenizer", None),
        ("model", {**told["model"], "dropout": 0.1}),
    ):
        assert not cuts_so({**told, part: other})


def test_typed_tokens_stay_text(tokenizer: Tokenizer) -> None:
    added = set(tokenizer.added.values())
    assert len(added) == 26
    for text in (*tokenizer.added, "".join(tokenizer.added), *(f"a {token}\n{token}b" for token in tokenizer.added)):
        ids = tokenizer.encode(text, specials=False)
        assert not added & set(ids)
        assert tokenizer.decode(ids) == text
        assert added & set(tokenizer.encode(text, specials=True))


def test_text_survives_in_composed_form(tokenizer: Tokenizer) -> None:
    for text in (MIXED, *(scribble(ALPHABET, 40) for _ in range(50))):
        ids = tokenizer.encode(text, specials=False)
        assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)
        assert b"".join(map(tokenizer.token_bytes, ids)) == unicodedata.normalize("NFC", text).encode()


def test_a_byte_is_a_token(tiny: Tokenizer) -> None:
    assert tiny.encode(MIXED, specials=False) == list(unicodedata.normalize("NFC", MIXED).encode())
    assert [tiny.token_bytes(id) for id in range(256)] == [bytes([byte]) for byte in range(256)]


def test_lone_surrogates_are_no_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud83db\udfff", specials=False)) == "a\ufffdb\ufffd"


def test_tokens_by_id(tokenizer: Tokenizer) -> None:
    assert tokenizer.size == max(tokenizer.added.values()) + 1
    end, think = tokenizer.added["<|im_end|>"], tokenizer.added["<think>"]
    assert (tokenizer.token_bytes(end), tokenizer.token_bytes(think)) == (b"<|im_end|>", b"<think>")
    assert tokenizer.is_special(end)
    assert not tokenizer.is_special(think)
    assert tokenizer.token_bytes(tokenizer.size + 7) == b""
    assert tokenizer.decode([end, think, tokenizer.size, end]) == "<think>"


def test_decodes_as_the_reference(tokenizer: Tokenizer, request: pytest.FixtureRequest) -> None:
    small = tokenizer.size < 1000
    directory = request.getfixturevalue("bundled") if small else request.getfixturevalue("checkpoints")["instruct"]
    reference = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    for _ in range(300):
        ids = [random.randrange(tokenizer.size + 20) for _ in range(40)]  # seldom whole characters
        assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True)


def test_streams_what_it_decodes(tokenizer: Tokenizer) -> None:
    for _ in range(200):
        stream = Detokenizer(tokenizer)
        ids = [random.randrange(tokenizer.size + 20) for _ in range(30)]
        assert "".join(map(stream.push, ids)) + stream.finish() == tokenizer.decode(ids)
        assert not stream.stopped


def test_ends_at_every_byte(tiny: Tokenizer) -> None:
    ids = tiny.encode(MIXED, specials=False)
    whole = unicodedata.normalize("NFC", MIXED)
    for end in range(len(ids) + 1):
        stream = Detokenizer(tiny)
        pieces = [stream.push(id) for id in ids[:end]]
        assert whole.startswith("".join(pieces))
        assert "".join(pieces).encode() == bytes(ids[:end]).decode(errors="ignore").encode()  # every whole character
        assert "".join(pieces) + stream.finish() == tiny.decode(ids[:end])


@pytest.mark.parametrize("stops", [("b",), ("ab",), ("aab", "ba"), ("abab", "bb"), ("aaaa",), ("é a", "界"), ("👍🏽",)])
def test_stops_where_the_first_stop_string_is_complete(tokenizer: Tokenizer, stops: tuple[str, ...]) -> None:
    for _ in range(150):
        text = scribble("ab" if stops[0].isascii() else "aé 界👍🏽", random.randrange(14))
        ids = tokenizer.encode(text, specials=False)
        stream = Detokenizer(tokenizer, stops)
        shown, told = "", b""
        for id in ids:
            shown += stream.push(id)
            told += tokenizer.token_bytes(id)
            so_far = told.decode(errors="ignore")
            assert stream.stopped == any(stop in so_far for stop in stops)
            if not stream.stopped:  # nothing is held back without need
                open_end = next(tail for at in range(99) if (tail := so_far[at:]) == "" or any(map_starts(stops, tail)))
                assert shown + open_end == so_far
        shown += stream.finish()
        assert shown == cut(text, stops)
        assert stream.push(ids[0] if ids else 0) == "" or not stream.stopped


def map_starts(stops: tuple[str, ...], tail: str) -> list[bool]:
    return [stop != tail and stop.startswith(tail) for stop in stops]


def test_special_tokens_are_silent_and_do_not_part_a_character(tokenizer: Tokenizer) -> None:
    stream = Detokenizer(tokenizer, ("stop",))
    end = tokenizer.added["<|im_end|>"]
    shown = "".join(stream.push(id) for id in with_between(tokenizer.encode("日本語👍 st", specials=False), end))
    assert shown + stream.finish() == "日本語👍 st"


def with_between(ids: list[int], id: int) -> list[int]:
    return [each for pair in zip(ids, [id] * len(ids), strict=True) for each in pair]


def test_tags_are_text_and_can_stop(tokenizer: Tokenizer) -> None:
    stream = Detokenizer(tokenizer, ("</think>",))
    ids = [tokenizer.added["<think>"], *tokenizer.encode("hm", specials=False), tokenizer.added["</think>"], 5]
    assert "".join(map(stream.push, ids)) + stream.finish() == "<think>hm"
    assert stream.stopped


def test_an_empty_stop_string_is_refused(tiny: Tokenizer) -> None:
    with pytest.raises(RequestError, match="must not be empty"):
        Detokenizer(tiny, ("a", ""))


def test_a_long_stop_string_costs_little(tiny: Tokenizer) -> None:
    stream = Detokenizer(tiny, ("a" * 5000 + "b",))
    assert "".join(stream.push(97) for _ in range(7000)) == "a" * 2000
    assert stream.finish() == "a" * 5000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "has no tokenizer.json"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ({"decoder": None}, "not a byte-level BPE"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}, "WordLevel"),
        ({"lstrip": True}, "strips its surroundings"),
        ({"content": "ab", "vocab": True}, "can be made from ordinary text"),
    ],
)
def test_broken_files(tmp_path: Path, bundled: Path, change: object, message: str) -> None:
    shutil.copy(bundled / "tokenizer.json", tmp_path)
    path = tmp_path / "tokenizer.json"
    data = json.loads(path.read_text())
    if change is None:
        path.unlink()
    elif isinstance(change, str):
        path.write_text(change)
    elif isinstance(change, dict):
        if "vocab" in change:  # a word of the vocabulary that is an added token as well
            data["model"]["vocab"]["ab"] = 256
            data["model"]["merges"] = [["a", "b"]]
        data["added_tokens"][0] |= {key: change[key] for key in ("lstrip", "content") if key in change}
        data |= {key: change[key] for key in ("decoder", "model") if key in change}
        path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_dir(tmp_path)
