"""Spans of Jaeger and Zipkin, compressed by their producers or not, are sampled and come out as OTLP."""

import gzip
import json
from collections.abc import Callable

import cramjam
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from foreign import MICROSECOND, ForeignSpan, jaeger_proto, zipkin_json
from otlp import MILLISECOND, Maker, spans_in
from outcomes import Outcomes
from topologies import TailSampling

WRAPPINGS: list[Callable[[bytes], bytes]] = [
    lambda value: value,
    gzip.compress,
    lambda value: bytes(cramjam.zstd.compress(value)),
    lambda value: bytes(cramjam.snappy.compress(value)),
]


def trace(maker: Maker, id_bytes: int, *, error: bool = False) -> list[ForeignSpan]:
    """A root and its child, which may fail."""
    trace_id = maker.bytes(id_bytes)
    start = maker.now // MICROSECOND * MICROSECOND
    root = ForeignSpan(trace_id, maker.bytes(8), "root", start, 20 * MILLISECOND, tags={"http.route": "/root"})
    child = ForeignSpan(
        trace_id, maker.bytes(8), "child", start + MILLISECOND, 5 * MILLISECOND, "stock", root.span_id, "client", error
    )
    return [root, child]


def key(span: ForeignSpan) -> str:
    """As Jaeger's collector writes it: 16 digits for 64 bits."""
    return span.trace_id.hex()


def padded(span: ForeignSpan) -> str:
    return span.trace_id.rjust(16, b"\0").hex()


def facts(record: bytes) -> set[tuple]:
    """What must be left of each span in a record of kept spans."""
    found = set()
    for span in spans_in([record]):
        resource = ResourceSpans.FromString(b"".join(span.resource)).resource
        services = [each.value.string_value for each in resource.attributes if each.key == "service.name"]
        message = span.message
        failed = message.status.code == Status.STATUS_CODE_ERROR
        times = (message.start_time_unix_nano, message.end_time_unix_nano)
        route = tuple(each.value.string_value for each in message.attributes if each.key == "http.route")
        ids = (message.trace_id.hex(), message.span_id, message.parent_span_id)
        found.add((*ids, message.name, message.kind, *times, *services, failed, route))
    return found


def expected(span: ForeignSpan) -> tuple:
    kind = {"server": Span.SPAN_KIND_SERVER, "client": Span.SPAN_KIND_CLIENT}[span.kind]
    route = tuple(span.tags.values())
    ids = (padded(span), span.span_id, span.parent)
    return (*ids, span.name, kind, span.start, span.start + span.duration, span.service, span.error, route)


@pytest.mark.parametrize("encoding", ["jaeger_proto", "zipkin_json"])
def test_spans_of_others_are_sampled(encoding, broker, run, read):
    topology = TailSampling(f"encodings-{encoding.replace('_', '-')}", encoding=encoding)
    broker.create(topology.spans, partitions=1)
    maker = Maker(seed=18)
    failing = [trace(maker, 8 if number % 2 else 16, error=True) for number in range(2 * len(WRAPPINGS))]
    passing = [trace(maker, 16) for _ in WRAPPINGS]
    good = gzip.compress(zipkin_json(passing[0]))
    damaged = {
        b"cut": (good[:-12], "invalid_compression"),
        b"short id": (jaeger_proto(ForeignSpan(b"x", b"short", "a", 0, 0)), "identifier_length")
        if encoding == "jaeger_proto"
        else (b'[{"traceId":"1","id":"2"', "truncated"),
        b"bomb": (gzip.compress(b" " * (8 << 20)), "record_too_large"),
    }
    for number, spans in enumerate([*failing, *passing]):
        wrap = WRAPPINGS[number % len(WRAPPINGS)]
        values = [zipkin_json(spans)] if encoding == "zipkin_json" else [jaeger_proto(span) for span in spans]
        for value in values:
            broker.produce(topology.spans, wrap(value), key(spans[0]).encode())
        if number == 1:
            for name, (value, _) in damaged.items():
                broker.produce(topology.spans, value, name)
    broker.flush()

    worker = run(topology)
    reader = read(*topology.outputs)
    outcomes = Outcomes(topology, reader)
    kept, dropped = ({padded(spans[0]) for spans in traces} for traces in (failing, passing))
    outcomes.await_decisions(kept | dropped, worker.require_running)
    letters = reader.records[topology.dead_letters]
    reader.until(lambda: len(letters) >= len(damaged), "the dead letters", worker.require_running)

    verdicts = {trace_id: decision["verdict"] for trace_id, decision in outcomes.final.items()}
    assert verdicts == {trace_id: "keep" for trace_id in kept} | {trace_id: "drop" for trace_id in dropped}
    assert all(decision["span_count"] == 2 for decision in outcomes.final.values())
    sampled = reader.records[topology.sampled]
    found = set().union(*(facts(record.value) for record in sampled))
    assert found == {expected(span) for spans in failing for span in spans}
    assert {record.key.decode() for record in sampled} == kept

    reasons = {letter.key: (letter.value, letter.headers["reason"].decode()) for letter in letters}
    assert reasons == damaged
    assert worker.stop() == 0


def test_a_shared_span_is_kept_twice(broker, run, read):
    """The two halves of a call have one id in Zipkin: neither is taken for the other's repetition."""
    topology = TailSampling("encodings-shared", encoding="zipkin_json")
    broker.create(topology.spans, partitions=1)
    root, child = trace(Maker(seed=19), 8, error=True)
    half = json.loads(zipkin_json([child]))[0]
    other = half | {"kind": "SERVER", "shared": True, "localEndpoint": {"serviceName": "warehouse"}}
    for value in (zipkin_json([root]), json.dumps([half]).encode(), json.dumps([other]).encode()):
        broker.produce(topology.spans, value, key(root).encode())
    broker.flush()
    worker = run(topology)
    reader = read(*topology.outputs)
    outcomes = Outcomes(topology, reader)
    outcomes.await_decisions({padded(root)}, worker.require_running)
    assert outcomes.final[padded(root)]["span_count"] == 3
    spans = [span.message for record in reader.records[topology.sampled] for span in spans_in([record.value])]
    assert sorted(span.kind for span in spans) == [Span.SPAN_KIND_SERVER, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT]
    assert {span.parent_span_id for span in spans} == {b"", root.span_id}
    assert worker.stop() == 0
