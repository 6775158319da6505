"""What one request asks is held against the context of the model; knows no pictures and no engine."""

from __future__ import annotations

from dataclasses import replace

from saccade.backends.generation import GenerationDefaults, check_ids
from saccade.errors import ContextLengthError
from saccade.text.tokenizer import Tokenizer
from saccade.types import Prompt, Request, SamplingParams, TextPart

LONG = 16
"""Characters for each token of the context from which on a text is looked at before all of it is encoded."""


class Context:
    """So many tokens, prompt and answer together."""

    def __init__(self, size: int, tokenizer: Tokenizer, defaults: GenerationDefaults) -> None:
        """`defaults`: of the checkpoint, for what requests leave open."""
        self.size = size
        self._tokenizer = tokenizer
        self._defaults = defaults

    def check(self, request: Request) -> None:
        """Raise ContextLengthError for a text that is far too long, before all of its tokens are found: 60 MB would
        take a minute and gigabytes. Tokens of several letters each (spaces, say) may still fit."""
        texts = [part.text for message in request.messages for part in message.parts if isinstance(part, TextPart)]
        if sum(map(len, texts)) <= LONG * self.size:
            return
        beginning = "".join(texts)[: LONG * self.size]
        if len(self._tokenizer.encode(beginning, specials=False)) > 2 * self.size:
            raise ContextLengthError(
                f"The text has more than {2 * self.size} tokens and the context holds {self.size}.",
                param="messages",
                hint="Shorten the text.",
            )

    def fill(self, sampling: SamplingParams, prompt: Prompt) -> SamplingParams:
        """Nothing left open, and an answer of that length fits behind `prompt`. Raises RequestError."""
        check_ids(sampling, self._tokenizer.size)
        length, room = len(prompt.ids), self.size - len(prompt.ids)
        asked = sampling.max_tokens
        if room < 1:
            raise ContextLengthError(
                f"The prompt has {length} tokens and the context holds {self.size}, the answer included.",
                param="messages",
                hint="Shorten the text, or send fewer or smaller pictures.",
            )
        if asked is not None and asked > room:
            raise ContextLengthError(
                f"The prompt has {length} tokens and max_tokens is {asked}; the context holds {self.size}.",
                param="max_tokens",
                hint=f"Ask for at most {room} tokens.",
            )
        return self._defaults.fill(replace(sampling, max_tokens=asked or room))
