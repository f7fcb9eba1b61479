"""OTLP traces cut from the wire, and made by hand.

`spans_in` splits records without decoding spans, so that they can be compared byte for byte; nothing that it returns
was re-encoded.
"""

import base64
import itertools
import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status, TracesData

MILLISECOND = 1_000_000
_TRACE_STATE = 3


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in itertools.count(0, 7):
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The number, the content, and all bytes (with tag and length) of each field of an encoded message."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                content = at
                _, at = _varint(message, at)
            case 1:
                content, at = at, at + 8
            case 2:
                length, content = _varint(message, at)
                at = content + length
            case 5:
                content, at = at, at + 4
            case other:
                raise ValueError(f"wire type {other}")
        assert at <= len(message), "a field goes past the end"
        yield tag >> 3, message[content:at], message[start:at]


@dataclass(frozen=True)
class WireSpan:
    """One span as on the wire."""

    rest: bytes
    """The span's bytes without its tracestate, the only part that may change."""
    trace_state: str
    resource: tuple[bytes, ...]
    """The bytes of the resource and of the other fields of its `ResourceSpans` that describe it."""
    scope: tuple[bytes, ...]
    """The bytes of the scope and of the other fields of its `ScopeSpans` that describe it."""

    @property
    def message(self) -> Span:
        return Span.FromString(self.rest)

    @property
    def trace_id(self) -> str:
        return self.message.trace_id.hex()

    def kept(self, threshold: str) -> "WireSpan":
        """The same span as it must be when kept with `threshold`."""
        return WireSpan(self.rest, kept_trace_state(self.trace_state, threshold), self.resource, self.scope)


def spans_in(records: Iterable[bytes]) -> Iterator[WireSpan]:
    """The spans of encoded `TracesData`."""
    for record in records:
        for _, resource_spans, _ in fields(record):
            inner = list(fields(resource_spans))
            resource = tuple(raw for number, _, raw in inner if number != 2)
            for scope_spans in (content for number, content, _ in inner if number == 2):
                parts = list(fields(scope_spans))
                scope = tuple(raw for number, _, raw in parts if number != 2)
                for span in (content for number, content, _ in parts if number == 2):
                    split = list(fields(span))
                    yield WireSpan(
                        rest=b"".join(raw for number, _, raw in split if number != _TRACE_STATE),
                        trace_state="".join(
                            content.decode() for number, content, _ in split if number == _TRACE_STATE
                        ),
                        resource=resource,
                        scope=scope,
                    )


def probability_fields(trace_state: str) -> dict[str, str]:
    """The fields of the `ot` member: `th`, a span's threshold so far, and `rv`, its trace's randomness."""
    for member in trace_state.split(","):
        name, _, value = member.strip().partition("=")
        if name == "ot":
            return dict(field.partition(":")[::2] for field in value.split(";"))
    return {}


def _is_threshold(text: str) -> bool:
    return 1 <= len(text) <= 14 and all(digit in "0123456789abcdef" for digit in text)


def kept_trace_state(original: str, threshold: str) -> str:
    """The tracestate of a span that was kept with `threshold`.

    The greater of both thresholds applies; both are hexadecimal fractions, so they compare as text.
    A changed member moves to the front of the list. An invalid tracestate is left alone.
    """
    before = probability_fields(original)
    if (given := before.pop("th", None)) is not None:
        if not _is_threshold(given) or given.ljust(14, "0") >= threshold.ljust(14, "0"):
            return original
    own = ";".join([f"th:{threshold}", *(f"{name}:{value}" for name, value in before.items())])
    others = [member for member in original.split(",") if member and not member.strip().startswith("ot=")]
    return ",".join([f"ot={own}", *others])


def is_baseline(trace_id: str, trace_state: str, percentage: float) -> bool:
    """Whether consistent probability sampling keeps the trace, by its `rv` or else its id's last 56 bits."""
    randomness = int(probability_fields(trace_state).get("rv", trace_id[-14:]), 16)
    return randomness >= round((1 - percentage / 100) * 2**56)


# Handmade traces.


class Maker:
    """Makes spans with ids and sizes from a seed, and with current times."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)
        self.now = time.time_ns()

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def trace_id(self) -> str:
        return self.bytes(16).hex()

    def span(
        self,
        trace_id: str,
        parent: Span | None = None,
        *,
        name: str = "operation",
        error: bool = False,
        milliseconds: int = 20,
        padding: int = 0,
    ) -> Span:
        return Span(
            trace_id=bytes.fromhex(trace_id),
            span_id=self.bytes(8),
            parent_span_id=parent.span_id if parent else b"",
            name=name,
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=self.now,
            end_time_unix_nano=self.now + milliseconds * MILLISECOND,
            attributes=[
                KeyValue(key="http.route", value=AnyValue(string_value=f"/{name}")),
                KeyValue(key="size", value=AnyValue(int_value=self._random.randrange(2**40))),
                KeyValue(key="blob", value=AnyValue(bytes_value=self.bytes(padding))),
            ],
            status=Status(code=Status.STATUS_CODE_ERROR, message="refused") if error else None,
        )

    def trace(self, trace_id: str, *, error: bool = False, milliseconds: int = 20) -> list[Span]:
        """A root and three children, the last of which fails if `error`."""
        root = self.span(trace_id, name="root", milliseconds=milliseconds)
        children = [self.span(trace_id, root, name=name) for name in ("first", "second")]
        return [root, *children, self.span(trace_id, root, name="third", error=error)]


def traces_data(spans: Iterable[Span], service: str = "checkout") -> TracesData:
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=service))])
    scope = InstrumentationScope(name="by-hand", version="1")
    scope_spans = ScopeSpans(scope=scope, spans=spans, schema_url="urn:schema")
    return TracesData(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope_spans])])


def otlp_json(traces: TracesData) -> bytes:
    """The JSON form of OTLP: protobuf's, except that ids are hexadecimal and enumerations numbers."""

    def with_hexadecimal_ids(node: object) -> object:
        if isinstance(node, list):
            return [with_hexadecimal_ids(each) for each in node]
        if not isinstance(node, dict):
            return node
        return {
            key: base64.b64decode(value).hex()
            if key in ("traceId", "spanId", "parentSpanId")
            else with_hexadecimal_ids(value)
            for key, value in node.items()
        }

    return json.dumps(with_hexadecimal_ids(MessageToDict(traces, use_integers_for_enums=True))).encode()
