"""What a request says about the tokens of its answer is checked before the engine hears of it: grammars are compiled,
budgets of thought are fitted into the answer; knows ids, no pictures and no HTTP."""

from __future__ import annotations

from dataclasses import replace

from saccade.engine.grammar import Grammars
from saccade.engine.request import Thinking
from saccade.engine.spec import Vocabulary
from saccade.errors import RequestError
from saccade.text.tokenizer import Tokenizer
from saccade.types import Prompt, SamplingParams

CLOSING = "\n</think>\n\n"
"""What ends a thought that the model does not end."""
ROOM = 1024
"""Tokens that a budget of thought leaves for the answer, or a quarter of max_tokens if that is less."""


class Constraints:
    """Of one checkpoint. Its calls may take as long as a grammar takes to compile."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
        self._grammars = Grammars(vocabulary)
        self._open = tokenizer.added.get("<think>")
        self._end = tokenizer.added.get("</think>")
        self._closing = tuple(tokenizer.encode(CLOSING, specials=True))
        self._line = tuple(tokenizer.encode("\n", specials=False))

    def check(self, sampling: SamplingParams, prompt: Prompt) -> Thinking | None:
        """How the answer's thoughts end, if the prompt leaves it in the middle of one. `sampling` has its max_tokens.
        Raises RequestError for a grammar that cannot be used or a budget that has no meaning or no room."""
        if sampling.grammar:
            self._grammars.compile(sampling.grammar)
        budget = sampling.thinking_budget
        if self._open is None or self._end is None or prompt.ids[-2:] != (self._open, *self._line):
            if budget is not None:
                raise RequestError(
                    "'thinking_budget' has no meaning here: this model answers without thinking.",
                    param="thinking_budget",
                    code="unsupported_parameter",
                )
            return None
        thinking = Thinking(self._end, self._closing, None)
        if budget is None:
            return thinking
        assert sampling.max_tokens, "it is known by now"
        most = sampling.max_tokens - len(self._closing) - min(ROOM, -(-sampling.max_tokens // 4))
        if most < 0:
            raise RequestError(
                f"'max_tokens' is {sampling.max_tokens}: no room for thoughts, their end and an answer.",
                param="max_tokens",
            )
        return replace(thinking, budget=min(budget, most))

    def close(self) -> None:
        """Nothing more is compiled."""
        self._grammars.close()


def vocabulary(tokenizer: Tokenizer, stop_ids: frozenset[int]) -> Vocabulary:
    """What grammars must know of a tokenizer."""
    size = tokenizer.size
    ends = tuple(sorted(id for id in stop_ids if id < size))
    return Vocabulary(tokenizer.all_bytes(), tuple(sorted(tokenizer.added.values())), ends)
