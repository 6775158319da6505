"""The tokens of one answer become Deltas: words, thoughts, calls, logprobs and why it ended; knows no engine."""

from __future__ import annotations

from dataclasses import replace

from saccade.text.coordinates import PixelCoordinates
from saccade.text.parsers import AnswerParser, Parsed
from saccade.text.repetition import RepetitionGuard
from saccade.text.tokenizer import Detokenizer, Tokenizer
from saccade.types import Delta, FinishReason, Request, TextLogprob, TokenOut, ToolCallPiece

NOTHING = Parsed()


class Reply:
    """One answer as its tokens come."""

    def __init__(self, request: Request, tokenizer: Tokenizer, stop_ids: frozenset[int], *, thinking: bool) -> None:
        """`thinking`: the prompt ends where the model is to think. Raises RequestError for an empty stop string."""
        sampling, tools = request.sampling, bool(request.tools)
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer, sampling.stop)
        self._wants_logprobs = sampling.logprobs is not None
        self._stop_ids = frozenset() if sampling.ignore_eos and not sampling.grammar else stop_ids
        self._guard = RepetitionGuard(sampling.repetition_guard) if sampling.repetition_guard else None
        self._broken_off: FinishReason = "length" if sampling.grammar else "stop"
        """Why an answer ends that repeats itself: half of what a grammar asks for is no answer."""
        self._parser: AnswerParser | None = None
        """None where all that comes is text."""
        if thinking or tools:
            self._parser = AnswerParser(thinking=thinking, tools=tools, parallel=request.tool_choice.parallel)
        self._size: tuple[int, int] | None = None
        self._places: dict[int, PixelCoordinates] = {}
        """Of the words (-1) and of each call."""
        self.num_tokens = 0
        self.num_reasoning = 0
        """Of them, those of thoughts."""

    def in_pixels(self, size: tuple[int, int]) -> None:
        """From now on, places in words and arguments are told in pixels of a picture of this (height, width)."""
        self._size = size

    def take(self, out: TokenOut) -> Delta:
        """One token's share of the answer; the delta that ends it has a finish_reason. The stop token itself is
        counted, but has neither text nor logprob."""
        assert out.token is not None
        self.num_tokens += 1
        ids, reason = (out.token,), out.finish_reason
        logprobs: tuple[TextLogprob, ...] = ()
        if out.token in self._stop_ids:
            text = self._detokenizer.finish()
        else:
            logprobs = self._logprobs(out, out.token)
            text = self._detokenizer.push(out.token)
            if self._detokenizer.stopped:
                reason = "stop"
            elif reason is None and self._guard and self._guard.push(text):
                reason = self._broken_off
                text += self._detokenizer.finish()
            elif reason is not None:
                text += self._detokenizer.finish()
        if self._parser is None:
            delta = Delta(text, ids, logprobs, reason, stop=self._detokenizer.found)
        else:
            delta = self._parsed(self._parser, text, ids, logprobs, reason)
        return self._located(delta, self._size) if self._size else delta

    def _parsed(
        self,
        parser: AnswerParser,
        text: str,
        ids: tuple[int, ...],
        logprobs: tuple[TextLogprob, ...],
        reason: FinishReason | None,
    ) -> Delta:
        self.num_reasoning += parser.thinking
        parts = parser.push(text) if text else NOTHING
        if parser.over:
            reason = "tool_calls"
        elif reason is not None:
            rest = parser.finish()
            parts = Parsed(parts.text + rest.text, parts.reasoning + rest.reasoning, parts.calls + rest.calls)
            if reason == "stop" and parser.num_calls:
                reason = "tool_calls"
        return Delta(
            parts.text,
            ids,
            logprobs,
            reason,
            reasoning=parts.reasoning,
            tool_calls=parts.calls,
            stop=self._detokenizer.found,
        )

    def _located(self, delta: Delta, size: tuple[int, int]) -> Delta:
        """The same with places in pixels."""

        def places(index: int) -> PixelCoordinates:
            return self._places.setdefault(index, PixelCoordinates(size))

        text = places(-1).push(delta.text)
        calls = [replace(piece, arguments=places(piece.index).push(piece.arguments)) for piece in delta.tool_calls]
        if delta.finish_reason:
            text += self._places.pop(-1).finish()
            calls += [
                ToolCallPiece(index, arguments=rest) for index, one in self._places.items() if (rest := one.finish())
            ]
        return replace(delta, text=text, tool_calls=tuple(calls))

    def _logprobs(self, out: TokenOut, token: int) -> tuple[TextLogprob, ...]:
        if not self._wants_logprobs or out.logprob is None:
            return ()
        top = tuple((*self._named(other.token), other.logprob) for other in out.top_logprobs)
        return (TextLogprob(*self._named(token), out.logprob, top),)

    def _named(self, token: int) -> tuple[str, bytes]:
        raw = self._tokenizer.token_bytes(token)
        return raw.decode(errors="replace"), raw
