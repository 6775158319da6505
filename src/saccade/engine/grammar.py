"""Grammars become masks over a vocabulary: texts of schemas, regular expressions and Lark grammars come in, matchers
that follow one answer go out; knows tokens by their bytes and has never heard of a tokenizer.

    Grammars(vocabulary) --compile--> Compiled --follow--> Matcher: mask, push, mask, push ...

Compiling takes about a millisecond, and up to a second for what is just small enough: it is done in a thread of its
own, once for each text that is sent again and again. What strangers wrote is compiled under limits of size, depth and
work, all of which are refusals that name the field; deep recursion has the stack that the size limits allow it to need.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt

from saccade.engine.spec import Vocabulary
from saccade.errors import RequestError
from saccade.types import GRAMMAR_CHARACTERS, Grammar

Mask = npt.NDArray[np.int32]
"""[ceil(n / 32)]: bit i % 32 of word i // 32 says whether id i may come next."""

COMPILE_SECONDS = 10.0
"""After which whoever waits is told that it takes too long."""
STACK = 64 << 20
"""Bytes; compiling and following recurse as deep as a grammar is: some 2,500 rules, each of which is one more, in 8 MB,
and no text of GRAMMAR_CHARACTERS has as many as need this."""
KEPT, KEPT_CHARACTERS = 128, 1 << 22
"""Compiled grammars that are kept, and the length of their texts together."""
WHITESPACE = r"\x20?|\n\x20{0,32}"
"""Between the tokens of JSON: a model that may write any amount of it may never come to an end."""
OPTIONS: Any = {"whitespace_pattern": WHITESPACE, "lenient": False, "coerce_one_of": True}
"""Keywords of a schema that are not enforced are refused; oneOf is taken as anyOf."""
NOT_FORCED = '%llguidance {"no_forcing": true}'
"""Every token that may lead on is allowed. Otherwise where only one text can follow, only the tokens that the tokenizer
would make of it were, and the engine has no tokenizer."""
LIMITS: dict[str, Any] = {
    "max_items_in_row": 10_000,
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 50_000,
    "step_max_items": 50_000,
    "max_lexer_states": 20_000,
    "max_grammar_size": 100_000,
    "verbose_errors": False,
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A grammar over the vocabulary it was compiled for."""

    grammar: Grammar
    mask: Mask
    """Of the first token."""
    start: llguidance.LLMatcher
    """Before the first token; never moved."""

    def follow(self) -> Matcher:
        """A matcher of one answer, at its beginning."""
        return Matcher(self.start.deep_copy(), self.mask)


class Matcher:
    """Where one answer is in its grammar. Not thread-safe; the interpreter is free while masks are computed."""

    def __init__(self, inner: llguidance.LLMatcher, mask: Mask) -> None:
        self._inner = inner
        self.mask = mask
        """Ids that may come next. Empty: none may, see `why`."""

    def push(self, *tokens: int) -> None:
        """The answer goes on with these; `mask` is that of the next."""
        self._inner.consume_tokens(list(tokens))
        self.mask = _mask(self._inner)

    @property
    def why(self) -> str:
        """Why nothing may come next, in one sentence."""
        reason, error = self._inner.stop_reason(), self._inner.get_error().lower()
        if reason in ("ParserTooComplex", "LexerTooComplex") or "too many" in error or "max is" in error:
            return "The grammar takes too much work to follow."
        return "The grammar allows nothing after what was written."


class Grammars:
    """Compiles for one vocabulary. Thread-safe. The first call that needs the vocabulary waits until it is prepared."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Begins to prepare the vocabulary (0.5 s for 150,000 tokens) and returns."""
        self._pool = deep_pool(1, "saccade-grammar")
        self._kept: OrderedDict[Grammar, Compiled] = OrderedDict()
        self._lock = threading.Lock()
        self._tokenizer: Future[llguidance.LLTokenizer | None] = self._pool.submit(_prepared, vocabulary)

    def compile(self, grammar: Grammar) -> Compiled:
        """Raises RequestError, which names the grammar's field, for what is wrong, impossible or too large."""
        try:
            return self.begin(grammar).result(COMPILE_SECONDS)
        except TooLate:
            raise _refusal(grammar, "it takes too long to compile") from None

    def begin(self, grammar: Grammar) -> Future[Compiled]:
        """The same without waiting."""
        with self._lock:
            if found := self._kept.get(grammar):
                self._kept.move_to_end(grammar)
        if found:
            done: Future[Compiled] = Future()
            done.set_result(found)
            return done
        return self._pool.submit(self._compile, grammar)

    def close(self) -> None:
        """Nothing more is compiled."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compile(self, grammar: Grammar) -> Compiled:
        tokenizer = self._tokenizer.result()
        if tokenizer is None:
            raise _refusal(grammar, "this model has no token that ends an answer")
        if len(grammar.text) > (most := GRAMMAR_CHARACTERS[grammar.kind]):
            raise _refusal(grammar, f"it has {len(grammar.text)} characters, and at most {most} are taken")
        try:
            source = _source(grammar)
        except ValueError as error:
            raise _refusal(grammar, str(error)) from None
        matcher = llguidance.LLMatcher(tokenizer, source, log_level=0, limits=llguidance.LLParserLimits(**LIMITS))
        if matcher.is_error():
            raise _refusal(grammar, matcher.get_error())
        mask = _mask(matcher)
        if not mask.any():
            raise _refusal(grammar, "it allows no answer at all, or takes too much work to follow")
        compiled = Compiled(grammar, mask, matcher)
        with self._lock:
            self._kept[grammar] = compiled
            while len(self._kept) > KEPT or sum(len(kept.text) for kept in self._kept) > KEPT_CHARACTERS:
                self._kept.popitem(last=False)
        return compiled


def deep_pool(num_threads: int, name: str) -> ThreadPoolExecutor:
    """Threads with a stack of STACK bytes, of which only what is used is taken."""
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
    here = threading.Barrier(num_threads + 1)
    before = threading.stack_size(STACK)
    try:
        for _ in range(num_threads):
            pool.submit(here.wait)  # each keeps its thread, so that the next one makes another
        here.wait()
    finally:
        threading.stack_size(before)
    return pool


def _source(grammar: Grammar) -> str:
    """In llguidance's dialect of Lark. Raises ValueError."""
    matcher = llguidance.LLMatcher
    if grammar.kind == "lark":
        text = grammar.text
    elif grammar.kind == "regex":
        if (len(grammar.text) - len(grammar.text.rstrip("\\"))) % 2:  # llguidance would leave it out
            raise ValueError("it ends in a backslash that escapes nothing")
        text = json.loads(matcher.grammar_from_regex(grammar.text))["grammars"][0]["lark_grammar"]
    else:
        schema = grammar.text if grammar.kind == "json_schema" else '{"type": "object"}'
        told = json.loads(matcher.grammar_from_json_schema(schema, overrides=OPTIONS))
        text = f"start: %json {json.dumps(told['grammars'][0]['json_schema'])}"
    return matcher.grammar_from_lark(f"{text}\n{NOT_FORCED}")


def _mask(matcher: llguidance.LLMatcher) -> Mask:
    """What may come next; empty where nothing may."""
    mask: Mask = np.frombuffer(matcher.compute_bitmask(), dtype=np.int32)
    return np.zeros_like(mask) if matcher.is_error() else mask


class _Words:
    """The vocabulary as llguidance wants to be told of it."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = list(vocabulary.tokens)
        self.special_token_ids = list(vocabulary.special_ids)
        self.eos_token_id = vocabulary.stop_ids[0]
        self._of_byte = {token[0]: id for id, token in enumerate(vocabulary.tokens) if len(token) == 1}

    def __call__(self, text: bytes) -> list[int]:
        """Tokens of a text; any will do, see NOT_FORCED."""
        return [self._of_byte[byte] for byte in text if byte in self._of_byte]


def _prepared(vocabulary: Vocabulary) -> llguidance.LLTokenizer | None:
    """None for a vocabulary without an end."""
    if not vocabulary.stop_ids:
        return None
    words = llguidance.TokenizerWrapper(_Words(vocabulary))
    return llguidance.LLTokenizer(words, eos_token=list(vocabulary.stop_ids))


def _refusal(grammar: Grammar, why: str) -> RequestError:
    """Of a text that cannot be used; `why` is often llguidance's, whose first line says it."""
    line = (why.strip().splitlines() or ["it cannot be compiled"])[0].rstrip(".")
    return RequestError(f"'{grammar.param}' cannot be used: {line[:200]}.", param=grammar.param, code="invalid_grammar")
