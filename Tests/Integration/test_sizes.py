"""Records larger than an output topic's limit: nothing is lost, and no worker fails."""

import json

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from otlp import Maker, spans_in, traces_data
from outcomes import Outcomes
from topologies import ERRORS, EVERYTHING, TailSampling

SAMPLED, DECISIONS, DEAD_LETTERS = 100_000, 20_000, 150_000


def test_every_output_fits_its_topic(broker, run, read, write, tailrace):
    topology = TailSampling("sizes", policies=(ERRORS, EVERYTHING))
    broker.create(topology.spans, partitions=1)
    for name, limit in (
        (topology.sampled, SAMPLED),
        (topology.decisions, DECISIONS),
        (topology.dead_letters, DEAD_LETTERS),
    ):
        broker.create(name, partitions=1, config={"max.message.bytes": str(limit)})
    checked = tailrace("check", write(topology), "--connect")
    assert checked.returncode == 0
    for name, limit in ((topology.sampled, SAMPLED), (topology.dead_letters, DEAD_LETTERS)):
        assert f"warning: topic '{name}' accepts records of at most {limit} bytes" in checked.stdout

    maker = Maker(seed=31)
    produced = 0

    def produce(record: TracesData) -> int:
        """Returns the record's offset."""
        nonlocal produced
        key = record.resource_spans[0].scope_spans[0].spans[0].trace_id.hex().encode()
        broker.produce(topology.spans, record.SerializeToString(), key, 0)
        produced += 1
        return produced - 1

    # A span that only fits among dead letters, one that does not fit there either, and small ones.
    odd = maker.trace_id()
    root = maker.span(odd, error=True)
    small = [root, *(maker.span(odd, root, padding=500) for _ in range(600))]
    produce(traces_data(small))
    large, huge = maker.span(odd, root, padding=SAMPLED + 5000), maker.span(odd, root, padding=DEAD_LETTERS + 5000)
    places = {each.span_id.hex(): produce(traces_data([each])) for each in (large, huge)}
    # A resource that leaves little room for spans.
    heavy = maker.trace_id()
    top = maker.span(heavy, error=True)
    beside = [top, *(maker.span(heavy, top, padding=900) for _ in range(50))]
    produce(traces_data(beside, service="s" * (SAMPLED - 20_000)))
    # A decision of 256 services with long names.
    wide = maker.trace_id()
    first = maker.span(wide, error=True)
    for number in range(256):
        produce(traces_data([maker.span(wide, first)], service=f"{number:03}" + "w" * 250))
    produce(traces_data([first]))
    broker.flush()

    worker = run(topology)
    reader = read(topology.spans, *topology.outputs)
    outcomes = Outcomes(topology, reader)
    outcomes.await_decisions([odd, heavy, wide], worker.require_running)
    letters = reader.records[topology.dead_letters]
    reader.until(lambda: len(letters) >= 2, "the dead letters", worker.require_running)

    assert {letter.headers["span_id"].decode(): int(letter.headers["source_offset"]) for letter in letters} == places
    for letter in letters:
        assert letter.headers["reason"] == b"span_too_large"
        assert letter.headers["trace_id"] == odd.encode() == letter.key
    whole, left_out = sorted(letters, key=lambda letter: letter.value is None)
    assert [span.message.span_id for span in spans_in([whole.value])] == [large.span_id]
    assert left_out.value is None and int(left_out.headers["value_left_out_bytes"]) > DEAD_LETTERS

    assert len(outcomes.kept[odd]) == len(small)
    assert len(outcomes.kept[heavy]) == len(beside)
    assert len(outcomes.kept[wide]) == 257
    assert all(len(record.value) < SAMPLED for record in reader.records[topology.sampled])
    assert all(len(record.value) < DECISIONS for record in reader.records[topology.decisions])
    services = [json.loads(record.value).get("services") for record in reader.records[topology.decisions]]
    assert max(map(len, services)) < 100 and any(each[-1] == "(other services)" for each in services)
    assert worker.stop() == 0
    assert not broker.uncommitted(topology.group, topology.spans)


def test_a_topic_with_a_tiny_limit_is_refused(broker, write, tailrace):
    topology = TailSampling("sizes-tiny")
    broker.create(topology.spans, topology.sampled, topology.dead_letters, partitions=1)
    broker.create(topology.decisions, partitions=1, config={"max.message.bytes": "2000"})
    for command in (["check", write(topology), "--connect"], ["run", write(topology)]):
        result = tailrace(*command)
        assert result.returncode == 1, result.stdout
        assert f"topic '{topology.decisions}' accepts records of at most 2000 bytes" in result.stdout
