"""What a model writes becomes an answer, piece by piece: its thoughts, its words and its calls of functions apart;
knows no tokens and no HTTP.

    text --> thinking --> words <--> <tool_call> {"name": "f", "arguments": {...}} </tool_call>

Calls are in the dialect of Hermes, which this family was trained on. However the text is cut into pieces, the parts
together are the same, and nothing is lost: a call that cannot be read stays in the words as it was written, and what is
wrong in the arguments of one that has begun stays in its arguments. The work is linear in the length of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from saccade.text.tokenizer import open_end, well_formed
from saccade.types import ToolCallPiece

THINK, THOUGHT = "<think>", "</think>"
CALL, CALLED = "<tool_call>", "</tool_call>"

_HEAD = re.compile(
    r'\s{0,16}\{\s{0,16}"name"\s{0,16}:\s{0,16}"([\w.-]{1,64})"\s{0,16},\s{0,16}"arguments"\s{0,16}:\s{0,16}(?=\{)',
    re.ASCII,
)
HEAD_LENGTH = 256
"""Characters, more than a head can have: after these a call is read as a whole or not at all."""
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_TAG = re.compile(f"{CALL}|{CALLED}")
_PLAIN = re.compile(r'[^"\\{}\[\]<]*')
_QUOTED = re.compile(r'[^"\\<]*')
_SPACE = re.compile(r"\s*")
_CLOSING = re.compile(r"[\s}\]]*")
MAX_GAP = 2
"""Newlines before a call, or before the end of the thoughts, that belong to it and not to what was said."""
MAX_SPACE = 64
"""Characters before thoughts that may be opened again."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a piece of text turned out to be."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCallPiece, ...] = ()


class AnswerParser:
    """The parts of one answer as its text comes."""

    def __init__(self, *, thinking: bool, tools: bool, parallel: bool = True) -> None:
        """`thinking`: the answer begins inside of thoughts, as the template opened them. `tools`: calls are looked for.
        Without `parallel` the answer is over after its first call."""
        self._tools = tools
        self._parallel = parallel
        self._buffer = ""
        """What is not decided yet: from a call's beginning on, or a few characters that may become a tag."""
        self._at = 0
        """So much of it is done."""
        self._kept: list[str] = []
        """What follows a tag and has been looked through, of a call that is read as a whole, or behind arguments."""
        self._gap = ""
        """Newlines before a call that is not certain yet."""
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCallPiece] = []
        self.num_calls = 0
        """Calls that have begun."""
        self._state: Callable[[], bool] = self._opening if thinking else self._words
        """Takes the next share of the buffer; False when more text is needed."""

    @property
    def thinking(self) -> bool:
        """Whether what comes next is a thought."""
        return self._state in (self._thoughts, self._opening, self._opened)

    @property
    def over(self) -> bool:
        """Whether nothing of what comes next would be part of the answer."""
        return self._state == self._nothing

    def push(self, text: str) -> Parsed:
        """Take more text; returns what is certain now."""
        self._buffer += text
        while self._state():
            pass
        self._buffer, self._at = self._buffer[self._at :], 0
        return self._told()

    def finish(self) -> Parsed:
        """The rest, after the last piece."""
        rest = self._buffer
        self._buffer = ""
        if self.thinking:
            self._reasoning.append(rest)
        elif self._state == self._head:
            self._whole_call(rest, "")
        elif self._state == self._body:
            self._whole_call("".join((*self._kept, rest)), "")
        elif self._state == self._arguments:
            self._argue("" if rest == CALLED else rest)
        elif self._state == self._behind:
            self._leave_call("".join((*self._kept, rest[: open_end(rest, CALLED)])))
        elif self._state == self._between and rest:
            self._text.append(self._gap + rest)
        elif self._state == self._words:
            self._text.append(rest)
        self._state = self._nothing
        return self._told()

    def _told(self) -> Parsed:
        parsed = Parsed("".join(self._text), "".join(self._reasoning), tuple(self._calls))
        self._text.clear()
        self._reasoning.clear()
        self._calls.clear()
        return parsed

    # --- thoughts -----------------------------------------------------------------------------------------------

    def _opening(self) -> bool:
        """Some models open their thoughts again, though the template has done it."""
        at = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]
        if (
            at - self._at <= MAX_SPACE
            and THINK.startswith(self._buffer[at : at + len(THINK)])
            and (len(self._buffer) < at + len(THINK))
        ):
            return False
        if self._buffer.startswith(THINK, at):
            self._at = at + len(THINK)
            self._state = self._opened
        else:
            self._state = self._thoughts
        return True

    def _opened(self) -> bool:
        return self._skip_newlines(self._thoughts)

    def _thoughts(self) -> bool:
        if not self._up_to(THOUGHT, self._reasoning):
            return False
        self._state = self._answering
        return True

    def _answering(self) -> bool:
        """Newlines between thoughts and answer are part of neither."""
        return self._skip_newlines(self._words)

    def _skip_newlines(self, then: Callable[[], bool]) -> bool:
        while self._buffer.startswith("\n", self._at):
            self._at += 1
        if self._at == len(self._buffer):
            return False
        self._state = then
        return True

    # --- words --------------------------------------------------------------------------------------------------

    def _words(self) -> bool:
        if not self._tools:
            self._text.append(self._buffer[self._at :])
            self._at = len(self._buffer)
            return False
        if not self._up_to(CALL, self._text):
            return False
        self._state = self._head
        return True

    def _up_to(self, tag: str, said: list[str]) -> bool:
        """Take what stands before `tag` and the tag itself; False when it is not there yet."""
        start = self._at
        found = self._buffer.find(tag, start)
        end = found if found >= 0 else open_end(self._buffer, tag, start)
        cut = end
        while cut > start and end - cut < MAX_GAP and self._buffer[cut - 1] == "\n":
            cut -= 1
        said.append(self._buffer[start:cut])
        self._gap = self._buffer[cut:end]
        self._at = end + len(tag) if found >= 0 else cut
        return found >= 0

    # --- calls --------------------------------------------------------------------------------------------------

    def _head(self) -> bool:
        """The name and the beginning of the arguments, written as the template shows it."""
        if head := _HEAD.match(self._buffer, self._at):
            self._at = head.end()
            self._begin(head[1])
            self._depth, self._quoted, self._escaped = 0, False, False
            self._state = self._arguments
            return True
        if len(self._buffer) - self._at < HEAD_LENGTH and self._buffer.find(CALLED, self._at) < 0:
            return False
        self._state = self._body
        return True

    def _body(self) -> bool:
        """A call that is written in another way: read when all of it is there."""
        found = self._buffer.find(CALLED, self._at)
        end = found if found >= 0 else open_end(self._buffer, CALLED, self._at)
        self._kept.append(self._buffer[self._at : end])
        self._at = end
        if found < 0:
            return False
        self._at += len(CALLED)
        body = "".join(self._kept)
        self._kept.clear()
        self._whole_call(body, CALLED)
        return True

    def _arguments(self) -> bool:
        """Arguments as they come, up to the bracket that closes them. A tag ends them too, except inside of a string;
        and even there before a newline, which no string of JSON can hold."""
        text, start, at = self._buffer, self._at, self._at
        while at < len(text):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            at = (_QUOTED if self._quoted else _PLAIN).match(text, at).end()  # type: ignore[union-attr]
            char = text[at : at + 1]
            if char == "<":
                end = at + len(CALLED)
                if text.startswith(CALLED, at) and (not self._quoted or text[end : end + 1] == "\n"):
                    self._argue(text[start:at])
                    self._at = at
                    self._state = self._behind
                    return True
                if end >= len(text) and CALLED.startswith(text[at:]):
                    break  # and wait for more
            elif char == '"':
                self._quoted = not self._quoted
            elif char == "\\":
                self._escaped = self._quoted
            elif char:
                self._depth += 1 if char in "{[" else -1
                if self._depth == 0:
                    self._argue(text[start : at + 1])
                    self._at = at + 1
                    self._state = self._behind if self._parallel else self._nothing
                    return True
            at += len(char)
        self._argue(text[start:at])
        self._at = at
        return False

    def _behind(self) -> bool:
        """From the end of the arguments to the end of the call, or to the next one if it has none."""
        tag = _TAG.search(self._buffer, self._at)
        end = tag.start() if tag else min(open_end(self._buffer, one, self._at) for one in (CALL, CALLED))
        self._kept.append(self._buffer[self._at : end])
        self._at = tag.end() if tag and tag[0] == CALLED else end
        if not tag:
            return False
        behind = "".join(self._kept)
        self._kept.clear()
        self._leave_call(behind)
        return True

    def _between(self) -> bool:
        """Space behind a call belongs to it; a newline is left of it when words follow."""
        at = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]
        self._gap = self._gap or "\n"[: at - self._at]
        self._at = at
        if self._buffer.startswith(CALL, at):
            self._at = at + len(CALL)
            self._state = self._head
        elif CALL.startswith(self._buffer[at : at + len(CALL)]):
            return False
        else:
            self._text.append(self._gap)
            self._state = self._words
        return True

    def _nothing(self) -> bool:
        self._at = len(self._buffer)
        return False

    def _begin(self, name: str) -> None:
        self._calls.append(ToolCallPiece(self.num_calls, f"call_{uuid4().hex[:24]}", name))
        self.num_calls += 1

    def _argue(self, arguments: str) -> None:
        """More of the arguments of the last call."""
        if not arguments:
            return
        index = self.num_calls - 1
        if self._calls and self._calls[-1].index == index:
            last = self._calls.pop()
            self._calls.append(ToolCallPiece(index, last.id, last.name, last.arguments + arguments))
        else:
            self._calls.append(ToolCallPiece(index, arguments=arguments))

    def _leave_call(self, behind: str) -> None:
        """A call ends; `behind` is what stands between its arguments and its end, a bracket if all is well."""
        if not _CLOSING.fullmatch(behind):
            self._text.append(behind)
        self._gap = ""
        self._state = self._between if self._parallel else self._nothing

    def _whole_call(self, body: str, end: str) -> None:
        """All between the tags; `end` is the closing one, or nothing."""
        if call := _read(body):
            name, arguments = call
            self._begin(name)
            self._argue(arguments)
            self._leave_call("")
        else:
            self._text.append(f"{self._gap}{CALL}{body}{end}")
            self._state = self._words


def _read(body: str) -> tuple[str, str] | None:
    """The name and the arguments of a call that is complete; None when it is none."""
    try:
        call = json.loads(body, strict=False, parse_constant=_no_constant)
        if not isinstance(call, dict) or not isinstance(name := call.get("name"), str) or not _NAME.fullmatch(name):
            return None
        arguments = {} if call.get("arguments") is None else call["arguments"]
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        if not isinstance(json.loads(text, parse_constant=_no_constant), dict):
            return None
    except (ValueError, RecursionError):
        return None
    return name, well_formed(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
