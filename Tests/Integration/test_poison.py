"""Bad records are dead-lettered, and disturb nothing around them."""

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from otlp import Maker, otlp_json, spans_in, traces_data
from outcomes import Outcomes, assert_same_spans
from topics import Record
from topologies import TailSampling

PARTITIONS = 3
FIVE_MEGABYTES = 5_000_000
# Just under the default of limits.record_bytes, 4 MiB.
LARGE = 3_800_000


def bad_records(maker: Maker) -> list[tuple[str, bytes | None, set[str]]]:
    """The kind of each, its bytes, and the valid reasons for it; none if any reason is valid."""
    cut = {"truncated", "length_past_end"}
    good = traces_data(maker.trace(maker.trace_id())).SerializeToString()
    garbage = maker.bytes(FIVE_MEGABYTES)
    with pytest.raises(DecodeError):
        TracesData.FromString(garbage)
    short_id = traces_data([Span(trace_id=b"short", span_id=maker.bytes(8))]).SerializeToString()
    return [
        ("a tombstone", None, {"tombstone"}),
        ("no bytes", b"", {"empty"}),
        ("random bytes", b"\x0f" + maker.bytes(300), {"invalid_tag"}),
        ("5 MB of random bytes", garbage, set()),
        ("JSON on a protobuf topic", otlp_json(traces_data(maker.trace(maker.trace_id()))), {"group"}),
        ("a record cut short", good[:-7], cut),
        ("100 MB claimed in 100 bytes", b"\x0a\x80\xc2\xd7\x2f" + maker.bytes(95), cut),
        ("a trace id of 5 bytes", short_id, {"identifier_length"}),
    ]


def large_trace(maker: Maker, trace_id: str) -> list[Span]:
    """A large record of one trace: one span of half its size, and many small ones."""
    root = maker.span(trace_id, name="root", padding=LARGE // 2)
    small = [maker.span(trace_id, root, padding=800) for _ in range(1900)]
    return [root, *small, maker.span(trace_id, root, error=True)]


def test_bad_records_are_dead_lettered_and_good_ones_decided(broker, run, read):
    topology = TailSampling("poison")
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)
    maker = Maker(seed=2)

    errors = {maker.trace_id() for _ in range(6)}
    others = {maker.trace_id() for _ in range(6)}
    traces = {each: maker.trace(each, error=each in errors) for each in sorted(errors | others)}
    large = maker.trace_id()
    large_record = traces_data(large_trace(maker, large)).SerializeToString()
    assert 0.9 * LARGE < len(large_record) < 4 << 20
    written = {}
    bad = bad_records(maker)

    def produce_bad(number: int, what: str, value: bytes | None, reasons: set[str]) -> None:
        key = [None, b"\x00not an id", large.encode()][number % 3]

        def note(message):
            written[message.partition(), message.offset()] = (what, value, key, reasons)

        broker.produce(topology.spans, value, key, number % PARTITIONS, note)

    # One span of each trace in turn, and a bad record after every six: all traces are open around them.
    rounds = [[spans[place] for spans in traces.values()] for place in range(4)]
    for place, spans in enumerate(rounds):
        for number, span in enumerate(spans):
            record = traces_data([span]).SerializeToString()
            broker.produce(topology.spans, record, span.trace_id.hex().encode(), number % PARTITIONS)
            if number % 6 == 5:
                which = 2 * place + number // 6
                produce_bad(which, *bad[which])
        if place == 1:
            broker.produce(topology.spans, large_record, large.encode(), 0)
            padded = maker.span(maker.trace_id(), error=True, padding=FIVE_MEGABYTES)
            oversized = traces_data([padded]).SerializeToString()
            produce_bad(len(bad), "5 MB of valid spans", oversized, {"record_too_large"})
    broker.flush()
    assert len(written) == len(bad) + 1

    worker = run(topology)
    reader = read(topology.spans, *topology.outputs)
    outcomes = Outcomes(topology, reader)
    outcomes.await_decisions([*traces, large], worker.require_running)
    letters = reader.records[topology.dead_letters]
    reader.until(lambda: len(letters) >= len(written), "the dead letters", worker.require_running)
    reader.quiet(0.5)

    def source(letter: Record) -> tuple[int, int]:
        return int(letter.headers["source_partition"]), int(letter.headers["source_offset"])

    found = {source(letter): letter for letter in letters}
    assert len(letters) == len(found) and found.keys() == written.keys()
    for place, letter in found.items():
        what, value, key, reasons = written[place]
        assert letter.value == value, f"{what}: the value is the record as it came"
        assert letter.key == key, what
        assert letter.headers["source_topic"].decode() == topology.spans, what
        reason = letter.headers["reason"].decode()
        assert reason in reasons if reasons else reason, f"{what}: {reason}"
        assert letter.headers["error"].decode().strip(), what

    assert {each: decision["verdict"] for each, decision in outcomes.final.items()} == {
        large: "keep",
        **{each: "keep" if each in errors else "drop" for each in traces},
    }
    for trace_id, decision in outcomes.final.items():
        assert decision["span_count"] == (1902 if trace_id == large else 4)
    good = [each for each in reader.records[topology.spans] if (each.partition, each.offset) not in written]
    expected = [span.kept("0") for span in spans_in(record.value for record in good)]
    assert_same_spans(
        (span for spans in outcomes.kept.values() for span in spans),
        (span for span in expected if span.trace_id in errors or span.trace_id == large),
    )
    outcomes.check_keys_and_partitions(good)

    assert worker.stop() == 0
    assert not broker.uncommitted(topology.group, topology.spans)
