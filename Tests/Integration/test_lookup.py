"""Very late spans: their traces' verdicts are forgotten, and looked up in Kafka."""

import time
from collections import Counter

import pytest
from otlp import spans_in
from outcomes import Outcomes, assert_same_spans
from test_console import Console
from test_recall import RETURNING, Traces
from topologies import TailSampling

PARTITIONS = 3
WAITS = {"decision_wait": "2s", "decision_wait_after_root": "1s", "late_window": "2s"}


@pytest.mark.parametrize("dropped", ["compact", "ledger"])
@pytest.mark.parametrize("end", ["stays", "killed"])
def test_very_late_spans_follow_the_old_verdict(end, dropped, broker, run, read):
    """Late errors bring dropped traces back, other spans change nothing; those of kept traces are kept."""
    topology = TailSampling(f"lookup-{end}-{dropped}", **WAITS, dropped=dropped, kafka=RETURNING)
    topology = topology.for_worker("one", lasting=True)
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)
    worker = run(topology)
    traces = Traces(broker, topology.spans, seed=41)
    plain, wanted, kept = traces.make(10), traces.make(10), traces.make(10)
    traces.send_errors(kept)
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions([*plain, *wanted, *kept], worker.require_running)
    assert outcomes.kept.keys() == set(kept)
    verdicts = outcomes.final
    if end == "killed":
        worker.kill()
        worker = run(topology)
    # Longer than late_window after the last verdict.
    time.sleep(5)

    traces.send_more([*plain, *kept])
    traces.send_errors(wanted)
    outcomes.reader.until(lambda: outcomes.recalled == set(wanted), "the recalls", worker.require_running)
    count = 5 * len(kept) + 4 * len(wanted)
    outcomes.reader.until(
        lambda: sum(map(len, outcomes.kept.values())) == count, "all spans", worker.require_running
    )
    traces.send_more([*wanted])
    count += len(wanted)
    outcomes.reader.until(
        lambda: sum(map(len, outcomes.kept.values())) == count, "what came after", worker.require_running
    )
    outcomes.reader.quiet(1)
    sent = spans_in(record.value for record in outcomes.reader.records[topology.spans])
    assert_same_spans(
        [span for spans in outcomes.kept.values() for span in spans],
        [span.kept("0") for span in sent if span.trace_id not in plain],
    )
    # One final verdict a trace: `final` objects to more.
    final = outcomes.final
    assert final.keys() == verdicts.keys()
    assert Counter(each["verdict"] for each in final.values()) == {"drop": 10, "keep": 20}
    assert all(final[each] == verdicts[each] for each in [*plain, *kept])
    # Each late span of a kept trace is said to be kept; a late error of a dropped one requests a recall. Those that
    # came last may have been looked up too.
    late = [each for _, each in outcomes.decisions if each["late"]]
    followed = {each["trace_id"] for each in late if each["verdict"] == "keep"}
    assert set(kept) <= followed <= {*kept, *wanted}
    assert sorted(each["trace_id"] for each in late if each.get("recall") == "requested") == sorted(wanted)
    if end == "stays":
        lookups = Console(worker).metrics().by("tailrace_verdict_lookups_total", "outcome")
        assert lookups["found"] >= 30 and lookups["refused"] == 0
    assert worker.stop() == 0
