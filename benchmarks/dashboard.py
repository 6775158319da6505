"""Writes the dashboard of a server, deploy/grafana/dashboards/saccade.json: `python benchmarks/dashboard.py`.

Panels are rows of a table below, so that a name that changes is changed in one place; a test looks each of them up in
what /metrics tells.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards" / "saccade.json"
MODEL = 'model_name=~"$model"'


def rate(name: str, by: str = "") -> str:
    """Of a counter, each second."""
    return f"sum{f' by ({by})' if by else ''} (rate(saccade:{name}_total{{{MODEL}}}[$__rate_interval]))"


def quantile(share: float, name: str) -> str:
    """Of a histogram."""
    return f"histogram_quantile({share}, sum by (le) (rate(saccade:{name}_bucket{{{MODEL}}}[$__rate_interval])))"


def mean(name: str) -> str:
    """Of a histogram, in its unit."""
    window = f"{{{MODEL}}}[$__rate_interval]"
    return f"sum(rate(saccade:{name}_sum{window})) / sum(rate(saccade:{name}_count{window}))"


def gauge(name: str, more: str = "") -> str:
    """As it is."""
    return f"sum{f' by ({more})' if more else ''} (saccade:{name}{{{MODEL}}})"


def share(name: str, level: str, value: str) -> str:
    """Of a counter with levels, those of one value, 0 to 1."""
    return rate(name).replace(MODEL, f'{MODEL}, {level}="{value}"') + " / " + rate(name)


STAGES = (
    "request_fetch_time_seconds", "request_decode_media_time_seconds", "request_resize_time_seconds",
    "request_hash_time_seconds", "request_tokenize_time_seconds", "request_queue_time_seconds",
    "request_vision_time_seconds", "request_prefill_time_seconds",
)  # fmt: skip

ROWS: tuple[tuple[str, tuple[tuple[str, str, dict[str, str]], ...]], ...] = (
    (
        "What users feel",
        (
            ("First token", "s", {f"p{p}": quantile(p / 100, "time_to_first_token_seconds") for p in (50, 95, 99)}),
            (
                "Time per token",
                "s",
                {f"p{p}": quantile(p / 100, "request_time_per_output_token_seconds") for p in (50, 95, 99)},
            ),
            ("Whole answer", "s", {f"p{p}": quantile(p / 100, "e2e_request_latency_seconds") for p in (50, 95)}),
        ),
    ),
    (
        "Load",
        (
            ("Requests by status", "reqps", {"{{status}}": rate("requests", "status")}),
            ("Answers by their end", "reqps", {"{{finished_reason}}": rate("request_success", "finished_reason")}),
            (
                "Tokens",
                "short",
                {
                    "prompt": rate("prompt_tokens"),
                    "of pictures": rate("image_tokens"),
                    "of videos": rate("video_tokens"),
                    "answers": rate("generation_tokens"),
                },
            ),
            (
                "Requests here",
                "short",
                {
                    "running": gauge("num_requests_running"),
                    "waiting in the engine": gauge("num_requests_waiting"),
                    "without a first token": gauge("num_requests_queued"),
                },
            ),
        ),
    ),
    (
        "Where the time goes",
        (
            (
                "Mean of each stage before the first token",
                "s",
                {stage.removeprefix("request_").removesuffix("_time_seconds"): mean(stage) for stage in STAGES},
            ),
            ("Decode", "s", {"mean": mean("request_decode_time_seconds")}),
            (
                "Event loop: how late",
                "s",
                {
                    "p99": gauge("event_loop_lag_p99_seconds"),
                    "worst": gauge("event_loop_lag_max_seconds"),
                    "p99.9": quantile(0.999, "event_loop_lag_seconds"),
                },
            ),
        ),
    ),
    (
        "Caches",
        (
            (
                "Pictures whose file was known",
                "percentunit",
                {"digest": share("picture_cache_requests", "level", "digest")},
            ),
            ("Vision features", "reqps", {"{{level}}": rate("vision_cache_requests", "level")}),
            ("Prompt tokens from the prefix cache", "short", {"cached": rate("prompt_tokens_cached")}),
            ("Keys and values in use", "percentunit", {"used": gauge("kv_cache_usage_perc")}),
            ("Memory of vision features", "bytes", {"{{tier}}": gauge("feature_cache_bytes", "tier")}),
            (
                "Set back to make room",
                "short",
                {"requests": rate("num_preemptions"), "features evicted": rate("feature_cache_evictions")},
            ),
        ),
    ),
    (
        "Files",
        (
            ("Files sent ahead", "reqps", {"{{found}}": rate("media_store_requests", "found")}),
            (
                "Memory of files sent ahead",
                "bytes",
                {"held": gauge("media_store_bytes")},
            ),
            (
                "Processes replaced, files forgotten",
                "short",
                {
                    "decoder: {{reason}}": rate("decoders_replaced", "reason"),
                    "engine": rate("engine_restarts"),
                    "forgotten": rate("media_store_evictions"),
                },
            ),
        ),
    ),
)
"""(row, (panel, unit, {legend: expression}))."""


def dashboard() -> dict[str, Any]:
    """The whole of it, as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, y, 24, 1), "panels": []})
        y += 1
        for number, (name, unit, targets) in enumerate(row):
            panels.append(_panel(name, unit, targets, _place(number % 3 * 8, y + number // 3 * 8, 8, 8)))
        y += -(-len(row) // 3) * 8
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    model = {
        "name": "model",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(saccade:num_requests_queued, model_name)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }
    return {
        "title": "saccade",
        "uid": "saccade",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "tags": ["saccade"],
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}, model]},
        "panels": panels,
    }


_SOURCE = {"type": "prometheus", "uid": "${source}"}


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(title: str, unit: str, targets: dict[str, str], place: dict[str, int]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + n), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for n, (legend, expression) in enumerate(targets.items())
        ],
    }


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(dashboard(), indent=2) + "\n")
