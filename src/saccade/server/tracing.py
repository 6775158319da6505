"""Records become OpenTelemetry spans, one for each request to the model, by the conventions for generative AI: with the
extra `otel`, and only when an endpoint is configured. Spans hold names, sizes and times, and never what was said.

    span "chat MODEL"    |-- queue --|-- vision --|-- prefill --| first token |------ decode ------|
                         events, each with its milliseconds
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from saccade.errors import SettingsError
from saccade.server.records import Record
from saccade.types import Delta

EVENTS = ("fetch", "decode_media", "resize", "hash", "tokenize", "queue", "vision", "prefill")
"""Stages before the first token, in the order they are told."""
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
}


class Tracer:
    """Gives every record of a request to the model to an exporter."""

    def __init__(self, endpoint: str | None = None, exporter: Any = None) -> None:
        """`endpoint`: of OTLP over HTTP; None: as the OTEL_ variables say. `exporter` takes its place. Raises
        SettingsError when the extra is not installed."""
        try:
            self._trace = importlib.import_module("opentelemetry.trace")
            sdk = importlib.import_module("opentelemetry.sdk.trace")
            export = importlib.import_module("opentelemetry.sdk.trace.export")
            resources = importlib.import_module("opentelemetry.sdk.resources")
            context = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
            if exporter is None:
                otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
                exporter = otlp.OTLPSpanExporter(endpoint=endpoint) if endpoint else otlp.OTLPSpanExporter()
        except ImportError:
            raise SettingsError(
                "Spans need OpenTelemetry's packages.", param="otel_endpoint", hint="pip install 'saccade[otel]'"
            ) from None
        self._provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": "saccade"}))
        self._provider.add_span_processor(export.BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("saccade")
        self._context = context.TraceContextTextMapPropagator()

    def tell(self, record: Record) -> None:
        """One span for a request that reached the model."""
        if not record.requests:
            return
        operation = _OPERATIONS.get(record.route or "", "chat")
        span = self._tracer.start_span(
            f"{operation} {record.requests[0].model}",
            context=self._context.extract(dict(record.headers.items())),
            kind=self._trace.SpanKind.SERVER,
            start_time=record.began_ns,
            attributes={"gen_ai.operation.name": operation, **_attributes(record)},
        )
        for name, milliseconds, at in _stages(record):
            span.add_event(name, {"saccade.milliseconds": milliseconds}, timestamp=record.began_ns + int(at * 1e6))
        if record.status >= 500 or record.broken_off == "error":
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(record.began_ns + int(record.seconds * 1e9))

    def close(self) -> None:
        """Send what is left; takes some seconds at most."""
        self._provider.shutdown()


def _attributes(record: Record) -> dict[str, Any]:
    """What the conventions have names for, and our own beside it; without what is not known."""
    asked, sampling = record.requests[0], record.requests[0].sampling
    usages = [last.usage for last in record.lasts if last.usage]
    times = next((last.times for last in record.lasts if last.times), None)
    told = {
        "gen_ai.provider.name": "saccade",
        "gen_ai.request.model": asked.model,
        "gen_ai.response.model": asked.model,
        "gen_ai.response.id": asked.id,
        "gen_ai.output.type": "text",
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": sampling.top_k,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.choice.count": len(record.requests) if len(record.requests) > 1 else None,
        "gen_ai.response.finish_reasons": [last.finish_reason or "" for last in record.lasts] or None,
        "gen_ai.usage.input_tokens": usages[0].prompt_tokens if usages else None,
        "gen_ai.usage.output_tokens": sum(usage.completion_tokens for usage in usages) if usages else None,
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "error.type": record.error or record.broken_off,
        "saccade.request_id": record.id,
        "saccade.key": record.key,
        "saccade.pictures": len(asked.media),
        "saccade.image_tokens": usages[0].image_tokens if usages else None,
        "saccade.cache.pictures": times.cache.pictures if times else None,
        "saccade.cache.vision": times.cache.vision if times else None,
        "saccade.cache.prefix_tokens": times.cache.prefix_tokens if times else None,
        "saccade.cache.shared": times.cache.shared if times else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _stages(record: Record) -> Iterator[tuple[str, float, float]]:
    """(name, its milliseconds, milliseconds from the request's arrival to its end). Stages that overlap, such as those
    of several pictures, end with the first token at the latest."""
    last: Delta | None = next((last for last in record.lasts if last.times), None)
    if last is None or last.times is None:
        return
    at = 0.0
    for name in EVENTS:
        spent = getattr(last.times, name)
        at = min(at + spent, last.times.first_token)
        if spent:
            yield name, spent, at
    yield "first_token", last.times.first_token, last.times.first_token
    yield "decode", last.times.decode, last.times.first_token + last.times.decode
