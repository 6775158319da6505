"""What happened to requests and where their time went, for Prometheus; knows no sockets.

The event loop adds to plain numbers when a request ends, never for a token; only a scrape makes families and text of
them. Everything is touched by the event loop alone, so nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from time import perf_counter
from typing import Literal, get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from saccade.server.admission import Admission
from saccade.server.lag import Lag
from saccade.types import VISION_LEVELS, CacheHits, Delta, EngineStats, MediaStats, PictureLevel

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "saccade:"
VLLM_PREFIX = "vllm:"

BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""Upper bounds of the buckets of every histogram, in seconds."""

MEDIA_STAGES = {
    "request_fetch_time_seconds": ("fetch", "Reading the bytes of pictures and videos"),
    "request_decode_media_time_seconds": ("decode_media", "Decoding pictures and videos"),
    "request_resize_time_seconds": ("resize", "Resizing pictures and videos"),
    "request_hash_time_seconds": ("hash", "Digests of the files of pictures and videos"),
    "request_vision_time_seconds": ("vision", "Vision tower; 0 where the features were there already"),
}
"""Only of requests with pictures: (field of StageTimes, what it is)."""
STAGES = {
    "request_tokenize_time_seconds": ("tokenize", "Making the prompt's tokens"),
    "request_queue_time_seconds": ("queue", "Waiting in the engine"),
    "request_prefill_time_seconds": ("prefill", "Computing the prompt, without the vision tower"),
    "time_to_first_token_seconds": ("first_token", "From arrival to the first token"),
    "request_decode_time_seconds": ("decode", "From the first token to the last"),
}
PER_TOKEN = "request_time_per_output_token_seconds"
WHOLE = "e2e_request_latency_seconds"
LAG = "event_loop_lag_seconds"
DERIVED = {PER_TOKEN: "Mean of one request, without its first token", WHOLE: "From arrival to the end"}

TOKENS = {
    "prompt_tokens": "Tokens of prompts, pictures included",
    "image_tokens": "Of them, those of pictures",
    "video_tokens": "Of them, those of videos",
    "generation_tokens": "Tokens of answers",
}
"""Counters, of complete answers."""
FEATURES = {
    "feature_cache_hit_tokens": ("hits", "Vision features that were there already, in tokens"),
    "feature_cache_wait_tokens": ("waits", "Vision features that another request was having encoded, in tokens"),
    "feature_cache_miss_tokens": ("misses", "Vision features that had to be encoded, in tokens"),
    "feature_cache_evictions": ("evictions", "Pictures whose features were lost to make room"),
}
"""Counters: (field of the engine's feature counters, what it is)."""

VLLM_NAMES = frozenset({
    "request_queue_time_seconds", "request_prefill_time_seconds", "time_to_first_token_seconds",
    "request_decode_time_seconds", PER_TOKEN, WHOLE, "prompt_tokens", "prompt_tokens_cached", "generation_tokens",
    "request_success",
    "prefix_cache_hits", "num_preemptions", "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
})  # fmt: skip
"""What vLLM calls the same; only these are exported under its prefix too."""


class Histogram:
    """How many durations fell into each bucket, and their sum, in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Metrics(Collector):
    """The figures of one application."""

    def __init__(
        self,
        model: str,
        stats: Callable[[], EngineStats | None],
        admission: Admission,
        media: Callable[[], MediaStats | None],
        *,
        vllm_names: bool = False,
    ) -> None:
        """`stats` and `media` are asked at every scrape. `vllm_names`: tell what vLLM has too under its names as
        well."""
        self._model = model
        self._stats = stats
        self._admission = admission
        self._media_stats = media
        self._vllm_names = vllm_names
        self._histograms = {name: Histogram() for name in (*MEDIA_STAGES, *STAGES, *DERIVED)}
        self._media = [(field, self._histograms[name]) for name, (field, _) in MEDIA_STAGES.items()]
        self._stages = [(field, self._histograms[name]) for name, (field, _) in STAGES.items()]
        self._tokens = dict.fromkeys(TOKENS, 0)
        self._pictures: Counter[str] = Counter(dict.fromkeys(get_args(PictureLevel), 0))
        self._vision: Counter[str] = Counter(dict.fromkeys(VISION_LEVELS, 0))
        self._cached_tokens = self._shared = 0
        self._statuses: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter({"stop": 0, "length": 0, "abort": 0, "error": 0})
        self._lag_seconds = Histogram()
        self.lag = Lag(self._lag_seconds.add)
        """Of the event loop that serves."""
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def responded(self, status: int) -> None:
        """The status of a request is known; 499: the client left before."""
        self._statuses[str(status)] += 1

    def finished(self, last: Delta, arrived: float) -> None:
        """An answer is complete: its last delta, and the perf_counter when the request came."""
        usage, times = last.usage, last.times
        assert last.finish_reason, "it is the last delta"
        assert usage, "it is the last delta"
        assert times, "it is the last delta"
        self._reasons[last.finish_reason] += 1
        self._count_caches(times.cache)
        for field, histogram in self._stages:
            histogram.add(getattr(times, field) / 1e3)
        if usage.image_tokens or usage.video_tokens:
            for field, histogram in self._media:
                histogram.add(getattr(times, field) / 1e3)
        if usage.completion_tokens > 1:
            self._histograms[PER_TOKEN].add(times.decode / 1e3 / (usage.completion_tokens - 1))
        self._histograms[WHOLE].add(perf_counter() - arrived)
        self._tokens["prompt_tokens"] += usage.prompt_tokens
        self._tokens["image_tokens"] += usage.image_tokens
        self._tokens["video_tokens"] += usage.video_tokens
        self._tokens["generation_tokens"] += usage.completion_tokens

    def _count_caches(self, cache: CacheHits) -> None:
        if cache.pictures:
            self._pictures[cache.pictures] += 1
        if cache.vision:
            self._vision[cache.vision] += 1
        self._cached_tokens += cache.prefix_tokens
        self._shared += cache.shared

    def broken_off(self, reason: Literal["abort", "error"]) -> None:
        """A stream ended before its answer was complete: the client left, or we failed."""
        self._reasons[reason] += 1

    def exposition(self) -> bytes:
        """The text of a scrape, of type CONTENT_TYPE."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Everything, and once more under vLLM's names if that is wanted."""
        families = list(self._families(PREFIX))
        yield from families
        if self._vllm_names:
            for family in self._families(VLLM_PREFIX):
                if family.name.removeprefix(VLLM_PREFIX) in VLLM_NAMES:
                    yield family

    def _families(self, prefix: str) -> Iterator[Metric]:
        for name, histogram in self._histograms.items():
            text = DERIVED[name] if name in DERIVED else (MEDIA_STAGES | STAGES)[name][1]
            yield self._histogram(prefix + name, f"{text}, in seconds", histogram)
        yield self._histogram(prefix + LAG, "How late the event loop wakes, in seconds", self._lag_seconds)
        late = {"": self.lag.p99}
        yield self._gauge(prefix + "event_loop_lag_p99_seconds", "99th percentile of that in the last minute", late)
        late = {"": self.lag.worst}
        yield self._gauge(prefix + "event_loop_lag_max_seconds", "The worst of it in the last minute", late)
        for name, text in TOKENS.items():
            yield self._counter(prefix + name, text, {"": self._tokens[name]})
        cached = {"": self._cached_tokens}
        yield self._counter(prefix + "prompt_tokens_cached", "Of them, those for which nothing was computed", cached)
        found = "Answers about pictures by how they were found"
        text = f"{found}: file known, its pixels known, neither"
        yield self._counter(prefix + "picture_cache_requests", text, self._pictures, "level")
        text = f"{found}: not needed, on the device, in host memory, being encoded, nowhere"
        yield self._counter(prefix + "vision_cache_requests", text, self._vision, "level")
        text = "Answers that were those of an equal request in flight"
        yield self._counter(prefix + "shared_requests", text, {"": self._shared})
        yield self._counter(prefix + "requests", "Requests to the model by HTTP status", self._statuses, "status")
        ended = "Answers by why they ended; abort, error: streams that broke off"
        yield self._counter(prefix + "request_success", ended, self._reasons, "finished_reason")
        queued = {"": self._admission.waiting}
        yield self._gauge(prefix + "num_requests_queued", "Requests without a first token, here or there", queued)
        tokens = {"": self._admission.tokens}
        yield self._gauge(prefix + "num_tokens_queued", "Tokens of their prompts, as estimated", tokens)
        if stats := self._stats():
            yield from self._of_engine(prefix, stats)
        if media := self._media_stats():
            yield from self._of_media(prefix, media)

    def _of_media(self, prefix: str, stats: MediaStats) -> Iterator[Metric]:
        found = {"hit": stats.store_hits, "miss": stats.store_misses}
        text = "Looks for files that were sent ahead, by what was found"
        yield self._counter(prefix + "media_store_requests", text, found, "found")
        lost = {"": stats.store_evictions}
        yield self._counter(
            prefix + "media_store_evictions", "Of these files, those forgotten to make room or idle", lost
        )
        yield self._gauge(prefix + "media_store_bytes", "Memory that these files take", {"": stats.store_bytes})
        text = "Decoder processes replaced by why: too slow, died or broken, not waited for, after many files"
        yield self._counter(prefix + "decoders_replaced", text, stats.decoders_replaced, "reason")

    def _of_engine(self, prefix: str, stats: EngineStats) -> Iterator[Metric]:
        for name, (field, text) in FEATURES.items():
            yield self._counter(prefix + name, text, {"": stats.feature_counters[field]})
        hits = "Prompt tokens whose keys and values were there already"
        yield self._counter(prefix + "prefix_cache_hits", hits, {"": stats.prefix_hits})
        yield self._counter(prefix + "num_preemptions", "Requests set back to make room", {"": stats.preemptions})
        text = "Processes of the engine that took the place of one that died or hung"
        yield self._counter(prefix + "engine_restarts", text, {"": stats.restarts})
        yield self._gauge(prefix + "num_requests_running", "Requests being computed", {"": stats.running})
        yield self._gauge(prefix + "num_requests_waiting", "Requests waiting in the engine", {"": stats.waiting})
        share = stats.kv_blocks_used / stats.kv_blocks
        yield self._gauge(prefix + "kv_cache_usage_perc", "Keys and values in use; 1: all", {"": share})
        held = {"device": stats.feature_bytes_used, "host": stats.host_feature_bytes_used}
        yield self._gauge(prefix + "feature_cache_bytes", "Memory that vision features take", held, "tier")

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        ends = (*map(str, BOUNDS), "+Inf")
        buckets = list(zip(ends, map(float, accumulate(histogram.counts)), strict=True))
        family = HistogramMetricFamily(name, f"{text}.", labels=["model_name"])
        family.add_metric([self._model], buckets, histogram.total)
        return family

    def _counter(self, name: str, text: str, values: Mapping[str, int], label: str = "") -> Metric:
        family = CounterMetricFamily(name, f"{text}.", labels=["model_name", *([label] if label else [])])
        for key, value in values.items():
            family.add_metric([self._model, *([key] if label else [])], value)
        return family

    def _gauge(self, name: str, text: str, values: Mapping[str, float], label: str = "") -> Metric:
        family = GaugeMetricFamily(name, f"{text}.", labels=["model_name", *([label] if label else [])])
        for key, value in values.items():
            family.add_metric([self._model, *([key] if label else [])], value)
        return family
