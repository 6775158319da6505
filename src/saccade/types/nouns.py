"""The nouns that travel through the house, in the order a request meets them; no logic beyond simple properties.

MediaRef -> Blob -> Frames -> Picture          media/
Message  -> Prompt                             text/
Request  = messages + SamplingParams           server/ makes it, backends/ answers it
TokenOut                                       engine/ emits it
Delta, Usage, StageTimes                       backends/ emit them, server/ writes them as SSE
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from saccade.types.sampling import SamplingParams

MediaKind: TypeAlias = Literal["image", "video"]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "abort", "error"]
PictureLevel: TypeAlias = Literal["digest", "pixels", "miss"]
VisionLevel: TypeAlias = Literal["prefix", "device", "host", "wait", "miss"]
Grid: TypeAlias = tuple[int, int, int]
"""(t, h, w) in patches: t temporal patches (1 for a still), h and w patches of 16 pixels before the 2x2 merge."""

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
IntArray: TypeAlias = npt.NDArray[np.int64]


# --- media -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MediaRef:
    """Where a picture or video is, as the caller named it: exactly one of `url`, `data` and `frames` is set."""

    kind: MediaKind
    param: str
    """The request field it came from, for error messages: "messages[0].content[1].image_url"."""
    url: str | None = None
    """A data: URL, an http(s) URL, or a file path allowed by the settings."""
    data: bytes | None = None
    frames: tuple[str | bytes, ...] = ()
    """Addresses or files of the frames of a video, in their order and of one size; `fps` is then how many of them there
    are for each second."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    """Pixel budget asked for by the caller; the server's own limit still holds. None: the settings decide."""
    fps: float | None = None
    num_frames: int | None = None
    """Video sampling asked for by the caller; exclusive. None: the checkpoint's default (2 frames per second)."""
    page: int | None = None
    """Of a document, from 1; None for what is none."""


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of one file as they came, and their blake3 digest (hex)."""

    data: bytes
    digest: str
    parts: tuple[bytes, ...] = ()
    """The pictures of a video that came as a list of them; `data` is empty then."""
    hash_seconds: float = field(default=0.0, compare=False)
    """What the digest took."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded pixels at original size, upright, RGB, alpha already on white."""

    kind: MediaKind
    pixels: Iterable[UInt8Array]
    """One [H, W, 3] array for an image, the sampled frames of equal size for a video. Those of a video are decoded
    while they are read and can be read once, each until the next is asked for: 768 frames of 4K would be 19 GB."""
    size: tuple[int, int]
    """(H, W) of every frame."""
    indices: tuple[int, ...]
    """Index of each frame in the source video; (0,) for an image."""
    fps: float
    """Frames per second of the source video; 0 for an image."""
    digest: str
    """Of the file the frames came from."""
    param: str | None = None
    """The request field they came from, for error messages."""
    num_pages: int = 0
    """Of the document that the picture is a page of; 0 for what is none."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the vision tower eats: resized uint8 pixels and their grid. A video is one Picture with t > 1 possible."""

    kind: MediaKind
    pixels: UInt8Array
    """[T, H, W, 3] uint8, C-contiguous, H and W multiples of 32; T is 1 for an image, 2 * grid t for a video."""
    grid: Grid
    timestamps: tuple[float, ...]
    """Seconds of each temporal patch of a video (mean of its two frames); empty for an image."""
    original_size: tuple[int, int]
    """(height, width) before the resize, upright."""
    key: str
    """Exact feature key (hex): equal keys promise equal features."""

    @property
    def num_tokens(self) -> int:
        """Tokens in the prompt: one for each 2x2 patches of each temporal patch."""
        t, h, w = self.grid
        return t * h * w // 4


@dataclass(frozen=True, slots=True)
class KeptMedia:
    """A file that was sent ahead of the requests that name it, as `media:` and its digest."""

    digest: str
    """SHA-256 of the file, in hex."""
    kind: MediaKind | Literal["pdf"]
    num_bytes: int
    size: tuple[int, int]
    """(height, width) as it came, upright; of the first page of a document."""
    num_tokens: int
    """In the prompt, unless a request asks for another size; 0 for a document, which is asked about page by page."""
    num_pages: int = 0
    """Of a document."""


# --- conversation ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text as the caller typed it; it can never become a special token."""

    text: str


@dataclass(frozen=True, slots=True)
class MediaPart:
    """A place in a message where the picture or video `media` stands."""

    media: MediaRef


Part: TypeAlias = TextPart | MediaPart


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Tool calls and results use the fields of the OpenAI message of the same name."""

    role: Role
    parts: tuple[Part, ...]
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """How the model may use the functions it is told of."""

    required: bool = False
    """The answer is one or more calls."""
    parallel: bool = True
    """More than one call is possible."""
    strict: frozenset[str] = frozenset()
    """Names of functions whose arguments follow their schema whenever they are called."""


@dataclass(frozen=True, slots=True)
class Request:
    """One chat request, checked and free of wire forms."""

    id: str
    model: str
    messages: tuple[Message, ...]
    sampling: SamplingParams
    tools: tuple[dict[str, Any], ...] = ()
    """Functions the model may call, as OpenAI's interface declares them."""
    tool_choice: ToolChoice = ToolChoice()
    pixels_of: int | None = None
    """Places in the answer are told in pixels of this one of `media`, in the size it came in; None: as the model writes
    them, from 0 to 1000."""
    continues: bool = False
    """The last message is the beginning of the answer, and the answer goes on with it."""
    salt: bytes = b""
    """Of the one who asks: what was computed for another salt is never found."""
    deadline: float | None = None
    """time.monotonic() until which the first token is wanted."""

    @property
    def media(self) -> tuple[MediaRef, ...]:
        """Every picture and video in prompt order."""
        return tuple(p.media for m in self.messages for p in m.parts if isinstance(p, MediaPart))


# --- prompt ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MediaSpan:
    """One run of placeholder tokens in a prompt: rows [start, start + length) are rows [offset, offset + length) of
    the features of picture number `picture`. A video gives one span for each temporal patch."""

    start: int
    length: int
    picture: int
    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """Token ids with their places: everything the engine needs to know of a conversation."""

    ids: tuple[int, ...]
    spans: tuple[MediaSpan, ...]
    positions: IntArray
    """[3, len(ids)]: time, height and width position of each token."""
    delta: int
    """Position of generated token i (0-based index in the sequence) is i + delta on all three axes."""


# --- engine ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probability of a token under the distribution before temperature and truncation."""

    token: int
    logprob: float


VISION_LEVELS: tuple[VisionLevel, ...] = ("prefix", "device", "host", "wait", "miss")
"""From the best to the worst: no features were needed since keys and values were there; features were on the device;
in host memory; another request was having them encoded; they had to be encoded."""


@dataclass(frozen=True, slots=True)
class CacheHits:
    """What of one request was there already. Of several pictures the worst is told; None: it has none."""

    pictures: PictureLevel | None = None
    """digest: the file was prepared before. pixels: the file was new, and the features of its pixels were there. miss:
    neither."""
    vision: VisionLevel | None = None
    prefix_tokens: int = 0
    """Tokens of the prompt whose keys and values were there."""
    shared: bool = False
    """The answer was that of an equal request in flight, so that nothing was computed for this one."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds spent in each stage of one request, and which caches helped; `first_token` counts from arrival,
    `decode` from there on."""

    fetch: float = 0.0
    decode_media: float = 0.0
    resize: float = 0.0
    hash: float = 0.0
    """Digests of the files."""
    tokenize: float = 0.0
    queue: float = 0.0
    vision: float = 0.0
    prefill: float = 0.0
    first_token: float = 0.0
    decode: float = 0.0
    cache: CacheHits = CacheHits()

    @property
    def timings(self) -> dict[str, Any]:
        """As it is told to people: fetch_ms, decode_media_ms ..., and `cache`."""
        told: dict[str, Any] = {f"{name}_ms": round(getattr(self, name), 3) for name in _STAGES}
        return told | {"cache": {name: getattr(self.cache, name) for name in _CACHES}}


_STAGES = tuple(one.name for one in fields(StageTimes) if one.name != "cache")
_CACHES = tuple(one.name for one in fields(CacheHits))


@dataclass(frozen=True, slots=True)
class TokenOut:
    """One generated token of one sequence, or its end without a token (token is None after an abort or a failure)."""

    request_id: str
    token: int | None
    logprob: float | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    times: StageTimes | None = None
    """On the first token: queue, vision, prefill and what the engine knows of caches are filled in."""
    error: str | None = None
    cached_tokens: int = 0
    """On the first token: how many tokens of the prompt had keys and values already."""
    param: str | None = None
    """The request field that the error is the fault of; None: the fault is ours."""


# --- answer ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request. Image, video and cached tokens are part of the prompt tokens, reasoning tokens part
    of the completion tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    image_tokens: int = 0
    video_tokens: int = 0
    cached_tokens: int = 0
    """Nothing was computed for them: they were in the prefix cache, or the answer is that of an equal request."""
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TextLogprob:
    """Logprob of one generated token with its text; `raw` are its exact bytes."""

    text: str
    raw: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """A piece of a call. The first one of a call has its id and name, the others have not; the arguments of all of them
    together are a JSON object as text."""

    index: int
    """Of the call in the answer."""
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer. The last one of a request carries finish_reason, usage and times."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TextLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    times: StageTimes | None = None
    reasoning: str = ""
    """What the model thinks before it answers."""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    stop: str | None = None
    """On the last one: the stop string that ended the answer."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a backend says of the model it serves."""

    id: str
    context: int
    """Tokens, prompt and answer together."""
    facts: dict[str, str] = field(default_factory=dict)
    """For people: dtype, device, parameters."""
    media: dict[str, int] = field(default_factory=dict)
    """For clients that prepare pictures: `factor` (both sides become a multiple of it), `min_pixels` and `max_pixels`
    of a still, `limit_pixels` that nobody may ask to exceed, `max_file_bytes` and `max_image_pixels` of a file,
    `max_store_bytes` of files that may be sent ahead."""
