"""Laws of pixels: sizes, resized pixels, frame numbers and time stamps are those of the reference implementation."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from media_samples import LIMITS, PLANS, drawn, encoded, picture_of

from saccade.errors import CheckpointError, MediaError
from saccade.media.frames import Sampling
from saccade.media.limits import MediaLimits
from saccade.media.pixels import ImagePlan, Plans, VideoPlan, prepare, resize, smart_resize, smart_resize_video
from saccade.types import Frames, MediaRef

REMOTE_LIMITS = MediaLimits(max_pixels=16_777_216)
"""A server limit that leaves the released checkpoints' own budgets alone."""


@pytest.fixture(scope="session")
def released(shared: Path) -> Path:
    """A directory with the processor configs of the released models."""
    return shared / "qwen3-vl" / "4b-instruct"


@pytest.fixture(scope="session")
def image_processor(transformers: ModuleType, released: Path) -> Any:
    pytest.importorskip("torchvision", reason="the reference resizes with torchvision")
    return transformers.Qwen2VLImageProcessor.from_pretrained(released)


@pytest.fixture(scope="session")
def video_processor(transformers: ModuleType, released: Path) -> Any:
    pytest.importorskip("torchvision", reason="the reference resizes with torchvision")
    return transformers.Qwen3VLVideoProcessor.from_pretrained(released)


@pytest.fixture(scope="session")
def golden(shared: Path) -> Any:
    return json.loads((shared / "qwen3-vl" / "golden" / "reference_vectors.json").read_text())


def still(pixels: np.ndarray) -> Frames:
    return Frames("image", (pixels,), pixels.shape[:2], (0,), 0.0, "digest", "here")


def clip(size: tuple[int, int], indices: tuple[int, ...], fps: float, pixels: tuple[np.ndarray, ...] = ()) -> Frames:
    return Frames("video", pixels, size, indices, fps, "digest", "here")


def random_sizes(rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """(height, width), evenly over the orders of magnitude from 1 to 9000, a few beyond 1:200."""
    return [(int(h), int(w)) for h, w in np.exp(rng.uniform(0, np.log(9000), (count, 2)))]


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(65_536, 16_777_216), (65_536, 4_194_304), (1024, 307_200)])
def test_sizes_are_the_references(image_processor: Any, rng: np.random.Generator, low: int, high: int) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as reference

    refused = 0
    for height, width in random_sizes(rng, 10_000):
        try:
            expected = reference(height, width, factor=32, min_pixels=low, max_pixels=high)
        except ValueError:
            refused += 1
            with pytest.raises(MediaError, match="at most 200 times"):
                smart_resize(height, width, low, high)
            continue
        assert smart_resize(height, width, low, high) == expected
        patches = image_processor.get_number_of_image_patches(height, width, {"min_pixels": low, "max_pixels": high})
        assert expected[0] * expected[1] // 1024 == patches // 4
    assert 100 < refused < 2000


def test_sizes_of_the_golden_file(golden: Any) -> None:
    image, video = golden["smart_resize_image"], golden["smart_resize_video"]
    for (height, width), expected in image["cases"]:
        assert list(smart_resize(height, width, image["min_pixels"], image["max_pixels"])) == expected
    for (frames, height, width), expected in video["cases"]:
        found = smart_resize_video(frames, height, width, video["min_pixels"], video["max_pixels"])
        assert list(found) == expected


def test_video_sizes_are_the_references(video_processor: Any, rng: np.random.Generator) -> None:
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as reference

    for height, width in random_sizes(rng, 10_000):
        frames = int(rng.integers(2, 769))
        high = int(rng.choice([25_165_824, 1_000_000]))
        try:
            expected = reference(frames, height, width, 2, 32, 4096, high)
        except ValueError:
            with pytest.raises(MediaError, match="at most 200 times"):
                smart_resize_video(frames, height, width, 4096, high)
            continue
        assert smart_resize_video(frames, height, width, 4096, high) == expected


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 201), (16, 3201)])
def test_strips_are_refused(size: tuple[int, int]) -> None:
    data = encoded(np.zeros((*size, 3), np.uint8), "PNG")
    with pytest.raises(MediaError, match="one side may be at most 200 times the other") as caught:
        picture_of(data)
    assert caught.value.param == "messages[0].content[0]"
    assert picture_of(encoded(np.zeros((1, 200, 3), np.uint8), "PNG")).num_tokens >= 1


# --- pixels ----------------------------------------------------------------------------------------------------------


def test_pixels_are_the_references_bit_for_bit(image_processor: Any, rng: np.random.Generator) -> None:
    sizes = [*rng.integers(8, 420, (196, 2)).tolist(), [256, 256], [257, 256], [1000, 1400], [1, 150]]
    plan = ImagePlan(65_536, 16_777_216)
    for number, (height, width) in enumerate(sizes):
        pixels = drawn(rng, height, width, ("smooth", "noise", "mixed")[number % 3])
        planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        expected = image_processor.resize(
            planes, size=image_processor.size, resample=image_processor.resample, factor=32
        )
        picture = prepare(still(pixels), plan)
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.flags.c_contiguous
        assert picture.original_size == (height, width)
        assert np.array_equal(picture.pixels, expected.permute(0, 2, 3, 1).numpy())


def test_patches_are_the_references(image_processor: Any, rng: np.random.Generator) -> None:
    for height, width in ((300, 200), (256, 256), (100, 420)):
        pixels = drawn(rng, height, width)
        expected = image_processor(images=[pixels], return_tensors="pt")
        picture = prepare(still(pixels), ImagePlan(65_536, 16_777_216))
        assert expected["image_grid_thw"].tolist() == [list(picture.grid)]
        assert picture.num_tokens == expected["pixel_values"].shape[0] // 4
        # Spec 3.3: rows in blocks of 2x2 patches, each row [C, 2, 16, 16] with the frame twice.
        _, rows, columns = picture.grid
        blocks = (torch.from_numpy(picture.pixels[0]).float() - 127.5) / 127.5
        blocks = blocks.view(rows // 2, 2, 16, columns // 2, 2, 16, 3).permute(0, 3, 1, 4, 6, 2, 5)
        found = blocks.unsqueeze(5).expand(-1, -1, -1, -1, -1, 2, -1, -1).reshape(rows * columns, -1)
        assert torch.allclose(found, expected["pixel_values"], atol=1e-6)


def test_a_picture_that_fits_is_not_touched(rng: np.random.Generator) -> None:
    pixels = drawn(rng, 320, 448)
    assert prepare(still(pixels), PLANS.image).pixels.base is pixels
    assert resize(pixels, 320, 448) is pixels


def test_resize_takes_any_layout(rng: np.random.Generator) -> None:
    pixels = drawn(rng, 90, 120)
    expected = resize(pixels, 64, 96)
    locked = pixels.copy()
    locked.flags.writeable = False
    for other in (locked, np.asfortranarray(pixels), np.flip(np.flip(pixels, 1).copy(), 1)):
        assert np.array_equal(resize(other, 64, 96), expected)


# --- video -----------------------------------------------------------------------------------------------------------


def test_frames_and_times_of_the_golden_file(golden: Any) -> None:
    for case in golden["timestamps"]:
        ref = MediaRef("video", "here", fps=case["sample_fps"])
        indices = Sampling().indices(case["total_frames"], case["video_fps"], ref, 768)
        assert list(indices) == case["indices"]
        black = tuple(np.zeros((32, 32, 3), np.uint8) for _ in indices)
        picture = prepare(clip((32, 32), indices, case["video_fps"], black), PLANS.video)
        assert [f"<{second:.1f} seconds>" for second in picture.timestamps] == case["labels"]


def test_clips_are_the_references(video_processor: Any, transformers: ModuleType, rng: np.random.Generator) -> None:
    """200 clips: which frames, their times, the grid; the pixels of each tenth."""
    from transformers.video_utils import VideoMetadata

    video_processor = copy(video_processor)
    video_processor.size = transformers.image_utils.SizeDict(shortest_edge=4096, longest_edge=400_000)
    plan = VideoPlan(4096, 400_000, 0, 16_777_216, Sampling())
    for number in range(200):
        total = int(np.exp(rng.uniform(np.log(2), np.log(30_000))))
        source_fps = float(rng.choice([8, 10, 15, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60, 120]))
        wish: dict[str, Any] = {}
        if number % 3 == 1:
            wish = {"fps": float(rng.choice([0.1, 0.5, 1, 2, 3, 4, 7.5]))}
        if number % 3 == 2:
            wish = {"num_frames": int(rng.integers(2, min(total, 768) + 1))}
        expected = video_processor.sample_frames(VideoMetadata(total_num_frames=total, fps=source_fps), **wish)
        indices = Sampling().indices(total, source_fps, MediaRef("video", "here", **wish), 768)
        assert list(indices) == expected.tolist()

        height, width = (int(side) for side in rng.integers(16, 120, 2))
        pixels = tuple(drawn(rng, height, width, "noise") for _ in indices)
        picture = prepare(clip((height, width), indices, source_fps, pixels), plan)
        times = transformers.Qwen3VLProcessor._calculate_timestamps(None, expected, source_fps, 2)
        assert list(picture.timestamps) == times
        patches = video_processor.get_num_of_video_patches(len(indices), height, width)
        assert int(np.prod(picture.grid)) == patches
        assert picture.pixels.shape == (2 * picture.grid[0], 16 * picture.grid[1], 16 * picture.grid[2], 3)
        if number % 10 == 0:
            planes = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)[None]
            small = video_processor.resize(
                planes, size=video_processor.size, resample=video_processor.resample, factor=32, temporal_factor=2
            )
            small = small[0].permute(0, 2, 3, 1).numpy()
            assert np.array_equal(picture.pixels[: len(indices)], small)
            assert np.array_equal(picture.pixels[-1], small[-1])


def test_a_single_frame_is_shown_twice(rng: np.random.Generator) -> None:
    pixels = drawn(rng, 64, 96)
    picture = prepare(clip((64, 96), (0,), 24.0, (pixels,)), PLANS.video)
    assert picture.grid == (1, 4, 6)
    assert picture.timestamps == (0.0,)
    assert np.array_equal(picture.pixels, np.stack([pixels, pixels]))


def test_a_frame_stays_below_the_limit_of_the_server(rng: np.random.Generator) -> None:
    """The released budget holds for a whole video; a short one could spend it on few and very large frames."""
    for height, width in random_sizes(rng, 2000):
        for num_frames in (1, 2, 3, 5, 7, 12):
            frames = clip((height, width), tuple(range(num_frames)), 24.0)
            if max(height, width) > 200 * min(height, width):
                continue
            plan = replace(PLANS.video, max_frame=300_000)
            new_height, new_width = plan.size(frames)
            # Strips may not get narrower than one block.
            assert new_height * new_width <= 300_000 or min(new_height, new_width) == 32


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_plans_of_the_released_models(released: Path) -> None:
    plans = Plans.from_dir(released, LIMITS)
    assert plans.image == ImagePlan(65_536, 4_194_304)
    assert plans.video == VideoPlan(4096, 25_165_824, 0, 4_194_304, Sampling(2.0, 4, 768))
    assert Plans.from_dir(released, REMOTE_LIMITS).image.max_pixels == 16_777_216


def test_callers_budget_holds_below_the_servers() -> None:
    plans = replace(PLANS, image=ImagePlan(65_536, 307_200), limit=1_000_000)
    for kind in ("image", "video"):
        ref = MediaRef(kind, "here")  # type: ignore[arg-type]
        assert plans.of(ref) == (plans.image if kind == "image" else replace(plans.video, max_frame=1_000_000))
    image = MediaRef("image", "here")
    assert plans.of(replace(image, max_pixels=500_000)) == ImagePlan(65_536, 500_000)
    assert plans.of(replace(image, max_pixels=5_000_000)) == ImagePlan(65_536, 1_000_000)
    assert plans.of(replace(image, max_pixels=2048)) == ImagePlan(2048, 2048)
    assert plans.of(replace(image, min_pixels=200_000)) == ImagePlan(200_000, 307_200)
    assert plans.of(replace(image, min_pixels=9_000_000)) == ImagePlan(307_200, 307_200)
    video = plans.of(MediaRef("video", "here", min_pixels=10_000, max_pixels=20_000))
    assert (video.min_frame, video.max_frame) == (10_000, 20_000)  # type: ignore[union-attr]
    height, width = video.size(clip((1080, 1920), tuple(range(20)), 30.0))
    assert 1024 <= height * width <= 20_000
    height, width = video.size(clip((32, 64), tuple(range(20)), 30.0))
    assert height * width >= 10_000


@pytest.mark.parametrize("wishes", [{"max_pixels": 1023}, {"min_pixels": -1}, {"min_pixels": 5000, "max_pixels": 4000}])
def test_budgets_without_sense(wishes: dict[str, int]) -> None:
    with pytest.raises(MediaError, match="_pixels"):
        PLANS.of(MediaRef("image", "here", **wishes))


BASE = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SIZE = {"size": {"shortest_edge": 2048, "longest_edge": 9000}}


def written(directory: Path, **files: Any) -> Path:
    for name, config in files.items():
        text = config if isinstance(config, str) else json.dumps(config)
        (directory / f"{name}.json").write_text(text)
    return directory


@pytest.mark.parametrize(
    "size",
    [
        SIZE,
        {"min_pixels": 2048, "max_pixels": 9000},
        {"size": {"min_pixels": 2048, "max_pixels": 9000}},
        {"size": {"shortest_edge": 1, "longest_edge": 2}, "min_pixels": 2048, "max_pixels": 9000},
    ],
)
def test_both_styles_of_size(tmp_path: Path, size: dict[str, Any]) -> None:
    plans = Plans.from_dir(written(tmp_path, preprocessor_config=BASE | size), LIMITS)
    assert plans.image == ImagePlan(2048, 9000)
    assert (plans.video.min_pixels, plans.video.max_pixels) == (2048, 9000)


def test_where_the_configs_stand(tmp_path: Path) -> None:
    other = BASE | {"size": {"shortest_edge": 4096, "longest_edge": 80_000}, "fps": 1, "max_frames": 10}
    written(tmp_path, preprocessor_config=BASE | SIZE, video_preprocessor_config=other)
    plans = Plans.from_dir(tmp_path, LIMITS)
    assert plans.image == ImagePlan(2048, 9000)
    assert plans.video == VideoPlan(4096, 80_000, 0, LIMITS.max_pixels, Sampling(1, 4, 10))
    written(
        tmp_path, processor_config={"image_processor": BASE | {"size": {"shortest_edge": 1024, "longest_edge": 4096}}}
    )
    plans = Plans.from_dir(tmp_path, LIMITS)
    assert plans.image == ImagePlan(1024, 4096)
    assert plans.video.max_pixels == 80_000


def test_what_the_reference_saves_is_read(
    image_processor: Any, video_processor: Any, released: Path, tmp_path: Path
) -> None:
    nested = {
        "image_processor": json.loads(image_processor.to_json_string()),
        "video_processor": json.loads(video_processor.to_json_string()),
    }
    directory = written(tmp_path, processor_config=nested)
    assert Plans.from_dir(directory, LIMITS) == Plans.from_dir(released, LIMITS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"patch_size": 14}, "patch_size is 14"),
        ({"image_mean": [0.48, 0.46, 0.41]}, "image_mean"),
        ({"do_resize": False}, "do_resize"),
        ({"resample": 2}, "resample is 2"),
        ({"cap_pixels_per_frame": True}, "cap_pixels_per_frame"),
        ({"size": {"height": 224, "width": 224}}, "no usable size"),
        ({"size": {"shortest_edge": 9, "longest_edge": 3}}, "no usable size"),
        ({"image_std": None}, "image_std"),
        (None, "has no patch_size"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_configs_of_other_models_are_refused(tmp_path: Path, config: Any, message: str) -> None:
    config = BASE | SIZE | config if isinstance(config, dict) else SIZE if config is None else config
    written(tmp_path, preprocessor_config=config)
    with pytest.raises(CheckpointError, match=message):
        Plans.from_dir(tmp_path, LIMITS)


def test_a_directory_without_configs(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        Plans.from_dir(tmp_path, LIMITS)


# --- keys ------------------------------------------------------------------------------------------------------------


def test_equal_keys_mean_equal_features(rng: np.random.Generator) -> None:
    pixels = drawn(rng, 64, 96)
    key = prepare(still(pixels), PLANS.image).key
    assert key == prepare(still(pixels.copy()), PLANS.image).key
    assert key == picture_of(encoded(pixels, "PNG")).key == picture_of(encoded(pixels, "BMP")).key
    other = pixels.copy()
    other[63, 95, 2] ^= 1
    turned = np.ascontiguousarray(pixels.reshape(96, 64, 3))  # the same bytes, another shape
    keys = {
        key,
        prepare(still(other), PLANS.image).key,
        prepare(still(turned), PLANS.image).key,
        prepare(clip((64, 96), (0,), 24.0, (pixels,)), PLANS.video).key,
        prepare(clip((64, 96), (0, 9), 24.0, (pixels, other)), PLANS.video).key,
    }
    assert len(keys) == 5
