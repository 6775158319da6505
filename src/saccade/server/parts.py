"""The parts of a message, in every form that clients send: text, pictures and videos become a TextPart or a MediaPart.
Knows JSON and types; fetches and decodes nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from saccade.errors import RequestError
from saccade.server.validate import Wire
from saccade.types import MediaPart, MediaRef, Part, TextPart

DETAIL_PIXELS: dict[str, int | None] = {"low": 512 * 512, "auto": None, "high": None, "original": 10_240_000}
"""The pixel budget that `detail` stands for, below the server's own; None: the checkpoint's."""
MAX_FRAMES = 2048
"""Entries of a list of frames. How many of them the model sees is decided where they are decoded."""
JPEG_FRAMES = "data:video/jpeg;base64,"
"""A video as base64 of its frames with commas between them."""


def _as_parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _as_url(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


def _as_frames(value: object) -> object:
    return [value] if isinstance(value, str) else value


Url: TypeAlias = Annotated[str, Field(min_length=1)]


class _Pixels(Wire):
    min_pixels: int | None = Field(None, ge=1)
    max_pixels: int | None = Field(None, ge=1)


class _Video(_Pixels):
    fps: float | None = Field(None, gt=0)
    num_frames: int | None = Field(None, ge=1, lt=2**31)


class _ImageUrl(_Pixels):
    url: Url
    detail: Literal["auto", "low", "high", "original"] | None = None


class _VideoUrl(_Video):
    url: Url


class _InputVideo(_Video):
    url: Url | None = None
    data: Annotated[str, Field(min_length=1)] | None = None


class TextPartWire(Wire):
    """`prompt_cache_breakpoint`, here and in others, is a hint for a hosted cache."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class RefusalPartWire(Wire):
    """What an earlier answer of another server may hold."""

    type: Literal["refusal"]
    refusal: str


class ImageUrlPartWire(_Pixels):
    """OpenAI's form of a picture."""

    type: Literal["image_url"]
    image_url: Annotated[_ImageUrl, BeforeValidator(_as_url, json_schema_input_type=Url | _ImageUrl)]
    prompt_cache_breakpoint: dict[str, Any] | None = None


class ImagePartWire(_Pixels):
    """The form of a picture in Qwen's own examples."""

    type: Literal["image"]
    image: Url


class VideoUrlPartWire(_Video):
    """vLLM's form of a video."""

    type: Literal["video_url"]
    video_url: Annotated[_VideoUrl, BeforeValidator(_as_url, json_schema_input_type=Url | _VideoUrl)]


class InputVideoPartWire(_Video):
    """llama.cpp's form of a video."""

    type: Literal["input_video"]
    input_video: Annotated[_InputVideo, BeforeValidator(_as_url, json_schema_input_type=Url | _InputVideo)]


class VideoPartWire(_Video):
    """The form of a video in Qwen's own examples: an address, or a list of frames."""

    type: Literal["video"]
    video: Annotated[
        list[Url],
        BeforeValidator(_as_frames, json_schema_input_type=Url | list[Url]),
        Field(min_length=1, max_length=MAX_FRAMES),
    ]


PartWire: TypeAlias = Annotated[
    TextPartWire | ImageUrlPartWire | ImagePartWire | VideoUrlPartWire | InputVideoPartWire | VideoPartWire,
    Field(discriminator="type"),
]
Content: TypeAlias = Annotated[
    list[PartWire], BeforeValidator(_as_parts, json_schema_input_type=str | list[PartWire]), Field(min_length=1)
]
"""What a message says: parts, or a text as it is."""
_SpokenPart: TypeAlias = Annotated[PartWire | RefusalPartWire, Field(discriminator="type")]
SpokenContent: TypeAlias = Annotated[
    list[_SpokenPart], BeforeValidator(_as_parts, json_schema_input_type=str | list[_SpokenPart]), Field(min_length=1)
]
"""The same of an earlier answer."""


def part_of(path: str, part: PartWire | RefusalPartWire) -> Part:
    """One part; `path` is where it stands in the request. Raises RequestError for wishes that contradict each other."""
    match part:
        case TextPartWire():
            return TextPart(part.text)
        case RefusalPartWire():
            return TextPart(part.refusal)
        case ImageUrlPartWire():
            image, param = part.image_url, f"{path}.image_url"
            return MediaPart(_image(param, image.url, [(param, image), (path, part)], image.detail))
        case ImagePartWire():
            return MediaPart(_image(f"{path}.image", part.image, [(path, part)], None))
        case VideoUrlPartWire():
            param = f"{path}.video_url"
            return MediaPart(_video(param, [part.video_url.url], [(param, part.video_url), (path, part)]))
        case InputVideoPartWire():
            param, video = f"{path}.input_video", part.input_video
            if (video.url is None) == (video.data is None):
                raise RequestError("Exactly one of 'url' and 'data' is needed.", param=f"{param}.data")
            url = video.url or f"data:video/mp4;base64,{video.data}"
            return MediaPart(_video(param, [url], [(param, video), (path, part)]))
        case VideoPartWire():
            return MediaPart(_video(f"{path}.video", part.video, [(path, part)]))


def _image(param: str, url: str, places: list[tuple[str, _Pixels]], detail: str | None) -> MediaRef:
    wishes = _wishes(places, "min_pixels", "max_pixels")
    budget = DETAIL_PIXELS[detail or "auto"]
    if detail == "low" and budget and wishes["max_pixels"]:
        wishes["max_pixels"] = min(wishes["max_pixels"], budget)
    return MediaRef("image", param, url, **{**wishes, "max_pixels": wishes["max_pixels"] or budget})


def _video(param: str, addresses: list[str], places: list[tuple[str, _Video]]) -> MediaRef:
    """A video file for one address, else a list of frames."""
    wishes = _wishes(places, "min_pixels", "max_pixels", "fps", "num_frames")
    if wishes["fps"] is not None and wishes["num_frames"] is not None:
        raise RequestError("'fps' and 'num_frames' exclude each other.", param=f"{places[0][0]}.num_frames")
    if len(addresses) == 1 and addresses[0][: len(JPEG_FRAMES)].lower() == JPEG_FRAMES:
        frames = addresses[0][len(JPEG_FRAMES) :].split(",")
        if len(frames) > MAX_FRAMES:
            raise RequestError(f"A video can have at most {MAX_FRAMES} frames.", param=param, code="invalid_value")
        addresses = [f"data:image/jpeg;base64,{frame}" for frame in frames]
    elif len(addresses) == 1 and addresses[0][:11].lower() != "data:image/":
        return MediaRef("video", param, addresses[0], **wishes)
    return MediaRef("video", param, frames=tuple(addresses), **wishes)


def _wishes(places: list[tuple[str, Any]], *names: str) -> dict[str, Any]:
    """What is asked for in one place or the other. Raises RequestError when the two differ."""
    found: dict[str, Any] = dict.fromkeys(names)
    for name in names:
        for path, place in places:
            value = getattr(place, name)
            if value is not None and found[name] not in (None, value):
                raise RequestError(f"'{name}' is given twice, with different values.", param=f"{path}.{name}")
            found[name] = value if found[name] is None else found[name]
    low, high = found["min_pixels"], found["max_pixels"]
    if low and high and low > high:
        raise RequestError("'min_pixels' is greater than 'max_pixels'.", param=f"{places[0][0]}.min_pixels")
    return found
