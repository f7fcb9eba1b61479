"""Spans in OTLP JSON are sampled like any others, and forwarded as protobuf."""

import json
from collections import defaultdict
from collections.abc import Iterable

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from otlp import MILLISECOND, Maker, otlp_json, spans_in, traces_data
from outcomes import Outcomes
from topologies import TailSampling


def rich(maker: Maker, trace_id: str) -> list[Span]:
    """An error trace whose spans use every field and every type of value."""
    spans = maker.trace(trace_id, error=True)
    leaf = spans[-1]
    leaf.flags = 0x301
    leaf.trace_state = "vendor=1"
    leaf.dropped_attributes_count, leaf.dropped_events_count, leaf.dropped_links_count = 1, 2, 3
    values = [
        AnyValue(string_value='größe "\\\n\t\u2028😀'),
        AnyValue(bool_value=False),
        AnyValue(int_value=-(2**63)),
        AnyValue(int_value=2**63 - 1),
        AnyValue(double_value=-1.5e-300),
        AnyValue(double_value=float("inf")),
        AnyValue(bytes_value=bytes(range(256))),
        AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(string_value="")])),
        AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(bool_value=True))])),
        AnyValue(),
    ]
    leaf.attributes.extend(
        KeyValue(key=f"value-{number}", value=value) for number, value in enumerate(values)
    )
    leaf.events.add(
        time_unix_nano=maker.now + MILLISECOND,
        name="exception",
        attributes=[KeyValue(key="message", value=values[0])],
        dropped_attributes_count=4,
    )
    link = leaf.links.add(trace_id=maker.bytes(16), span_id=maker.bytes(8), trace_state="a=b", flags=1)
    link.attributes.extend(leaf.attributes[:1])
    return spans


def as_other_producers_write_it(record: bytes) -> bytes:
    """The same record in other valid forms: 64-bit integers as numbers, upper-case ids, unknown fields."""

    def rewrite(node: object) -> object:
        if isinstance(node, list):
            return [rewrite(each) for each in node]
        if not isinstance(node, dict):
            return node
        other = {"unknown": {"deep": [1, "two", None]}}
        for key, value in reversed(node.items()):
            if key.endswith(("UnixNano", "intValue")):
                other[key] = int(value)
            elif key in ("traceId", "spanId", "parentSpanId"):
                other[key] = value.upper()
            else:
                other[key] = rewrite(value)
        return other

    return json.dumps(rewrite(json.loads(record)), indent=1, ensure_ascii=False).encode()


def contents(records: Iterable[bytes]) -> dict[str, list[tuple]]:
    """Resource, scope and span of each span, as Python values, by trace id; without tracestates."""
    found = defaultdict(list)
    for span in spans_in(records):
        envelope = (
            ResourceSpans.FromString(b"".join(span.resource)),
            ScopeSpans.FromString(b"".join(span.scope)),
        )
        found[span.trace_id].append(tuple(MessageToDict(each) for each in (*envelope, span.message)))
    return {trace_id: sorted(spans, key=lambda each: each[2]["spanId"]) for trace_id, spans in found.items()}


def test_json_in_protobuf_out(broker, run, read):
    topology = TailSampling("json", encoding="otlp_json")
    broker.create(topology.spans, partitions=1)
    maker = Maker(seed=4)
    error, plain, slow, foreign = (maker.trace_id() for _ in range(4))
    traces = {
        error: rich(maker, error),
        plain: maker.trace(plain),
        slow: maker.trace(slow, milliseconds=900),
        foreign: rich(maker, foreign),
    }
    bad = {
        b"tombstone": None,
        b"empty": b"",
        b"protobuf": traces_data(traces[plain]).SerializeToString(),
        b"cut": otlp_json(traces_data(traces[plain]))[:-9],
    }
    # The roots share a record, so it has to be split; the children follow the bad records.
    roots = traces_data([spans[0] for spans in traces.values()])
    broker.produce(topology.spans, otlp_json(roots), error.encode())
    for key, value in bad.items():
        broker.produce(topology.spans, value, key)
    for trace_id, spans in traces.items():
        record = otlp_json(traces_data(spans[1:]))
        if trace_id == foreign:
            record = as_other_producers_write_it(record)
        broker.produce(topology.spans, record, trace_id.encode())
    broker.flush()

    worker = run(topology)
    reader = read(*topology.outputs)
    outcomes = Outcomes(topology, reader)
    outcomes.await_decisions(traces, worker.require_running)
    letters = reader.records[topology.dead_letters]
    reader.until(lambda: len(letters) >= len(bad), "the dead letters", worker.require_running)

    verdicts = {trace_id: decision["verdict"] for trace_id, decision in outcomes.final.items()}
    assert verdicts == {error: "keep", plain: "drop", slow: "keep", foreign: "keep"}
    assert all(decision["span_count"] == 4 for decision in outcomes.final.values())
    sent = contents(traces_data(spans).SerializeToString() for spans in traces.values())
    del sent[plain]
    assert contents(record.value for record in reader.records[topology.sampled]) == sent
    states = {span.trace_state for spans in outcomes.kept.values() for span in spans}
    assert states == {"ot=th:0", "ot=th:0,vendor=1"}

    assert {letter.key: letter.value for letter in letters} == bad
    reasons = {letter.key: letter.headers["reason"].decode() for letter in letters}
    assert reasons[b"tombstone"] == "tombstone" and reasons[b"empty"] == "empty"
    assert reasons[b"protobuf"] == "invalid_json"
    assert worker.stop() == 0
