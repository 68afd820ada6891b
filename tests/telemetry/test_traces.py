"""Traces of real processes, sent to a real receiver of OTLP over HTTP."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from tests.clients import Client
from tests.system import wait_until
from tests.telemetry.receiver import receiving

pytestmark = pytest.mark.e2e

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def spans_in(receiver):
    """Each span that has arrived, with its service."""
    found = []
    for path, body in receiver.bodies:
        assert path == "/v1/traces"
        message = ExportTraceServiceRequest.FromString(body)
        for of_resource in message.resource_spans:
            attributes = {one.key: one.value for one in of_resource.resource.attributes}
            service = attributes["service.name"].string_value
            for of_scope in of_resource.scope_spans:
                found += [(service, span) for span in of_scope.spans]
    return found


def test_one_trace_goes_from_the_handshake_to_the_delivery(own_system_of):
    with receiving() as receiver:
        system = own_system_of(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{receiver.address}",
            OTEL_BSP_SCHEDULE_DELAY="100",  # ms
        )
        system.befriend("ann", "bob")
        given = {"traceparent": f"00-{TRACE}-{PARENT}-01"}

        def of_ann():
            spans = [span for _, span in spans_in(receiver)]
            return [one for one in spans if one.trace_id.hex() == TRACE]

        with (
            Client(system, "bob").opened() as bob,
            Client(system, "ann", headers=given),
        ):
            timestamp = bob.expect_change("ann", "online")["timestamp"]
            wait_until(lambda: len(of_ann()) == 4)
        ordered = sorted(of_ann(), key=lambda span: span.start_time_unix_nano)
        assert [span.name for span in ordered] == [
            *("handshake", "connect", "broadcast", "delivery"),
        ]
        parents = [span.parent_span_id.hex() for span in ordered]
        assert parents == [PARENT, *(span.span_id.hex() for span in ordered[:3])]
        for span in ordered:
            assert span.end_time_unix_nano >= span.start_time_unix_nano
        for span in ordered[2:]:
            attributes = {one.key: one.value.string_value for one in span.attributes}
            assert attributes["greendot.change"] == f"ann@{timestamp}"
        # Without a parent, a handshake begins a trace.
        services = {service for service, _ in spans_in(receiver)}
        roots = [one for _, one in spans_in(receiver) if not one.parent_span_id]
        assert services == {"greendot"}
        assert {one.name for one in roots} == {"handshake"}
