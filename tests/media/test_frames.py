"""Laws of frames: every format and mode gives the same upright RGB pixels, every frame of a video is the one asked for,
and whatever cannot be read is one clear MediaError."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from media_samples import (
    CODECS,
    LIMITS,
    drawn,
    encoded,
    film,
    frames_of,
    picture_of,
    pixels_of,
    shown_number,
)
from PIL import Image, ImageOps

from saccade.errors import MediaError
from saccade.media import stills, video
from saccade.media.frames import sniff
from saccade.media.limits import MediaLimits

# --- pictures: what comes out -----------------------------------------------------------------------------------------


def test_lossless_formats_give_the_pixels(rng: np.random.Generator) -> None:
    pixels = drawn(rng, 37, 53)
    files = {
        "PNG": encoded(pixels, "PNG"),
        "BMP": encoded(pixels, "BMP"),
        "WebP": encoded(pixels, "WEBP", lossless=True),
        "PNG interlaced by columns": encoded(pixels, "PNG", compress_level=0),
    }
    for name, data in files.items():
        frames = frames_of(data)
        assert (frames.kind, frames.size, frames.indices, frames.fps) == ("image", (37, 53), (0,), 0.0)
        assert sniff(data) == name.split()[0]
        (found,) = frames.pixels
        assert np.array_equal(found, pixels)
        assert found.flags.c_contiguous
        assert found.flags.writeable


def test_first_frame_of_moving_pictures(rng: np.random.Generator) -> None:
    first, second = (Image.fromarray(drawn(rng, 24, 32)).quantize(64).convert("RGB") for _ in range(2))
    for form, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        data = encoded(first, form, save_all=True, append_images=[second], **options)
        assert np.array_equal(pixels_of(data), np.asarray(first))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["JPEG", "JPEG grey", "JPEG CMYK", "PNG", "WEBP"])
def test_orientation(rng: np.random.Generator, form: str, orientation: int) -> None:
    form, _, mode = form.partition(" ")
    image = Image.fromarray(drawn(rng, 24, 40, "smooth")).convert({"grey": "L"}.get(mode, mode or "RGB"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    found = pixels_of(data)
    assert np.array_equal(found, np.asarray(expected))
    assert found.flags.c_contiguous
    assert frames_of(data).size == found.shape[:2] == ((40, 24) if 5 <= orientation <= 8 else (24, 40))


def test_unreadable_exif_is_no_obstacle(rng: np.random.Generator) -> None:
    pixels = drawn(rng, 24, 40)
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x63" + b"\xff" * 30):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = encoded(pixels, "PNG", exif=exif)
        assert np.array_equal(pixels_of(data), pixels)


def test_two_jpeg_decoders_agree(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg", reason="only Pillow is here")
    files = [
        encoded(drawn(rng, *size), "JPEG", quality=quality, subsampling=sampling, progressive=progressive)
        for size in ((1, 1), (37, 53), (64, 200))
        for quality in (20, 90)
        for sampling in (0, 1, 2)
        for progressive in (False, True)
    ]
    files.append(encoded(Image.fromarray(drawn(rng, 37, 53)).convert("L"), "JPEG"))
    files.append(encoded(drawn(rng, 37, 53), "JPEG", keep_rgb=True))
    fast = [pixels_of(data) for data in files]
    monkeypatch.setattr(stills, "simplejpeg", None)
    for data, expected in zip(files, fast, strict=True):
        assert np.array_equal(pixels_of(data), expected)


def test_transparency_shows_white(rng: np.random.Generator) -> None:
    pixels = drawn(rng, 30, 40)
    alpha = np.zeros((30, 40), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    image = Image.fromarray(pixels)
    image.putalpha(Image.fromarray(alpha))
    blend = pixels * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255)
    for data in (encoded(image, "PNG"), encoded(image, "WEBP", lossless=True, exact=True)):
        assert np.abs(pixels_of(data) - blend).max() <= 1
    grey = image.convert("LA")
    found = pixels_of(encoded(grey, "PNG"))
    expected = np.asarray(grey)[..., :1] * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255)
    assert np.abs(found - expected).max() <= 1


def test_transparent_colours_show_white() -> None:
    palette = Image.new("P", (4, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])
    palette.putdata([0, 1, 2, 3])
    whole = [[10, 20, 30], [40, 50, 60], [70, 80, 90], [1, 2, 3]]
    white = [255, 255, 255]
    assert pixels_of(encoded(palette, "PNG")).tolist() == [whole]
    assert pixels_of(encoded(palette, "PNG", transparency=1)).tolist() == [[whole[0], white, *whole[2:]]]
    assert pixels_of(encoded(palette, "PNG", transparency=b"\xff\xff\x00")).tolist() == [[*whole[:2], white, whole[3]]]
    assert pixels_of(encoded(palette, "GIF", transparency=3)).tolist() == [[*whole[:3], white]]
    colour = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert pixels_of(encoded(colour, "PNG", transparency=(1, 2, 3))).tolist() == [[white, [4, 5, 6]]]
    grey = Image.fromarray(np.array([[7, 9]], np.uint8))
    assert pixels_of(encoded(grey, "PNG", transparency=7))[..., 0].tolist() == [[255, 9]]


def test_modes() -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 0x8123, 65535]], np.uint16))
    assert pixels_of(encoded(deep, "PNG"))[..., 1].tolist() == [[0, 0, 1, 0x81, 255]]
    assert pixels_of(encoded(deep, "PNG", transparency=0x8123))[..., 1].tolist() == [[0, 0, 1, 255, 255]]
    bits = Image.fromarray(np.array([[0, 255, 255, 0]], np.uint8)).convert("1")
    for form in ("PNG", "BMP"):
        assert pixels_of(encoded(bits, form)).tolist() == [[[0] * 3, [255] * 3, [255] * 3, [0] * 3]]
    for mode in ("RGB", "L", "P", "RGBA"):
        image = Image.new("RGB", (5, 4), (200, 100, 50)).convert(mode)
        assert np.array_equal(pixels_of(encoded(image, "BMP")), np.asarray(image.convert("RGB")))
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(pixels_of(encoded(red, "JPEG", quality=95)).astype(int) - [255, 0, 0]).max() < 8


# --- pictures: what is refused ----------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def headers(width: int, height: int) -> dict[str, bytes]:
    """Files of that size that hold next to nothing."""
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(bytes(width + 1) * height, 1)) + chunk(b"IEND", b"")
    jpeg = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = struct.pack(">HH", height, width)
    gif = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", width, height)
    bmp = bytearray(encoded(Image.new("RGB", (8, 8)), "BMP"))
    bmp[18:26] = struct.pack("<ii", width, height)
    webp = bytearray(encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "WEBP"))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return {"PNG": png, "JPEG": bytes(jpeg), "GIF": bytes(gif), "BMP": bytes(bmp), "WEBP": bytes(webp)}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP"])
def test_60_megapixels_are_refused_by_their_header(form: str) -> None:
    data = headers(10_000, 6_000)[form]
    frames_of(headers(16, 16)["PNG"])  # what is loaded once is loaded now
    start = time.process_time()
    with pytest.raises(MediaError) as caught:
        frames_of(data)
    assert time.process_time() - start < 0.05
    message = "The picture is 10000 x 6000 = 60,000,000 pixels; at most 40,000,000 are decoded (--max-image-pixels)."
    assert caught.value.message == message
    assert caught.value.param == "messages[0].content[0]"


def test_60_megapixels_of_webp_are_refused() -> None:
    """The frame inside is smaller than the canvas, which WebP's own decoder may refuse first."""
    with pytest.raises(MediaError, match=r"60,000,000 pixels|damaged"):
        frames_of(headers(10_000, 6_000)["WEBP"])


def test_refusing_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """In a process of its own, whose peak is then a matter of this alone."""
    for form, data in headers(10_000, 6_000).items():
        (tmp_path / form).write_bytes(data)
    bomb = Image.new("RGBA", (9_000, 6_700), (1, 2, 3, 4))
    bomb.save(tmp_path / "whole.webp", lossless=True, quality=0, method=0)
    bomb.close()
    code = """
import resource, sys
from pathlib import Path
from saccade.errors import MediaError
from saccade.media.fetch import Fetcher
from saccade.media.limits import MediaLimits
from saccade.media.frames import decode
from saccade.types import MediaRef
for number in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(Path(sys.argv[1]).iterdir()):
        ref = MediaRef("image", "p", data=path.read_bytes())
        try:
            decode(Fetcher(MediaLimits()).fetch(ref), ref, MediaLimits())
        except MediaError as error:
            print(error, file=sys.stderr)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stderr.count("(--max-image-pixels)") + answer.stderr.count("damaged") == 12
    assert "9000 x 6700" in answer.stderr
    first, second = (int(line) for line in answer.stdout.split())
    assert first < 20_000  # KiB; loading Pillow's own code is part of it
    assert second < 1_000


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 3]


def still_files() -> dict[str, bytes]:
    image = Image.fromarray(drawn(np.random.default_rng(1), 40, 52))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "JPEG": encoded(image, "JPEG", exif=exif),
        "JPEG progressive": encoded(image, "JPEG", progressive=True),
        "JPEG CMYK": encoded(image.convert("CMYK"), "JPEG", exif=exif),
        "PNG": encoded(image, "PNG", exif=exif),
        "PNG palette": encoded(image.convert("P"), "PNG", transparency=3),
        "PNG moving": encoded(image, "PNG", save_all=True, append_images=[image.rotate(90)]),
        "WebP": encoded(image, "WEBP", exif=exif),
        "WebP lossless": encoded(image.convert("RGBA"), "WEBP", lossless=True),
        "GIF": encoded(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
        "BMP": encoded(image, "BMP"),
        "BMP palette": encoded(image.convert("P"), "BMP"),
    }


@pytest.mark.parametrize("name", sorted(still_files()))
def test_cut_off_pictures(name: str) -> None:
    with pytest.raises(MediaError, match=f"The {name.split()[0]} file is damaged or cut off: .+") as caught:
        frames_of(truncated(still_files()[name]))
    assert caught.value.param == "messages[0].content[0]"
    assert "\n" not in caught.value.message


SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
FOREIGN = [
    (b"", "an empty file"),
    (b"What is in this picture?\n", "text"),
    (SVG, "SVG"),
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "PDF"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
    (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "AVIF"),
    (b"II*\0\x08\0\0\0\0\0", "TIFF"),
    (b"\x00\x01\x02\x03\x04\x05\x06\x07", "of no known format"),
    (b"\0", "of no known format"),
]


@pytest.mark.parametrize(("data", "what"), FOREIGN)
def test_other_files(data: bytes, what: str) -> None:
    for kind, noun, readable in (
        ("image", "picture", "JPEG, PNG, WebP, GIF, BMP"),
        ("video", "video", "MP4, Matroska or WebM, AVI, MPEG-TS, GIF"),
    ):
        with pytest.raises(MediaError) as caught:
            frames_of(data, kind)
        assert caught.value.message == f"The {noun} is {what}; supported are {readable}."
        assert caught.value.param == "messages[0].content[0]"


@pytest.mark.parametrize(
    "magic", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBPVP8 ", b"GIF89a", b"BM"]
)
def test_nothing_behind_the_first_bytes(magic: bytes) -> None:
    for data in (magic, magic + b"\0" * 40, magic + b"\xff" * 40, magic + b"text " * 20):
        with pytest.raises(MediaError, match=r"is damaged or cut off|there is nothing in it"):
            frames_of(data)


def test_a_video_is_no_picture_and_a_picture_no_video() -> None:
    with pytest.raises(MediaError, match="The picture is MP4; supported are JPEG"):
        frames_of(film(num_frames=3))
    with pytest.raises(MediaError, match="The video is PNG; supported are MP4"):
        frames_of(still_files()["PNG"], "video")


def test_a_jpeg_with_hundreds_of_scans_is_refused() -> None:
    data = encoded(drawn(np.random.default_rng(0), 16, 16), "JPEG", progressive=True)
    place = data.index(b"\xff\xda")
    with pytest.raises(MediaError, match="more than 100 scans"):
        frames_of(data[:place] + data[place:-2] * 30 + data[-2:])


# --- videos: which frames ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=sorted(CODECS))
def coded(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    return request.param, film(request.param)


def test_every_container_gives_the_frames_asked_for(coded: tuple[str, bytes]) -> None:
    kind, data = coded
    for num_frames in (1, 2, 7, 23, 60):
        frames = frames_of(data, "video", num_frames=num_frames)
        assert frames.indices == tuple(np.linspace(0, 59, num_frames).round().astype(int).tolist())
        found = list(frames.pixels)
        assert [shown_number(pixels) for pixels in found] == list(frames.indices)
        assert {pixels.shape for pixels in found} == {(96, 160, 3)}
        assert frames.size == (96, 160)
    assert frames.fps == (100 / 3 if kind == "gif" else 30.0)  # GIF counts in hundredths of a second


def test_sparse_frames_are_not_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 frames, a key frame each 12: frame 0 and the 12 frames from the last key frame on."""
    num_decoded = 0
    decode = video.Video._decode

    def counted(*args: Any) -> Any:
        nonlocal num_decoded
        for pair in decode(*args):
            num_decoded += 1
            yield pair

    monkeypatch.setattr(video.Video, "_decode", counted)
    assert [shown_number(pixels) for pixels in frames_of(film(), "video", num_frames=2).pixels] == [0, 59]
    assert num_decoded == 13


def test_pixels_and_numbers_are_the_references(
    transformers: ModuleType, shared: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Real files through the reference's own reader and processor: equal frames, equal grid, equal resized pixels."""
    import torch

    pytest.importorskip("torchvision", reason="the reference resizes with torchvision")
    processor = transformers.Qwen3VLVideoProcessor.from_pretrained(shared / "qwen3-vl" / "4b-instruct")
    for kind, num_frames, height, width, rate in (
        ("mp4", 60, 96, 160, 30),
        ("mp4", 37, 130, 70, 10),
        ("hevc", 50, 96, 160, 24),
        ("mjpeg", 25, 64, 80, 5),
    ):
        data = film(kind, num_frames, height, width, rate)
        path = tmp_path / f"film.{kind}"
        path.write_bytes(data)
        pixels, metadata = transformers.video_utils.load_video(
            str(path), backend="pyav", sample_indices_fn=processor.sample_frames
        )
        frames = frames_of(data, "video")
        assert list(frames.indices) == list(metadata.frames_indices)
        assert frames.fps == metadata.fps
        assert np.array_equal(np.stack(list(frames.pixels)), pixels)
        expected = processor(videos=[torch.from_numpy(pixels).permute(0, 3, 1, 2)], do_sample_frames=False)
        picture = picture_of(data, "video")
        assert [list(picture.grid)] == expected["video_grid_thw"].tolist()
        total = torch.from_numpy(picture.pixels).double().sub(127.5).div(127.5).sum().item()
        assert total == pytest.approx(expected["pixel_values_videos"].double().sum().item(), rel=1e-6)


def test_default_sampling() -> None:
    frames = frames_of(film(num_frames=61), "video")
    assert frames.indices == (0, 20, 40, 60)
    picture = picture_of(film(num_frames=61), "video")
    assert picture.timestamps == pytest.approx((10 / 30, 50 / 30))
    assert picture.grid[0] == 2
    assert frames_of(film(num_frames=90), "video", fps=1.0, limits=LIMITS).indices == (0, 30, 59, 89)
    few = MediaLimits(max_frames=3)
    assert frames_of(film(num_frames=61), "video", limits=few).indices == (0, 30, 60)


def test_single_frame_and_unknown_rate() -> None:
    for kind in ("mp4", "gif", "avi"):
        frames = frames_of(film(kind, num_frames=1), "video")
        assert (frames.indices, len(list(frames.pixels))) == ((0,), 1)
        assert frames.fps > 0
        picture = picture_of(film(kind, num_frames=1), "video")
        assert (picture.grid[0], picture.timestamps) == (1, (0.0,))
    assert frames_of(film("ts", num_frames=1), "video").fps == 24.0  # one frame in transport packets tells no rate


def turned(data: bytes, cosine: int, sine: int) -> bytes:
    """An MP4 file with another display matrix in its track header (ISO/IEC 14496-12, 8.3.2)."""
    place = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    return data[:place] + matrix + data[place + 36 :]


@pytest.mark.parametrize(("cosine", "sine", "quarters"), [(1, 0, 0), (0, 1, 1), (-1, 0, 2), (0, -1, 3)])
def test_rotation(cosine: int, sine: int, quarters: int) -> None:
    """`quarters` turns with the clock, as a telephone held sideways writes them."""
    data = film(num_frames=5)
    plain = np.stack(list(frames_of(data, "video").pixels))
    frames = frames_of(turned(data, cosine, sine), "video")
    assert frames.size == ((96, 160) if quarters % 2 == 0 else (160, 96))
    assert np.array_equal(np.stack(list(frames.pixels)), np.rot90(plain, -quarters, axes=(1, 2)))


def test_frames_that_are_never_shown_have_no_number() -> None:
    """VP8 may hold pictures that later ones lean on and nobody sees."""
    import av

    source = io.BytesIO(film("webm-vp8", num_frames=30))
    hidden = io.BytesIO()
    with av.open(source) as taken, av.open(hidden, "w", format="webm") as output:
        stream = output.add_stream_from_template(taken.streams.video[0])
        for number, packet in enumerate(taken.demux(video=0)):
            if packet.size:
                body = bytearray(bytes(packet))
                if number == 17:
                    body[0] &= ~0x10
                changed = av.Packet(bytes(body))
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.is_keyframe = packet.is_keyframe
                changed.stream = stream
                output.mux(changed)
    frames = frames_of(hidden.getvalue(), "video", num_frames=29)
    assert [shown_number(pixels) for pixels in frames.pixels] == [*range(17), *range(18, 30)]


def test_transparent_video_shows_white() -> None:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.paste(0, (0, 0, 16, 32))
    data = encoded(image, "GIF", transparency=0, save_all=True, append_images=[image.rotate(180)], duration=100)
    (first, *_) = frames_of(data, "video").pixels
    assert first[5, 5].tolist() == [255, 255, 255]
    assert first[5, 25].tolist() == [0, 200, 0]


# --- videos: what is refused ------------------------------------------------------------------------------------------


def test_a_recording_that_starts_between_key_frames() -> None:
    data = film("ts")
    whole = frames_of(data, "video", num_frames=60)
    cut = frames_of(data[188 * (len(data) // 188 // 3) :], "video", num_frames=20)
    found = [shown_number(pixels) for pixels in cut.pixels]
    assert len(whole.indices) == 60
    assert found[0] in (24, 36)
    assert found[-1] == 59


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"fps": 1.0, "num_frames": 4}, "fps and num_frames exclude each other"),
        ({"fps": 0.0}, "fps is 0.0; it must be above 0"),
        ({"fps": -1.0}, "fps is -1.0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"num_frames": 0}, "num_frames is 0; it must be 1 to 768"),
        ({"num_frames": 769}, "num_frames is 769; it must be 1 to 768"),
    ],
)
def test_wishes_without_sense(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(MediaError, match=message):
        frames_of(film(num_frames=4), "video", **wishes)


def test_more_frames_than_there_are_means_all() -> None:
    assert frames_of(film(num_frames=5), "video", num_frames=700).indices == (0, 1, 2, 3, 4)
    assert frames_of(film(num_frames=5), "video", fps=1e300).indices == (0, 1, 2, 3, 4)


def test_costly_videos() -> None:
    data = film()
    with pytest.raises(MediaError, match="The video has more than 59 frames"):
        frames_of(data, "video", MediaLimits(max_video_frames=59))
    with pytest.raises(MediaError, match="The video frame is 160 x 96 = 15,360 pixels; at most 15,359"):
        frames_of(data, "video", MediaLimits(max_image_pixels=15_359))
    work = 60 * 96 * 160
    assert frames_of(data, "video", MediaLimits(max_video_pixels=work), num_frames=60).indices[-1] == 59
    with pytest.raises(MediaError, match="takes 921,600 pixels to decode; at most 921,599") as caught:
        frames_of(data, "video", MediaLimits(max_video_pixels=work - 1), num_frames=60)
    assert caught.value.hint
    # Two frames, each decoded from a key frame nearby, are within it.
    assert frames_of(data, "video", MediaLimits(max_video_pixels=work // 4), num_frames=2).indices == (0, 59)


def test_video_memory_is_that_of_one_frame(tmp_path: Path) -> None:
    """40 frames of 1080p are 249 MB; one after the other they are resized in a fraction of it."""
    (tmp_path / "film.mp4").write_bytes(film("mjpeg", num_frames=40, height=1080, width=1920))
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import av
from media_samples import film, picture_of
picture_of(film(num_frames=4), "video")
data = Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
picture = picture_of(data, "video", num_frames=40)
print(picture.grid[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "film.mp4")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    steps, kibibytes = map(int, answer.stdout.split())
    assert steps == 20
    assert kibibytes < 150_000


def test_files_without_video() -> None:
    import av

    sound = io.BytesIO()
    with av.open(sound, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with pytest.raises(MediaError, match="The MP4 file has no video in it"):
        frames_of(sound.getvalue(), "video")
    with pytest.raises(MediaError, match=r"The MP4 file (is damaged|has no)"):
        frames_of(b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "video")


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "webm-vp9", "mjpeg"])
def test_cut_off_and_damaged_videos(kind: str) -> None:
    data = film(kind)
    with pytest.raises(MediaError, match=r"damaged or cut off|has no frames|cannot be decoded"):
        list(frames_of(data[: len(data) // 10], "video").pixels)
    noise = random.Random(0)
    broken = bytearray(data)
    for place in range(len(data) // 5, len(data) * 4 // 5):
        broken[place] = noise.randrange(256)
    with pytest.raises(MediaError) as caught:
        picture_of(bytes(broken), "video", num_frames=60)
    assert caught.value.param == "messages[0].content[0]"


def test_playlists_cannot_reach_other_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(film(num_frames=3))
    for data in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n".encode(),
        f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        b"v=0\nm=video 5000 RTP/AVP 96\n",
    ):
        with pytest.raises(MediaError, match="The video is text"):
            frames_of(data, "video")


# --- anything at all --------------------------------------------------------------------------------------------------


def spoiled(data: bytes, chance: random.Random) -> bytes:
    """Cut, shortened inside, or with a few bytes changed, half of the time in the header."""
    way = chance.random()
    if way < 0.3:
        return data[: chance.randrange(len(data))]
    body = bytearray(data)
    if way < 0.4:
        place = chance.randrange(len(data))
        del body[place : place + chance.randrange(1, 40)]
        return bytes(body)
    end = min(len(data), 200) if chance.random() < 0.5 else len(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place = chance.randrange(end)
        body[place] = chance.choice((body[place] ^ 1 << chance.randrange(8), 0, 255, chance.randrange(256)))
    return bytes(body)


CHEAP = MediaLimits(max_image_pixels=1_000_000, max_video_pixels=50_000_000)


def survives(data: bytes, kind: str) -> bool:
    """Whether it gives a Picture; otherwise it gives a MediaError, within a second."""
    start = time.process_time()
    refusal: MediaError | None = None
    try:
        shape = picture_of(data, kind, CHEAP, max_pixels=65_536).pixels.shape
        assert shape[1] % 32 == shape[2] % 32 == 0
    except MediaError as error:
        refusal = error
    assert time.process_time() - start < 1.0
    if refusal is not None:
        assert refusal.param == "messages[0].content[0]"
        assert "\n" not in refusal.message
    return refusal is None


@pytest.mark.parametrize("name", sorted(still_files()))
def test_spoiled_pictures(name: str) -> None:
    chance, data = random.Random(name), still_files()[name]
    assert survives(data, "image")
    results = [survives(spoiled(data, chance), "image") for _ in range(300)]
    assert not all(results)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi", "mjpeg", "webm-vp8", "gif"])
def test_spoiled_videos(kind: str) -> None:
    chance, data = random.Random(kind), film(kind, num_frames=14, height=48)
    assert survives(data, "video")
    results = [survives(spoiled(data, chance), "video") for _ in range(60)]
    assert not all(results)


def test_decoders_write_nothing(tmp_path: Path) -> None:
    """Neither Pillow's warnings nor FFmpeg's log reach the terminal, with Python's ordinary warning filters too."""
    code = f"""
import random, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from media_samples import film
from saccade.media.pixels import prepare_resize
from test_frames import spoiled, still_files, survives
prepare_resize(1)  # importing torch is no picture's fault
chance = random.Random(1)
for data in still_files().values():
    for _ in range(40):
        survives(spoiled(data, chance), "image")
for kind in ("mp4", "avi", "gif"):
    data = film(kind, num_frames=6, height=48)
    for _ in range(15):
        survives(spoiled(data, chance), "video")
"""
    answer = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert (answer.stdout, answer.stderr) == ("", "")
