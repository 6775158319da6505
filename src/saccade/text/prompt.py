"""A conversation and its pictures become a Prompt: token ids, the spans where picture features stand, and positions;
knows no pixels beyond their grid, no model and no HTTP.

    messages --template--> pieces --expand--> text runs and ids --tokenizer--> ids + spans --positions--> Prompt
               draft: what can be done before pictures are known     fill: the rest

A text run reaches from one special token to the next, whoever wrote its parts: it is encoded whole and without looking
for special tokens. So ordinary text gives exactly the ids of the rendered prompt encoded at once, and no text can give
a special one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from saccade.errors import CheckpointError, RequestError
from saccade.text.parsers import THINK
from saccade.text.positions import lay_out
from saccade.text.template import ChatTemplate, Piece, Turn
from saccade.text.tokenizer import Tokenizer
from saccade.types import MediaKind, MediaSpan, Message, Picture, Prompt, TextPart


@dataclass(frozen=True, slots=True)
class Draft:
    """A conversation without its pictures."""

    pieces: tuple[Piece, ...]
    encoded: Mapping[str, list[int]]
    """Ids of text runs that are known to stay as they are."""


class PromptBuilder:
    """Builds prompts for one checkpoint. Immutable, and safe to use from several threads."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, *, video_outer_markers: bool = False) -> None:
        self.tokenizer = tokenizer
        self._template = template
        self._video_outer_markers = video_outer_markers
        try:
            self._start, self._end, self._image, self._video = (
                tokenizer.added[f"<|{name}|>"] for name in ("vision_start", "vision_end", "image_pad", "video_pad")
            )
        except KeyError as error:
            raise CheckpointError(f"The tokenizer has no {error.args[0]}: not the tokenizer of a Qwen3-VL.") from None

    @classmethod
    def from_dir(cls, directory: Path, *, video_outer_markers: bool = False) -> PromptBuilder:
        """Read tokenizer and chat template of a checkpoint; CheckpointError names what is missing or broken.

        `video_outer_markers` keeps the <|vision_start|> and <|vision_end|> that the template writes around a video
        beside those around each of its frames, as transformers does from 5.10 on; the model's authors replaced them.
        """
        tokenizer = Tokenizer.from_dir(directory)
        template = ChatTemplate.from_dir(directory, tokenizer.added)
        builder = cls(tokenizer, template, video_outer_markers=video_outer_markers)
        builder._check(directory)
        return builder

    @cached_property
    def thinks(self) -> bool:
        """Whether prompts end where the model is to think: the template has opened its thoughts."""
        prompt = self._template.render_unmarked(_QUESTION, [], open_answer=True)
        return prompt.endswith(f"{THINK}\n")

    def build(
        self,
        messages: Sequence[Message],
        pictures: Sequence[Picture],
        tools: Sequence[dict[str, Any]] = (),
        add_generation_prompt: bool = True,
        *,
        continues: bool = False,
    ) -> Prompt:
        """The prompt of a conversation: what `fill` makes of its `draft`."""
        return self.fill(self.draft(messages, tools, add_generation_prompt, continues=continues), pictures)

    def draft(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        add_generation_prompt: bool = True,
        *,
        continues: bool = False,
    ) -> Draft:
        """What needs no pictures, which is nearly all of the work: it can be done while they are decoded.

        `continues`: the prompt ends where the last message, the assistant's, ends, so that the model goes on with it.
        RequestError when the template refuses the conversation.
        """
        open_answer = add_generation_prompt and not continues
        pieces = self._template.render([_turn(m) for m in messages], tools, open_answer=open_answer)
        if continues:
            pieces = _reopened(pieces, messages[-1])
        # The times of a video's frames become part of the text before it.
        runs = [] if self._video in pieces else [piece for piece in pieces if isinstance(piece, str)]
        return Draft(tuple(pieces), {run: self.tokenizer.encode(run, specials=False) for run in runs})

    def fill(self, draft: Draft, pictures: Sequence[Picture]) -> Prompt:
        """The prompt with its pictures, which stand in the order of their MediaParts. RequestError when the template
        places other pictures than these."""
        pieces = draft.pieces
        placed: list[MediaKind] = ["image" if p == self._image else "video" for p in pieces if self._is_pad(p)]
        if placed != [picture.kind for picture in pictures]:
            raise RequestError(
                f"The model's chat template places {_count(placed)} of this conversation, "
                f"which holds {_count([picture.kind for picture in pictures])}.",
                param="messages",
                hint="Pictures and videos belong into user messages.",
            )
        writer = _Writer(self.tokenizer, draft.encoded)
        queue = iter(enumerate(pictures))
        for piece in pieces if self._video_outer_markers else self._without_outer_markers(pieces):
            if isinstance(piece, str):
                writer.text(piece)
            elif self._is_pad(piece):
                self._expand(writer, piece, *next(queue))
            else:
                writer.token(piece)
        writer.flush()
        positions, delta = lay_out(len(writer.ids), writer.spans, [picture.grid for picture in pictures])
        return Prompt(tuple(writer.ids), tuple(writer.spans), positions, delta)

    def _is_pad(self, piece: Piece) -> bool:
        return piece in (self._image, self._video)

    def _without_outer_markers(self, pieces: Sequence[Piece]) -> Iterator[Piece]:
        at = 0
        while at < len(pieces):
            if list(pieces[at : at + 3]) == [self._start, self._video, self._end]:
                at += 1
                yield pieces[at]
                at += 2
            else:
                yield pieces[at]
                at += 1

    def _expand(self, writer: _Writer, pad: int, number: int, picture: Picture) -> None:
        """One pad for each 2x2 patches; before each temporal patch of a video its time in words."""
        if pad == self._image:
            writer.pads(pad, picture.num_tokens, number, 0)
            return
        per_patch = picture.num_tokens // picture.grid[0]
        for index, seconds in enumerate(picture.timestamps):
            writer.text(f"<{seconds:.1f} seconds>")
            writer.token(self._start)
            writer.pads(pad, per_patch, number, index * per_patch)
            writer.token(self._end)

    def _check(self, directory: Path) -> None:
        """Hold the marked template against the plain one on a few conversations: the same ids, or no start."""
        for turns, tools in _PROBES:
            try:
                plain = self._template.render_unmarked(turns, tools, open_answer=True)
            except RequestError as error:
                if turns is _QUESTION:
                    raise CheckpointError(f"{directory}: {error.message}") from error
                continue  # a template without tools or system turns says so to whoever sends them
            writer = _Writer(self.tokenizer)
            for piece in self._template.render(turns, tools, open_answer=True):
                writer.text(piece) if isinstance(piece, str) else writer.token(piece)
            writer.flush()
            if writer.ids != self.tokenizer.encode(plain, specials=True):
                raise CheckpointError(
                    f"{directory}: special tokens of the chat template cannot be told from text that a user typed.",
                    hint="Use the chat template of the model's own repository.",
                )


class _Writer:
    """Collects a prompt; text is held until its run ends."""

    def __init__(self, tokenizer: Tokenizer, encoded: Mapping[str, list[int]] = MappingProxyType({})) -> None:
        """`encoded`: ids of runs that are known already."""
        self._tokenizer = tokenizer
        self._encoded = encoded
        self._run: list[str] = []
        self.ids: list[int] = []
        self.spans: list[MediaSpan] = []

    def text(self, text: str) -> None:
        self._run.append(text)

    def token(self, id: int) -> None:
        self.flush()
        self.ids.append(id)

    def pads(self, pad: int, length: int, picture: int, offset: int) -> None:
        self.flush()
        self.spans.append(MediaSpan(len(self.ids), length, picture, offset))
        self.ids.extend([pad] * length)

    def flush(self) -> None:
        if self._run:
            run = "".join(self._run)
            ids = self._encoded.get(run)
            self.ids += self._tokenizer.encode(run, specials=False) if ids is None else ids
            self._run.clear()


def _turn(message: Message) -> Turn:
    """The message as chat templates read it. A lone text is a string, since some templates test for one."""
    content: str | list[dict[str, str]]
    if all(isinstance(part, TextPart) for part in message.parts) and len(message.parts) < 2:
        content = "".join(part.text for part in message.parts if isinstance(part, TextPart))
    else:
        content = [
            {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": part.media.kind}
            for part in message.parts
        ]
    turn: Turn = {"role": message.role, "content": content}
    if message.tool_calls:
        turn["tool_calls"] = message.tool_calls
    optional = {"tool_call_id": message.tool_call_id, "name": message.name, "reasoning_content": message.reasoning}
    return turn | {key: value for key, value in optional.items() if value is not None}


def _reopened(pieces: list[Piece], answer: Message) -> list[Piece]:
    """Without what the template writes behind the last answer: the token that ends it, and a line break."""
    text = "".join(part.text for part in answer.parts if isinstance(part, TextPart))
    match pieces:
        case [*before, str(last), int(), str(rest)] if not rest.strip() and last.endswith(text):
            return [*before, last]
    raise RequestError("The model's chat template changes this answer, so it cannot go on.", param="messages")


def _count(kinds: Sequence[MediaKind]) -> str:
    """For people: "2 pictures and 1 video"."""
    names = (("picture", kinds.count("image")), ("video", kinds.count("video")))
    return " and ".join(f"{number} {name}{'s' * (number > 1)}" for name, number in names if number) or "no picture"


_QUESTION: list[Turn] = [{"role": "user", "content": "A question?"}]
_TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
_CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
_PICTURES: list[Turn] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}, {"type": "video"}]},
    {"role": "assistant", "content": "This.", "reasoning_content": "Easy."},
    *_QUESTION,
]
_TOOLS: list[Turn] = [
    *_PICTURES,
    {"role": "assistant", "content": "", "tool_calls": [_CALL, _CALL], "reasoning_content": "I have to look."},
    {"role": "tool", "content": "It is red.", "tool_call_id": "1"},
]
_PROBES: tuple[tuple[list[Turn], list[dict[str, Any]]], ...] = ((_QUESTION, []), (_PICTURES, []), (_TOOLS, [_TOOL]))
