"""What a scrape tells, and what telling it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from saccade.backends.base import Echo
from saccade.errors import EngineError
from saccade.server.admission import Admission, Limits
from saccade.server.metrics import BOUNDS, VLLM_NAMES, Metrics
from saccade.types import CacheHits, Delta, EngineStats, MediaStats, Request, StageTimes, Usage

PATH = "/v1/chat/completions"
COUNTERS = {"hits": 7, "waits": 1, "misses": 2, "evictions": 3}
STATS = EngineStats(4, 5, 6, 8, 25, 100, 1000, 2000, 9, COUNTERS, {}, 10)
MEDIA = MediaStats(3000, 11, 12, 13, {"timeout": 14, "broken": 15, "unwanted": 16, "worn": 17})
CACHE = CacheHits("pixels", "host", 16, shared=True)
TIMES = StageTimes(1, 2, 3, 3.5, 4, 5, 6, 7, first_token=30, decode=80, cache=CACHE)
LAST = Delta(finish_reason="stop", usage=Usage(20, 5, image_tokens=12, video_tokens=4), times=TIMES)

Samples = dict[tuple[str, str], float]


class Talking(Echo):
    """An engine that says how it is; breaks down in the middle of "break"."""

    def stats(self) -> EngineStats | None:
        return STATS

    def media_stats(self) -> MediaStats | None:
        return MEDIA

    async def generate(self, request: Request) -> Any:
        number = 0
        async for delta in super().generate(request):
            yield delta
            number += 1
            if request.messages[0].parts[0].text == "break" and number == 2:
                raise EngineError("Broken.")


def read(text: str) -> Samples:
    """Value of each sample by its name and its labels but that of the model; without the event loop's, which changes
    all the time."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        if "event_loop" in family.name:
            continue
        for sample in family.samples:
            assert sample.labels.pop("model_name") == "echo"
            key = (sample.name, ",".join(f"{name}={value}" for name, value in sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples


def scrape(served: Any) -> Samples:
    answer = httpx.get(f"{served.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return read(answer.text)


def body(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture
def served(serve: Callable[..., Any]) -> Iterator[Any]:
    return serve(Talking())


def test_before_the_first_request(echo: Any, served: Any) -> None:
    told = scrape(served)
    assert told["saccade:e2e_request_latency_seconds_count", ""] == 0
    assert told["saccade:request_success_total", "finished_reason=stop"] == 0
    without_engine = scrape(echo)
    assert ("saccade:num_requests_running", "") not in without_engine
    assert ("saccade:prompt_tokens_total", "") in without_engine


def test_statuses_reasons_and_tokens(served: Any) -> None:
    url = served.url + PATH
    for fields, status in (({}, 200), ({"max_tokens": 2}, 200), ({"stream": True}, 200), ({"n": 99}, 400)):
        assert httpx.post(url, json=body(**fields)).status_code == status
    assert httpx.post(url, json=body() | {"model": "x"}).status_code == 404
    assert "Broken" in httpx.post(url, json=body("break", stream=True)).text
    told = scrape(served)
    assert {key: told["saccade:requests_total", f"status={key}"] for key in (200, 400, 404)} == {200: 4, 400: 1, 404: 1}
    reasons = {key: told["saccade:request_success_total", f"finished_reason={key}"] for key in ("stop", "length")}
    assert reasons == {"stop": 2, "length": 1}
    assert told["saccade:request_success_total", "finished_reason=error"] == 1
    assert told["saccade:request_success_total", "finished_reason=abort"] == 0
    assert told["saccade:prompt_tokens_total", ""] == 15
    assert told["saccade:generation_tokens_total", ""] == 12
    assert told["saccade:e2e_request_latency_seconds_count", ""] == 3
    assert told["saccade:request_vision_time_seconds_count", ""] == 0


def test_a_client_that_leaves(serve: Callable[..., Any]) -> None:
    served = serve(Echo(delay=0.02))
    with httpx.stream("POST", served.url + PATH, json=body("x" * 1000, stream=True)) as answer:
        next(answer.iter_raw())
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(served.url + PATH, json=body("x" * 1000), timeout=0.2)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        told = scrape(served)
        if ("saccade:requests_total", "status=499") in told:
            break
    assert told["saccade:request_success_total", "finished_reason=abort"] == 1
    assert told["saccade:requests_total", "status=499"] == 1
    assert told["saccade:requests_total", "status=200"] == 1


def test_what_the_engine_says(served: Any) -> None:
    told = scrape(served)
    assert told["saccade:num_requests_running", ""] == 4
    assert told["saccade:num_requests_waiting", ""] == 5
    assert told["saccade:kv_cache_usage_perc", ""] == 0.25
    assert told["saccade:num_preemptions_total", ""] == 8
    assert told["saccade:prefix_cache_hits_total", ""] == 9
    assert told["saccade:engine_restarts_total", ""] == 10
    assert told["saccade:feature_cache_hit_tokens_total", ""] == 7
    assert told["saccade:feature_cache_miss_tokens_total", ""] == 2
    assert told["saccade:feature_cache_evictions_total", ""] == 3
    assert told["saccade:feature_cache_bytes", "tier=device"] == 1000
    assert told["saccade:feature_cache_bytes", "tier=host"] == 2000


def test_what_became_of_files(echo: Any, served: Any) -> None:
    told = scrape(served)
    assert told["saccade:media_store_bytes", ""] == 3000
    assert told["saccade:media_store_requests_total", "found=hit"] == 11
    assert told["saccade:media_store_requests_total", "found=miss"] == 12
    assert told["saccade:media_store_evictions_total", ""] == 13
    reasons = {key: told["saccade:decoders_replaced_total", f"reason={key}"] for key in MEDIA.decoders_replaced}
    assert reasons == MEDIA.decoders_replaced
    assert ("saccade:media_store_bytes", "") not in scrape(echo)


def test_where_the_time_went() -> None:
    metrics = Metrics("echo", lambda: None, Admission(Limits(), lambda: 1), lambda: MEDIA)
    metrics.finished(LAST, time.perf_counter() - 0.2)
    told = read(metrics.exposition().decode())
    sums = {name.removeprefix("saccade:").removesuffix("_sum"): v for (name, _), v in told.items() if "_sum" in name}
    assert sums.pop("e2e_request_latency_seconds") == pytest.approx(0.2, abs=0.05)
    assert sums == pytest.approx({
        "request_fetch_time_seconds": 0.001,
        "request_decode_media_time_seconds": 0.002,
        "request_resize_time_seconds": 0.003,
        "request_hash_time_seconds": 0.0035,
        "request_tokenize_time_seconds": 0.004,
        "request_queue_time_seconds": 0.005,
        "request_vision_time_seconds": 0.006,
        "request_prefill_time_seconds": 0.007,
        "time_to_first_token_seconds": 0.03,
        "request_decode_time_seconds": 0.08,
        "request_time_per_output_token_seconds": 0.02,
    })  # fmt: skip
    buckets = [told["saccade:request_queue_time_seconds_bucket", f"le={bound}"] for bound in (*BOUNDS, "+Inf")]
    assert buckets == [float(bound >= 0.005) for bound in BOUNDS] + [1.0]
    assert told["saccade:picture_cache_requests_total", "level=pixels"] == 1
    assert told["saccade:picture_cache_requests_total", "level=digest"] == 0
    assert told["saccade:vision_cache_requests_total", "level=host"] == 1
    assert told["saccade:prompt_tokens_cached_total", ""] == 16
    assert told["saccade:shared_requests_total", ""] == 1
    assert told["saccade:image_tokens_total", ""] == 12
    assert told["saccade:video_tokens_total", ""] == 4


def test_names_of_vllm_are_told_when_asked_for(serve: Callable[..., Any]) -> None:
    plain, both = scrape(serve(Talking())), scrape(serve(Talking(), vllm_metrics=True))
    extra = {name: value for name, value in both.items() if name not in plain}
    assert {name for name, _ in plain if not name.startswith("saccade:")} == set()
    assert both.items() - extra.items() == plain.items()
    ours = {(name.replace("vllm:", "saccade:"), labels): value for (name, labels), value in extra.items()}
    assert ours.items() <= plain.items()
    stems = {name.removeprefix("vllm:") for name, _ in extra}
    assert all(any(stem.startswith(name) for stem in stems) for name in VLLM_NAMES)
    assert not any("vision" in stem or "feature" in stem for stem in stems)


def test_applications_do_not_share_figures(serve: Callable[..., Any]) -> None:
    one, other = serve(Echo()), serve(Echo())
    httpx.post(one.url + PATH, json=body())
    assert scrape(one)["saccade:prompt_tokens_total", ""] == 5
    assert scrape(other)["saccade:prompt_tokens_total", ""] == 0


def test_recording_costs_little() -> None:
    metrics = Metrics("echo", lambda: None, Admission(Limits(), lambda: 1), lambda: MEDIA)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(100):
            metrics.responded(200)
            metrics.finished(LAST, began)
        best = min(best, (time.perf_counter() - began) / 100)
    assert best < 20e-6


def test_paths_and_methods_make_no_series(served: Any) -> None:
    before = scrape(served).keys()
    with closing(httpx.Client()) as client:
        for number in range(20):
            client.request(f"M{number}", f"{served.url}/p{number}")
    assert scrape(served).keys() == before
