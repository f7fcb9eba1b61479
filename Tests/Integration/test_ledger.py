"""Dropped traces in the ledger, read by another program: they are all there, once, with what is true of them."""

from collections import defaultdict

from ledger import Entry, Page
from otlp import Maker, spans_in, traces_data
from outcomes import Outcomes
from test_console import Console, produce
from topologies import ERRORS, TailSampling

PARTITIONS = 3
VETO = "{name: never, type: drop, drop: {drop_sub_policy: [{name: route, type: string_attribute, string_attribute: {key: http.route, values: [/never]}}]}}"
MILLISECOND = 1_000_000


def test_the_ledger_says_what_was_dropped(broker, run, read):
    topology = TailSampling("ledger", policies=(ERRORS, VETO), dropped="ledger")
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)
    worker = run(topology)
    maker = Maker(seed=16)
    dropped = produce(broker, topology, maker, 200)
    kept = produce(broker, topology, maker, 10, error=True)
    # An error, and a veto that counts for more.
    vetoed = maker.trace_id()
    root = maker.span(vetoed, name="never")
    for span in (root, maker.span(vetoed, root, error=True)):
        broker.produce(topology.spans, traces_data([span]).SerializeToString(), vetoed.encode())
    # Its root never comes.
    headless = maker.trace_id()
    orphan = maker.span(headless, maker.span(headless))
    broker.produce(topology.spans, traces_data([orphan]).SerializeToString(), headless.encode())
    broker.flush()

    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions([*dropped, *kept, vetoed, headless], worker.require_running)
    assert {decision["trace_id"] for _, decision in outcomes.decisions} == set(kept)
    offsets, partitions = defaultdict(list), {}
    starts: dict[str, int] = {}
    for record in outcomes.reader.records[topology.spans]:
        for span in spans_in([record.value]):
            offsets[span.trace_id].append(record.offset)
            partitions[span.trace_id] = record.partition
            starts[span.trace_id] = min(starts.get(span.trace_id, 1 << 63), span.message.start_time_unix_nano)
    versions = {decision["config"] for _, decision in outcomes.decisions}
    found: dict[str, Entry] = {}
    for record in outcomes.reader.records[topology.verdicts]:
        page = Page(record.value)
        assert record.key is None and record.partition == page.partition
        assert {page.configuration} == versions
        for entry in page:
            assert entry.trace_id not in found, "more than one verdict"
            assert partitions[entry.trace_id] == record.partition
            found[entry.trace_id] = entry
    assert found.keys() == {*dropped, vetoed, headless}
    for trace, entry in found.items():
        assert (entry.first_offset, entry.last_offset) == (min(offsets[trace]), max(offsets[trace]))
        assert entry.spans == len(offsets[trace])
        assert 0 <= entry.earliest_start - starts[trace] < 1 << 20
        assert 2_000 * MILLISECOND <= entry.decided_at - maker.now < 60_000 * MILLISECOND
        assert entry.vetoed == (trace == vetoed) and entry.errors == (trace == vetoed)
        assert entry.has_root == (trace != headless)
        assert entry.trigger == ("wait" if trace == headless else "root")
    metrics = Console(worker).metrics()
    assert metrics.value("tailrace_ledger_traces_total") == len(found)
    pages = outcomes.reader.records[topology.verdicts]
    assert metrics.value("tailrace_ledger_bytes_total") == sum(len(record.value) for record in pages)
    assert worker.stop() == 0

    # The next worker knows them: a late error brings its trace back, and nothing else is decided twice.
    worker = run(topology)
    for trace in dropped[:5]:
        late = maker.span(trace, maker.span(trace), error=True)
        broker.produce(topology.spans, traces_data([late]).SerializeToString(), trace.encode())
    broker.flush()
    outcomes.reader.until(
        lambda: outcomes.recalled == set(dropped[:5]), "their recalls", worker.require_running
    )
    assert sum(decision["late"] for _, decision in outcomes.decisions) == 5
    assert outcomes.final.keys() == {*dropped, *kept, vetoed, headless}
    assert worker.stop() == 0
