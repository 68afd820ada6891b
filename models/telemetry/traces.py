"""Traces: the spans of a change, from the handshake to the friend's gateway.

They are off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Then this imports
OpenTelemetry, which needs the packages of requirements-otel.txt. There are four kinds
of span, so they are made by hand. OpenTelemetry's instrumentation of Flask and Redis
would cost something with each heartbeat, and keep a span open as long as a socket.

The context travels in the cause of a change (`models.telemetry.causes`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from config import Settings
from models.telemetry import causes

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SERVICE = "greendot"

_providers: list[TracerProvider] = []
"""The provider of this process, if traces are on."""


def start(settings: Settings) -> None:
    """Start to send traces, if `settings` asks for them. Call it after the fork: the
    sender is a thread."""
    if settings.otel_exporter_otlp_endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": SERVICE}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _providers[:] = [provider]


def stop() -> None:
    """Send the spans that are still here, and no more."""
    for provider in _providers:
        provider.shutdown()
    _providers.clear()


def root_span(name: str, began: int, parent: str, attributes: dict[str, str]) -> str:
    """Make a span for a client's request, from `began` (ns since the epoch) until now.
    `parent` is the traceparent that the client has sent, or empty. Returns the
    traceparent of the span; empty if traces are off."""
    if not _providers:
        return ""
    span = _begin(name, parent, attributes, began)
    span.end()
    return _traceparent(span)


@contextmanager
def spans(
    name: str, caused_by: Iterable[tuple[str, str]], **attributes: str
) -> Iterator[Sequence[str] | None]:
    """A span around the block for each traced change in `caused_by`, which has the
    cause and the id of each. Yields the causes with these spans, in the same order.
    Yields None if no change is traced."""
    if not _providers:
        yield None
        return
    found: list[Any] = []
    changed = []
    for cause, change in caused_by:
        if parent := causes.traceparent_in(cause):
            span = _begin(name, parent, {**attributes, "greendot.change": change})
            found.append(span)
            cause = causes.with_traceparent(cause, _traceparent(span))  # noqa: PLW2901
        changed.append(cause)
    try:
        yield changed if found else None
    finally:
        for span in found:
            span.end()


def _begin(
    name: str, parent: str, attributes: dict[str, str], began: int | None = None
) -> Any:  # noqa: ANN401 - imported only if traces are on
    from opentelemetry.trace import SpanKind  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    (provider,) = _providers
    context = TraceContextTextMapPropagator().extract({"traceparent": parent})
    return provider.get_tracer(SERVICE).start_span(
        name,
        context,
        SpanKind.INTERNAL if began is None else SpanKind.SERVER,
        attributes,
        start_time=began,
    )


def _traceparent(span: Any) -> str:  # noqa: ANN401
    """The W3C header for `span`. Empty if the sampler has left it out."""
    found = span.get_span_context()
    if not found.trace_flags.sampled:
        return ""
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-01"
