"""How an answer is chosen and when it ends, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GRAMMAR_CHARACTERS = {"json_object": 0, "json_schema": 1 << 17, "regex": 1 << 13, "lark": 1 << 16}
"""The longest text of a grammar of each kind."""
GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: the division would leave fp32."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must be."""

    kind: Literal["json_object", "json_schema", "regex", "lark"]
    """Some JSON object, JSON that a schema allows, a text that a regular expression matches from its first to its last
    character, a text of a grammar in llguidance's dialect of Lark."""
    text: str = ""
    """The schema, the expression, the grammar; nothing for "json_object"."""
    param: str = "response_format"
    """The request field it came from, for error messages."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen and when to end. Greedy when `temperature` is 0.

    `temperature`, `top_k`, `top_p`, `min_p` and `repetition_penalty` may be None: the checkpoint's own default
    (generation_config.json), which the backend fills in; where there is none, temperature 1, no limits, no penalty.
    `engine/sampler.py` says in which order they act.
    """

    temperature: float | None = None
    top_k: int | None = None
    """0: no limit."""
    top_p: float | None = None
    min_p: float | None = None
    """Tokens less likely than this times the likeliest are left out."""
    repetition_penalty: float | None = None
    """Logits of ids in the prompt or the answer are divided by it if positive, else multiplied; 1: as they are."""
    presence_penalty: float = 0.0
    """Taken from the logits of ids in the answer."""
    frequency_penalty: float = 0.0
    """The same, once for each time they are there."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(id, what is added to its logit), each id once."""
    seed: int | None = None
    max_tokens: int | None = None
    """None: until the context is full."""
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """None: none. 0..20: the chosen token's logprob and that many alternatives."""
    grammar: Grammar | None = None
    """What the answer must be; behind the thoughts of a model that thinks. The answer ends where the grammar may, and
    before that only at `max_tokens` or a stop string."""
    thinking_budget: int | None = None
    """Tokens after which thoughts are closed; None: when the model closes them."""
    repetition_guard: int | None = None
    """The answer ends when it says the same line or box, or the same few in turn, this many times in a row."""

    @property
    def is_greedy(self) -> bool:
        """Whether the next token is always the likeliest, so that nothing is left to chance."""
        is_cold = self.temperature is not None and self.temperature < GREEDY_BELOW
        return is_cold or self.top_k == 1 or (self.top_p is not None and self.top_p <= 0)
