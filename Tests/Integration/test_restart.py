"""A worker that ends in the middle of its windows and restarts loses no trace."""

import threading
import time
from collections import Counter

import pytest

from otlp import Maker, spans_in, traces_data
from outcomes import Outcomes
from topics import Broker
from topologies import TailSampling

PARTITIONS = 3
SECONDS_OF_LOAD = 9
TRACES_PER_SECOND = 60


class Load:
    """Traces in progress, on its own thread: four spans each, one every 0.5 s, errors in the last.

    So at any time some traces are incomplete, and no error trace can be recognised by its first three spans.
    """

    def __init__(self, broker: Broker, topic: str):
        self._broker, self._topic = broker, topic
        maker = Maker(seed=3)
        ids = [maker.trace_id() for _ in range(SECONDS_OF_LOAD * TRACES_PER_SECOND)]
        self.errors = set(ids[::7])
        self.traces = {each: maker.trace(each, error=each in self.errors) for each in ids}
        self._thread = threading.Thread(target=self._produce, name="load")
        self._thread.start()

    def _produce(self) -> None:
        # In every other trace two children precede their root.
        orders = [(0, 1, 2, 3), (1, 2, 0, 3)]
        due = [
            (number / TRACES_PER_SECOND + place * 0.5, number, spans[orders[number % 2][place]])
            for number, spans in enumerate(self.traces.values())
            for place in range(4)
        ]
        due.sort(key=lambda each: each[:2])
        began = time.monotonic()
        for at, number, span in due:
            time.sleep(max(0, began + at - time.monotonic()))
            record = traces_data([span]).SerializeToString()
            self._broker.produce(self._topic, record, span.trace_id.hex().encode(), number % PARTITIONS)
        self._broker.flush()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def finish(self) -> None:
        self._thread.join()


# A killed member is still in the group, and the suite's broker makes joining members wait for it, longer than its
# session. A static member gets its place back at once; a stopped one has left.
ENDINGS = {"killed": {"group.instance.id": "one"}, "stopped": {}}


@pytest.mark.parametrize("buffer", ["memory", "log"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_trace_is_lost(ending, buffer, broker, run, read):
    timeouts = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}
    topology = TailSampling(
        f"restart-{ending}-{buffer}",
        decision_wait="5s",
        decision_wait_after_root="3s",
        dropped="ledger",
        buffer=buffer,
        kafka={**timeouts, **ENDINGS[ending]},
    )
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)
    worker = run(topology)
    load = Load(broker, topology.spans)
    try:
        reader = read(topology.spans, *topology.outputs)
        outcomes = Outcomes(topology, reader)
        enough = len(load.traces) // 5
        reader.until(lambda: len(outcomes.decided) >= enough, "the first decisions", worker.require_running)
        if ending == "killed":
            worker.kill()
        else:
            assert worker.stop() == 0
        assert load.is_running, "the worker has to end while spans are coming"
        reader.poll()
        decided = outcomes.decided
        begun = {record.key.decode() for record in reader.records[topology.spans]}
        assert len(begun - decided) > TRACES_PER_SECOND, "too few traces were open to show anything"
        assert (begun - decided) & load.errors, "no error trace was open"
        worker = run(topology)
    finally:
        load.finish()
    outcomes.await_decisions(load.traces, worker.require_running)
    # With windows in the log, spans follow their decisions.
    spans = 4 * len(load.errors)
    reader.until(
        lambda: sum(map(len, outcomes.kept.values())) >= spans, "the kept spans", worker.require_running
    )
    reader.quiet(0.5)

    assert not reader.records[topology.dead_letters]
    assert outcomes.final.keys() == load.traces.keys()
    kept = {decision["trace_id"] for _, decision in outcomes.decisions if decision["verdict"] == "keep"}
    assert kept == load.errors
    whole = {each: Counter() for each in load.errors}
    for span in spans_in(record.value for record in reader.records[topology.spans]):
        if span.trace_id in load.errors:
            whole[span.trace_id][span.kept("0")] += 1
    assert all(len(spans) == 4 for spans in whole.values())
    assert {each: Counter(spans) for each, spans in outcomes.kept.items()} == whole
    assert worker.stop() == 0
    assert not broker.uncommitted(topology.group, topology.spans)
