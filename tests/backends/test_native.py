"""The corridor: real pictures through real rooms, with faults planted in each of them."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

import saccade
from saccade.backends import pictures
from saccade.backends.native import Native
from saccade.engine import draws
from saccade.engine.options import EngineOptions
from saccade.errors import ContextLengthError, EngineError, MediaError, SettingsError
from saccade.media.limits import Decoding, MediaLimits
from saccade.model.vision import Encoding, VisionTower
from saccade.types import Delta, MediaPart, MediaRef, Message, Part, Request, SamplingParams, TextPart

Load = Callable[..., Native]
FONT = Path(saccade.__file__).parent / "demo" / "fonts" / "DejaVuSans.ttf"


def png(pixels: np.ndarray | Image.Image) -> bytes:
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, "PNG")
    return file.getvalue()


def noise(height: int = 64, width: int = 96, seed: int = 0) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def clip(num_frames: int, rate: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(num_frames):
            pixels = np.full((64, 64, 3), 255 * number // num_frames, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        output.mux(stream.encode())
    return file.getvalue()


def request(*pictures: bytes, text: str = "What is it?", **sampling: Any) -> Request:
    parts: list[Part] = [MediaPart(MediaRef("image", f"content[{n}]", data=data)) for n, data in enumerate(pictures)]
    params = SamplingParams(**({"max_tokens": 20, "ignore_eos": True} | sampling))
    return Request("r", "small", (Message("user", (*parts, TextPart(text))),), params)


async def told(deltas: AsyncIterator[Delta]) -> list[Delta]:
    return [delta async for delta in deltas]


async def ids(backend: Native, asked: Request) -> list[int]:
    return [id for delta in await told(backend.generate(asked)) for id in delta.token_ids]


def play(backend: Native, scene: Callable[[Native], Awaitable[None]]) -> None:
    async def run() -> None:
        await backend.start()
        try:
            await scene(backend)
        finally:
            await backend.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


@pytest.mark.parametrize("size", [(448, 448), (640, 320)])
def test_reads_what_is_printed(shared: Path, size: tuple[int, int]) -> None:
    lines = ["Sunday morning", "fresh bread 4.20", "open until noon"]
    page = Image.new("RGB", size, "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(page).text((24, 30 + 60 * number), line, "black", ImageFont.truetype(str(FONT), 24))

    async def scene(backend: Native) -> None:
        asked = request(png(page), text="Read all the text in the image.", max_tokens=200, ignore_eos=False)
        deltas = await told(backend.generate(asked))
        assert text_of(deltas) == "\n".join(lines)
        assert deltas[-1].finish_reason == "stop"

    play(Native.load(shared / "demo-checkpoint", name="demo", limits=MediaLimits()), scene)


def test_counts_and_times(load: Load) -> None:
    async def scene(backend: Native) -> None:
        (*_, last) = await told(backend.generate(request(noise(64, 96), noise(32, 320))))
        assert last.usage is not None
        assert last.usage.image_tokens == 6 + 10
        assert last.usage.video_tokens == 0
        assert last.usage.completion_tokens == 20
        times = last.times
        assert times is not None
        stages = (times.fetch, times.decode_media, times.resize, times.tokenize, times.queue, times.vision)
        assert all(stage > 0 for stage in (*stages, times.prefill, times.decode))
        assert times.first_token > times.vision + times.prefill
        assert len(await backend.tokenize(request(noise(64, 96), noise(32, 320)))) == last.usage.prompt_tokens
        with pytest.raises(MediaError):
            await backend.tokenize(request(b"no picture"))

    play(load(), scene)


def test_what_was_computed_before_is_told(load: Load) -> None:
    async def cached(backend: Native, asked: Request) -> tuple[int, int]:
        (*_, last) = await told(backend.generate(asked))
        assert last.usage is not None
        return last.usage.cached_tokens, last.usage.prompt_tokens

    async def scene(backend: Native) -> None:
        asked = request(noise(), text="word " * 20)
        assert (await cached(backend, asked))[0] == 0
        again, length = await cached(backend, asked)
        assert length - 16 <= again < length
        other, _ = await cached(backend, request(noise(seed=1), text="word " * 20))
        assert other == 0, "another picture comes first"

    play(load(), scene)


def test_which_caches_helped_is_told(load: Load) -> None:
    def after(text: str, *files: bytes) -> Request:
        asked = request(*files, max_tokens=1)
        (message,) = asked.messages
        return replace(asked, messages=(Message("user", (TextPart(text), *message.parts)),))

    async def cache(backend: Native, asked: Request) -> tuple[str | None, str | None]:
        (*_, last) = await told(backend.generate(asked))
        assert last.times is not None
        assert last.usage is not None
        assert last.times.cache.prefix_tokens == last.usage.cached_tokens
        assert (last.times.hash > 0) == bool(asked.media)
        return last.times.cache.pictures, last.times.cache.vision

    async def scene(backend: Native) -> None:
        one, other = noise(), noise(seed=1)
        file = io.BytesIO()
        Image.open(io.BytesIO(one)).save(file, "PNG", compress_level=0)
        assert await cache(backend, after("first")) == (None, None)
        assert await cache(backend, after("second", one)) == ("miss", "miss")
        assert await cache(backend, after("third", one)) == ("digest", "device")
        assert await cache(backend, after("fourth", file.getvalue())) == ("pixels", "device")
        assert await cache(backend, after("fifth", one, other)) == ("miss", "miss"), "the worst of them"
        assert await cache(backend, replace(after("fifth", one, other), id="again")) == ("digest", "prefix")

    play(load(), scene)


END_OF_THOUGHTS = 281
"""`</think>` in the bundled vocabulary."""


def test_thoughts_of_a_thinking_model_are_apart(
    load: Load, small_checkpoint: Path, shared: Path, tmp_path: Path
) -> None:
    thinking = tmp_path / "thinking"
    shutil.copytree(small_checkpoint, thinking)
    shutil.copy(shared / "qwen3-vl" / "thinking-common" / "chat_template.jinja", thinking)

    async def scene(backend: Native) -> None:
        deltas = await told(backend.generate(request(max_tokens=4, logit_bias=((END_OF_THOUGHTS, -100.0),))))
        usage = deltas[-1].usage
        assert usage is not None
        assert text_of(deltas) == ""
        assert "".join(delta.reasoning for delta in deltas)
        assert (usage.completion_tokens, usage.reasoning_tokens) == (4, 4)
        deltas = await told(backend.generate(request(max_tokens=4, logit_bias=((END_OF_THOUGHTS, 100.0),))))
        usage = deltas[-1].usage
        assert usage is not None
        assert text_of(deltas) == "</think>" * 3, "a second end is a word like all others"
        assert (usage.completion_tokens, usage.reasoning_tokens) == (4, 1)

    play(Native.load(thinking, name="small", limits=MediaLimits()), scene)


def test_a_video_goes_the_same_way(load: Load) -> None:
    async def scene(backend: Native) -> None:
        parts = (MediaPart(MediaRef("video", "content[0]", data=clip(40, 10))), TextPart("When?"))
        asked = Request("r", "small", (Message("user", parts),), SamplingParams(max_tokens=3, ignore_eos=True))
        (*_, last) = await told(backend.generate(asked))
        assert last.usage is not None
        assert last.usage.image_tokens == 0
        assert last.usage.video_tokens == 4 * 4  # 4 s at 2 frames a second are 4 pairs, of 64x64
        assert last.times is not None
        assert last.times.decode_media > 0
        assert last.times.resize > 0

    play(load(), scene)


def test_a_file_known_already_is_looked_at_again_in_another_way(load: Load) -> None:
    file = clip(40, 10)

    async def tokens(backend: Native, **wishes: Any) -> int:
        parts = (MediaPart(MediaRef("video", "content[0]", data=file, **wishes)), TextPart("When?"))
        asked = Request("r", "small", (Message("user", parts),), SamplingParams(max_tokens=1))
        (*_, last) = await told(backend.generate(asked))
        assert last.usage is not None
        return last.usage.video_tokens

    async def scene(backend: Native) -> None:
        assert [await tokens(backend), await tokens(backend, fps=1.0), await tokens(backend)] == [16, 8, 16]
        assert await tokens(backend, num_frames=6) == 12
        assert await tokens(backend, max_pixels=1024) == 4

    play(load(), scene)


def test_what_the_memory_never_holds_is_refused_at_once(load: Load) -> None:
    async def scene(backend: Native) -> None:
        room = backend.card().context
        assert room < 1000
        with pytest.raises(ContextLengthError, match=str(room)):
            await ids(backend, request(text="word " * 1000))
        assert len(await ids(backend, request())) == 20

    play(load(options=EngineOptions(kv_cache_bytes=2**20)), scene)


def test_a_text_that_is_far_too_long_is_refused_by_its_beginning(load: Load) -> None:
    """50 MB of words would take half a minute to encode."""

    async def scene(backend: Native) -> None:
        began = time.monotonic()
        with pytest.raises(ContextLengthError, match="more than"):
            await ids(backend, request(text="word " * 10_000_000))
        assert time.monotonic() - began < 5
        assert len(await ids(backend, request())) == 20

    play(load(), scene)


def test_a_text_that_is_refused_while_its_picture_is_decoded_costs_no_decoder(load: Load) -> None:
    async def scene(backend: Native) -> None:
        with pytest.raises(ContextLengthError, match="more than"):
            await ids(backend, request(noise(), text="word " * 2000))
        with pytest.raises(MediaError, match="no known format"):  # both are at fault: the picture comes first
            await ids(backend, request(b"\0nothing", text="word " * 2000))
        assert len(await ids(backend, request(noise()))) == 20
        assert not any(backend.media_stats().decoders_replaced.values())

    play(load(decoding=Decoding(1), options=EngineOptions(max_context=300)), scene)


def test_the_card_tells_what_is_served(load: Load) -> None:
    card = load(options=EngineOptions(max_context=300)).card()
    assert (card.id, card.context) == ("small", 300)
    assert card.facts["dtype"] == "float32"
    assert card.facts["device"].startswith("cpu")
    assert load().card().context == 8192


def test_settings_that_no_machine_can_meet(load: Load) -> None:
    with pytest.raises(SettingsError, match="8192"):
        load(options=EngineOptions(max_context=8193))
    with pytest.raises(SettingsError, match="cuda:99"):
        load(device="cuda:99")


def test_same_seed_same_tokens_whatever_else_runs(load: Load) -> None:
    async def scene(backend: Native) -> None:
        wild = request(noise(), temperature=2.0, seed=5)
        alone = await ids(backend, wild)
        together = await asyncio.gather(*(ids(backend, a) for a in (request(temperature=2.0), wild, request(), wild)))
        assert together[1] == together[3] == alone
        assert len(set(alone)) > 5
        assert together[0] != await ids(backend, request(temperature=2.0)), "without a seed each answer is new"

    play(load(), scene)


def test_logprobs_are_in_words(load: Load) -> None:
    async def scene(backend: Native) -> None:
        deltas = await told(backend.generate(request(noise(), logprobs=3, temperature=0.0)))
        for delta in deltas:
            (entry,) = delta.logprobs
            assert len(entry.top) == 3
            assert entry.top[0] == (entry.text, entry.raw, entry.logprob), "greedy takes the likeliest"
            assert [p for *_, p in entry.top] == sorted((p for *_, p in entry.top), reverse=True)

    play(load(), scene)


def test_the_checkpoint_s_sampling_is_the_default(load: Load) -> None:
    async def scene(backend: Native) -> None:
        assert await ids(backend, request()) == await ids(backend, request(temperature=0.0))

    play(load(), scene)


@pytest.mark.parametrize("broken", [b"", b"no picture", noise()[:200]])
def test_a_picture_that_is_none_harms_only_its_own_request(load: Load, broken: bytes) -> None:
    async def scene(backend: Native) -> None:
        good = asyncio.create_task(ids(backend, request(noise())))
        with pytest.raises(MediaError) as refused:
            await told(backend.generate(request(noise(), broken)))
        assert refused.value.param == "content[1]"
        assert len(await good) == 20
        assert backend.ready

    play(load(), scene)


def named(url: str, salt: bytes = b"") -> Request:
    parts = (MediaPart(MediaRef("image", "content[0].image_url", url=url)), TextPart("What is it?"))
    return Request("r", "small", (Message("user", parts),), SamplingParams(max_tokens=3), salt=salt)


def test_a_picture_sent_ahead_is_encoded_before_it_is_asked_for(load: Load) -> None:
    async def scene(backend: Native) -> None:
        kept = await backend.keep(MediaRef("image", "body", data=noise(seed=5)), b"a")
        assert (kept.kind, kept.size, kept.num_tokens) == ("image", (64, 96), 6)
        await asyncio.gather(*backend._ahead._tasks)
        assert not backend._answers
        (*_, last) = await told(backend.generate(named(f"media:{kept.digest}", b"a")))
        assert last.times is not None
        assert (last.times.decode_media, last.times.vision) == (0.0, 0.0), "neither decoded nor encoded again"
        fresh = await ids(backend, named("data:image/png;base64," + base64.b64encode(noise(seed=5)).decode(), b"b"))
        assert await ids(backend, named(f"media:{kept.digest}", b"a")) == fresh
        assert backend.keeps(kept.digest, b"a")
        assert not backend.keeps(kept.digest, b"b")
        for salt, url in ((b"b", f"media:{kept.digest}"), (b"a", "media:" + "0" * 64)):
            with pytest.raises(MediaError) as caught:
                await told(backend.generate(named(url, salt)))
            assert (caught.value.code, caught.value.param) == ("media_not_found", "content[0].image_url")

    play(load(), scene)


def test_what_is_sent_ahead_waits_for_those_who_wait(load: Load) -> None:
    async def scene(backend: Native) -> None:
        with backend._ahead.someone_waits():
            await backend.keep(MediaRef("image", "body", data=noise(seed=6)), b"")
            await asyncio.sleep(0.05)
            assert backend._ahead._tasks
            assert not backend._answers
        await asyncio.wait_for(asyncio.gather(*backend._ahead._tasks), 10)

    play(load(), scene)


def test_what_cannot_be_used_is_not_kept(load: Load) -> None:
    async def scene(backend: Native) -> None:
        for data in (b"", b"no picture", noise()[:-200], png(np.zeros((8, 2000, 3), np.uint8))):
            with pytest.raises(MediaError):
                await backend.keep(MediaRef("image", "body", data=data), b"")
        assert backend._pictures._fetcher.store.used == 0
        kept = await backend.keep(MediaRef("image", "body", data=clip(40, 10)), b"")
        assert (kept.kind, kept.num_tokens) == ("video", 16)

    play(load(), scene)


def test_cve_2026_0599_addresses_in_a_text_are_text(load: Load) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        text = f"![]({url}) <img src='{url}'> {url} [[image:{url}]]"

        async def scene(backend: Native) -> None:
            await ids(backend, request(text=text, max_tokens=2))

        play(load(), scene)
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_media_work_stays_off_the_event_loop(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    for name in ("decode", "prepare"):
        plain = getattr(pictures, name)

        def noted(*args: Any, plain: Any = plain) -> Any:
            places.append(threading.current_thread().name)
            return plain(*args)

        monkeypatch.setattr(pictures, name, noted)

    async def scene(backend: Native) -> None:
        await ids(backend, request(noise()))
        assert len(places) == 4  # two of them for the pixel of the start
        assert all(place.startswith("saccade-media") for place in places)

    play(load(), scene)


def test_a_failing_sequence_is_one_error(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = VisionTower.encode_slice

    def encode_slice(self: VisionTower, encoding: Encoding, last: int) -> None:
        if 16 in encoding.layout.cu_seqlens.diff():
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(self, encoding, last)

    monkeypatch.setattr(VisionTower, "encode_slice", encode_slice)

    async def scene(backend: Native) -> None:
        good = asyncio.create_task(ids(backend, request(noise())))
        with pytest.raises(EngineError, match="memory"):
            await told(backend.generate(request(noise(), noise(64, 64))))
        assert len(await good) == 20
        assert backend.ready

    play(load(), scene)


def test_a_broken_engine_ends_all_and_says_so(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(backend: Native) -> None:
        running = asyncio.create_task(ids(backend, request(max_tokens=2000)))
        await asyncio.sleep(0.05)

        def lost(*_: Any, **__: Any) -> Any:
            raise torch.AcceleratorError("unspecified launch failure", 719)

        monkeypatch.setattr(draws, "choose", lost)
        for task in (asyncio.create_task(ids(backend, request())), running):
            with pytest.raises(EngineError, match="restarted"):
                await task
        assert not backend.alive()
        assert not backend.ready
        with pytest.raises(EngineError, match="restarted"):
            await ids(backend, request())

    play(load(), scene)


def test_a_model_of_nan_does_not_start(load: Load) -> None:
    async def scene() -> None:
        backend = load()
        with torch.no_grad():
            backend._host._engine._runner._model.language.norm.weight.fill_(torch.nan)
        with pytest.raises(EngineError, match="no finite"):
            await backend.start()
        assert not backend.ready

    asyncio.run(scene())


def test_an_abandoned_answer_leaves_the_engine_at_once(load: Load) -> None:
    async def scene(backend: Native) -> None:
        deltas = backend.generate(request(noise(), max_tokens=5000))
        await anext(deltas)
        engine = backend._host._engine
        assert engine.has_work
        await deltas.aclose()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not engine.has_work:
                break
        assert not engine.has_work
        assert not backend._answers

    play(load(), scene)
