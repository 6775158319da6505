"""Frames -> Picture: decoded frames come in, small uint8 pixels with their grid, timestamps and exact key go out; it
knows no file format and no token ids.

The arithmetic is that of the released processors (transformers 5.23, models/qwen2_vl/image_processing_qwen2_vl.py and
models/qwen3_vl/video_processing_qwen3_vl.py); the resize equals their torchvision backend bit for bit.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from saccade.errors import CheckpointError, MediaError
from saccade.media.frames import Sampling
from saccade.media.limits import MediaLimits
from saccade.media.stills import Room
from saccade.types import Frames, Grid, MediaRef, Picture, UInt8Array

PATCH = 16
MERGE = 2
TEMPORAL = 2
FACTOR = PATCH * MERGE
"""Sides of a resized picture are multiples of 32: one token is 2x2 patches of 16 pixels."""
MAX_RATIO = 200


def smart_resize(
    height: int, width: int, min_pixels: int, max_pixels: int, *, param: str | None = None
) -> tuple[int, int]:
    """(H, W) of a picture after the resize: multiples of 32, about the same shape, area within the limits where the
    shape allows it. 1080 x 1920 -> 1088 x 1920. MediaError when one side is more than 200 times the other."""
    return _fit(height, width, 1, 1, min_pixels, max_pixels, param)


def smart_resize_video(
    num_frames: int, height: int, width: int, min_pixels: int, max_pixels: int, *, param: str | None = None
) -> tuple[int, int]:
    """(H, W) of every frame of a video of `num_frames` >= 2 sampled frames; the limits are totals over all frames.
    120 frames of 1080 x 1920 within 25,165,824 -> 320 x 608. MediaError as for pictures."""
    if height < FACTOR or width < FACTOR:
        scale = max(FACTOR / height, FACTOR / width)
        height, width = int(height * scale), int(width * scale)
    return _fit(height, width, num_frames, _even(num_frames), min_pixels, max_pixels, param)


def _fit(height: int, width: int, frames: int, even: int, low: int, high: int, param: str | None) -> tuple[int, int]:
    if max(height, width) > MAX_RATIO * min(height, width):
        raise MediaError(
            f"The picture is {width} x {height} pixels: one side may be at most {MAX_RATIO} times the other.",
            param=param,
        )
    # Python's round takes halves to the even side: 48 / 32 = 1.5 -> 2, 80 / 32 = 2.5 -> 2.
    rows, columns = round(height / FACTOR), round(width / FACTOR)
    volume = even * rows * columns * FACTOR**2
    if volume > high:
        shrink = math.sqrt((frames * height * width) / high)
        rows = max(1, math.floor(height / shrink / FACTOR))
        columns = max(1, math.floor(width / shrink / FACTOR))
    elif volume < low:
        grow = math.sqrt(low / (frames * height * width))
        rows = math.ceil(height * grow / FACTOR)
        columns = math.ceil(width * grow / FACTOR)
    return rows * FACTOR, columns * FACTOR


def _even(num_frames: int) -> int:
    """The even number the reference counts frames as: 4 -> 4, 5 -> 4, 7 -> 8 (half of it rounds to even)."""
    return TEMPORAL * round(num_frames / TEMPORAL)


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """How large a still becomes: its area in pixels is brought between `min_pixels` and `max_pixels`."""

    min_pixels: int
    max_pixels: int

    def size(self, frames: Frames) -> tuple[int, int]:
        """(H, W) after the resize."""
        return smart_resize(*frames.size, self.min_pixels, self.max_pixels, param=frames.param)


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """How many frames of a video are taken and how large they become: `min_pixels` and `max_pixels` are totals over all
    frames, as in the checkpoint; `min_frame` and `max_frame` are pixels of one frame, as callers and servers think."""

    min_pixels: int
    max_pixels: int
    min_frame: int
    max_frame: int
    sampling: Sampling

    def size(self, frames: Frames) -> tuple[int, int]:
        """(H, W) of each frame after the resize."""
        num_frames = max(TEMPORAL, len(frames.indices))  # a single frame is shown twice
        high = min(self.max_pixels, self.max_frame * min(num_frames, _even(num_frames)))
        low = min(max(self.min_pixels, self.min_frame * num_frames), high)
        return smart_resize_video(num_frames, *frames.size, low, high, param=frames.param)


@dataclass(frozen=True, slots=True)
class Plans:
    """What a checkpoint does with stills and videos, below the limit of the server."""

    image: ImagePlan
    video: VideoPlan
    limit: int
    """Pixels of one still or frame that nobody may ask to exceed."""

    @classmethod
    def from_dir(cls, directory: Path, limits: MediaLimits) -> Plans:
        """Read the processor configs of a checkpoint: one processor_config.json for both, or preprocessor_config.json
        and video_preprocessor_config.json (without the latter, videos follow the former too). CheckpointError names
        the file and the key when they ask for something other than this model family does."""
        image_name, image = _config(directory, "image_processor", ("preprocessor_config.json",))
        video_name, video = _config(
            directory, "video_processor", ("video_preprocessor_config.json", "preprocessor_config.json")
        )
        limit = limits.max_pixels
        low, high = _budget(image, image_name)
        still = ImagePlan(min(low, limit), min(high, limit))
        low, high = _budget(video, video_name)
        sampling = Sampling(**{k: video[k] for k in ("fps", "min_frames", "max_frames") if video.get(k) is not None})
        return cls(still, VideoPlan(low, high, 0, limit, sampling), limit)

    def of(self, ref: MediaRef) -> ImagePlan | VideoPlan:
        """The plan for one picture or video: what its caller asks for in place of the checkpoint's budget, never above
        the server's. MediaError when the caller's numbers make no sense."""
        low, high = ref.min_pixels, ref.max_pixels
        if min(low or FACTOR**2, high or FACTOR**2) < FACTOR**2:
            raise MediaError(f"min_pixels and max_pixels must be at least {FACTOR**2}.", param=ref.param)
        if low and high and low > high:
            raise MediaError(f"min_pixels is {low}, which is more than max_pixels, {high}.", param=ref.param)
        if ref.kind == "image":
            most = min(high or self.image.max_pixels, self.limit)
            return ImagePlan(min(low or self.image.min_pixels, most), most)
        most = min(high or self.limit, self.limit)
        return replace(self.video, min_frame=min(low or 0, most), max_frame=most)


def prepare(frames: Frames, plan: ImagePlan | VideoPlan, room: Room | None = None) -> Picture:
    """Resize frames as planned, one at a time, into memory that `room` gives; None: wherever it is, so that a still
    that fits stays where it is. MediaError for a shape beyond 1:200, or a video that breaks off."""
    height, width = plan.size(frames)
    num_frames = len(frames.indices)
    if frames.kind == "image" and room is None:
        for frame in frames.pixels:
            small = resize(frame, height, width)
            pixels = (frame.copy() if small is frame and not frame.flags.owndata else small)[None]
    else:
        shape = (1 if frames.kind == "image" else num_frames + num_frames % TEMPORAL, height, width, 3)
        pixels = (room(math.prod(shape)) if room else np.empty(math.prod(shape), np.uint8)).reshape(shape)
        for row, frame in enumerate(frames.pixels):
            pixels[row] = resize(frame, height, width)
        pixels[num_frames:] = pixels[num_frames - 1]
    timestamps = () if frames.kind == "image" else _timestamps(frames)
    grid = (len(timestamps) or 1, height // PATCH, width // PATCH)
    return Picture(frames.kind, pixels, grid, timestamps, frames.size, _key(frames.kind, grid, pixels))


def resize(frame: UInt8Array, height: int, width: int) -> UInt8Array:
    """[H, W, 3] uint8 -> [height, width, 3] uint8, antialiased bicubic computed in integers, as torchvision does it for
    uint8 tensors on the CPU. Returns `frame` itself when it has the size already."""
    if frame.shape[:2] == (height, width):
        return frame
    import torch  # which a gateway does while its engine loads: see prepare_resize

    # [1, 3, H, W] over the same bytes is "channels last": its kernel reads pixels as they lie, and is 3 to 14 times
    # faster than the planar one at equal values.
    planes = torch.from_numpy(np.require(frame, requirements=("C", "W")))[None].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(
        planes, size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )
    return small[0].permute(1, 2, 0).contiguous().numpy()


def prepare_resize(num_threads: int) -> None:
    """Have what `resize` needs at hand, which takes a second. `num_threads`: of each thread that resizes."""
    import torch

    torch.set_num_threads(num_threads)
    resize(np.zeros((1, 1, 3), np.uint8), FACTOR, FACTOR)


def _timestamps(frames: Frames) -> tuple[float, ...]:
    """Seconds of each pair of frames: the mean of the two, the last frame counted twice when it stands alone."""
    seconds = [index / frames.fps for index in frames.indices]
    seconds += seconds[-1:] * (len(seconds) % TEMPORAL)
    return tuple((a + b) / 2 for a, b in zip(seconds[::TEMPORAL], seconds[1::TEMPORAL], strict=True))


def _key(kind: str, grid: Grid, pixels: UInt8Array) -> str:
    """Everything the features depend on, besides the weights: the pixels, their arrangement, how patches are cut and
    normalised. Raised by one when the meaning of any of it changes."""
    settings = f"1 {kind} {grid} {pixels.shape} {PATCH} {MERGE} {TEMPORAL} 127.5"
    return blake3(settings.encode()).update(pixels.data.cast("B")).hexdigest()


def _config(directory: Path, part: str, names: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The settings of one processor and the file they stand in, checked."""
    for name in ("processor_config.json", *names):
        path = directory / name
        if not path.is_file():
            continue
        try:
            config = json.loads(path.read_bytes())
            if not isinstance(config, dict):
                raise ValueError("not an object")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from None
        if name == "processor_config.json":
            config = config.get(part)
        if config is not None:
            _check(config, name)
            return name, config
    raise CheckpointError(
        f"{directory} has no {' or '.join(names)}, and no processor_config.json with {part}.",
        hint="Copy it from the model's repository.",
    )


def _check(config: dict[str, Any], name: str) -> None:
    missing = [key for key in ("patch_size", "image_mean", "image_std") if key not in config]
    if missing:
        raise CheckpointError(f"{name} has no {missing[0]}.", param=missing[0])
    for key, allowed in _ALLOWED.items():
        if key in config and config[key] not in allowed:
            raise CheckpointError(f"{name}: {key} is {config[key]}, which this model family does not use.", param=key)


def _budget(config: dict[str, Any], name: str) -> tuple[int, int]:
    """(min, max) pixels; the older keys min_pixels and max_pixels win over `size`, as in the reference."""
    size = config.get("size") or {}
    low = config.get("min_pixels") or size.get("min_pixels") or size.get("shortest_edge")
    high = config.get("max_pixels") or size.get("max_pixels") or size.get("longest_edge")
    if not low or not high or low > high:
        raise CheckpointError(f"{name} has no usable size: least pixels {low}, most pixels {high}.", param="size")
    return low, high


_ALLOWED: dict[str, tuple[Any, ...]] = {
    "patch_size": (PATCH,),
    "merge_size": (MERGE,),
    "temporal_patch_size": (TEMPORAL,),
    "image_mean": ([0.5, 0.5, 0.5],),
    "image_std": ([0.5, 0.5, 0.5],),
    "rescale_factor": (1 / 255,),
    "resample": (3,),  # bicubic
    "do_resize": (True,),
    "do_rescale": (True,),
    "do_normalize": (True,),
    "do_sample_frames": (True,),
    "num_frames": (None,),
    "cap_pixels_per_frame": (None, False),
}
"""Keys of the processor configs whose other values would change the pixels."""
