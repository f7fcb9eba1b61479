"""Spans in Jaeger's protobuf and Zipkin's JSON, encoded independently of the program."""

import json
from dataclasses import dataclass, field

MICROSECOND = 1000
SECOND = 1_000_000_000


@dataclass
class ForeignSpan:
    """What both have of a span."""

    trace_id: bytes
    span_id: bytes
    name: str
    start: int
    """In nanoseconds, whole microseconds."""
    duration: int
    service: str = "checkout"
    parent: bytes = b""
    kind: str = "server"
    error: bool = False
    tags: dict[str, str] = field(default_factory=dict)


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _bytes(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _time(nanoseconds: int) -> bytes:
    return _number(1, nanoseconds // SECOND) + _number(2, nanoseconds % SECOND)


def jaeger_proto(span: ForeignSpan) -> bytes:
    """A `jaeger.api_v2.Span`."""
    tags = [_bytes(1, name.encode()) + _bytes(3, value.encode()) for name, value in span.tags.items()]
    tags.append(_bytes(1, b"span.kind") + _bytes(3, span.kind.encode()))
    if span.error:
        tags.append(_bytes(1, b"error") + _number(2, 1) + _number(4, 1))
    parts = [_bytes(1, span.trace_id.rjust(16, b"\0")), _bytes(2, span.span_id), _bytes(3, span.name.encode())]
    if span.parent:
        parts.append(_bytes(4, _bytes(1, span.trace_id.rjust(16, b"\0")) + _bytes(2, span.parent)))
    parts += [_bytes(6, _time(span.start)), _bytes(7, _time(span.duration))]
    parts += [_bytes(8, tag) for tag in tags]
    parts.append(_bytes(10, _bytes(1, span.service.encode())))
    return b"".join(parts)


def zipkin_json(spans: list[ForeignSpan]) -> bytes:
    """A list of Zipkin's version 2."""

    def document(span: ForeignSpan) -> dict:
        found = {
            "traceId": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "name": span.name,
            "kind": span.kind.upper(),
            "timestamp": span.start // MICROSECOND,
            "duration": span.duration // MICROSECOND,
            "localEndpoint": {"serviceName": span.service},
            "tags": span.tags | ({"error": "true"} if span.error else {}),
        }
        return found | ({"parentId": span.parent.hex()} if span.parent else {})

    return json.dumps([document(span) for span in spans]).encode()
