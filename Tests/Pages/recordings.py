"""Reads a recording of real traces into documents of the console's API.

A recording is zstd of repeated little-endian u32 lengths, each followed by an OTLP ExportTraceServiceRequest.
"""

import io
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"]


def messages(path: Path) -> Iterator[ExportTraceServiceRequest]:
    with path.open("rb") as file:
        stream = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file))
        while header := stream.read(4):
            yield ExportTraceServiceRequest.FromString(stream.read(struct.unpack("<I", header)[0]))


def pairs(attributes: object) -> list[list]:
    return [
        [
            one.key,
            getattr(one.value, one.value.WhichOneof("value") or "string_value"),
            one.value.WhichOneof("value"),
        ]
        for one in attributes
        if one.value.WhichOneof("value") in ("string_value", "int_value", "bool_value", "double_value")
    ]


def documents(path: Path, most: int) -> dict[str, dict]:
    """The first traces of a recording, by id."""
    found: dict[str, dict] = {}
    resources: dict[str, dict[tuple, int]] = defaultdict(dict)
    for message in messages(path):
        for group in message.resource_spans:
            attributes = pairs(group.resource.attributes)
            service = next((value for key, value, _ in attributes if key == "service.name"), "")
            for scope in group.scope_spans:
                for span in scope.spans:
                    trace = span.trace_id.hex()
                    if trace not in found and len(found) == most:
                        continue
                    document = found.setdefault(
                        trace,
                        {
                            "trace_id": trace,
                            "spans": [],
                            "resources": [],
                            "decisions": [],
                            "logs": None,
                            "truncated": False,
                        },
                    )
                    key = tuple(map(str, attributes))
                    if key not in resources[trace]:
                        resources[trace][key] = len(document["resources"])
                        document["resources"].append(attributes)
                    document["spans"].append(
                        {
                            "span_id": span.span_id.hex(),
                            "parent_span_id": span.parent_span_id.hex() or None,
                            "service": service,
                            "operation": span.name,
                            "kind": KINDS[span.kind],
                            "start_ns": str(span.start_time_unix_nano),
                            "duration_ns": span.end_time_unix_nano - span.start_time_unix_nano,
                            "status": ["unset", "ok", "error"][span.status.code],
                            "status_message": span.status.message,
                            "attributes": pairs(span.attributes),
                            "resource": resources[trace][key],
                            "scope": f"{scope.scope.name} {scope.scope.version}",
                            "events": [],
                            "links": [],
                            "trace_state": span.trace_state,
                        }
                    )
    return found


def row(document: dict) -> dict:
    """A row of /v1/traces."""
    spans = document["spans"]
    root = max(
        (span for span in spans if not span["parent_span_id"]),
        key=lambda span: span["duration_ns"],
        default=spans[0],
    )
    errors = sum(span["status"] == "error" for span in spans)
    services: dict[str, int] = defaultdict(int)
    for span in spans:
        services[span["service"]] += 1
    reason = "errors" if errors else "baseline"
    return {
        "trace_id": document["trace_id"],
        "start_ns": min((span["start_ns"] for span in spans), key=int),
        "duration_ns": root["duration_ns"],
        "service": root["service"],
        "operation": root["operation"],
        "spans": len(spans),
        "errors": errors,
        "error": errors > 0,
        "slow": False,
        "reason": reason,
        "policy": reason,
        "adjusted_count": 1 if errors else 100,
        "services": [{"name": k, "spans": v} for k, v in list(services.items())[:10]],
        "late": False,
        "recalled": False,
        "truncated": False,
    }
