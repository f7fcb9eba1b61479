"""Recall: dropped traces whose error or slow root comes after the verdict are read again from Kafka, and kept whole."""

import struct
import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp import Maker, WireSpan, spans_in, traces_data
from outcomes import Outcomes, assert_same_spans
from test_console import Console
from topics import Broker
from topologies import SLOW_MILLISECONDS, TailSampling

PARTITIONS = 3
SECOND = 1_000_000_000
WAITS = {"decision_wait": "2s", "decision_wait_after_root": "1s"}
# A killed static member gets its place back at once.
RETURNING = {"group.instance.id": "one", "session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}
LARGE = 3 << 20
"""Bytes of a span that is worth 48 s of reading at 64 KiB a second."""


class Traces:
    """Traces that are dropped, and the spans that come after."""

    def __init__(self, broker: Broker, topic: str, seed: int):
        self._broker, self._topic, self.maker = broker, topic, Maker(seed)
        self.roots: dict[str, Span] = {}
        """The root of each trace: the first of its spans that is sent, or the last."""

    def send(self, *spans: Span) -> None:
        for span in spans:
            record = traces_data([span]).SerializeToString()
            self._broker.produce(self._topic, record, span.trace_id.hex().encode())
        self._broker.flush()

    def make(self, count: int, *, slow: bool = False, padding: int = 0) -> list[str]:
        """Sends traces that nothing speaks for. The root of a slow one is not sent."""
        ids = [self.maker.trace_id() for _ in range(count)]
        for each in ids:
            root = self.maker.span(each, name="root", milliseconds=SLOW_MILLISECONDS + 50 if slow else 20)
            self.roots[each] = root
            self.send(*[root] * (not slow), *(self.maker.span(each, root, padding=padding) for _ in range(2)))
        return ids

    def send_errors(self, ids: list[str]) -> None:
        self.send(*(self.maker.span(each, self.roots[each], name="late", error=True) for each in ids))

    def send_more(self, ids: list[str]) -> None:
        self.send(*(self.maker.span(each, self.roots[each], name="after") for each in ids))


def check(outcomes: Outcomes, late_errors: list[str], late_roots: list[str], more: int = 0) -> None:
    """Each trace was dropped once and recalled once, and its spans are there once.

    `more` spans of each trace came after its recall was requested.
    """
    wanted = {**dict.fromkeys(late_errors, "errors"), **dict.fromkeys(late_roots, "slow")}
    sent: dict[str, list[WireSpan]] = {}
    for span in spans_in(record.value for record in outcomes.reader.records[outcomes.topology.spans]):
        sent.setdefault(span.trace_id, []).append(span)
    final, late = outcomes.final, [each for _, each in outcomes.decisions if each["late"]]
    assert final.keys() == sent.keys()
    assert sorted(each["trace_id"] for each in late) == sorted(wanted), "one request for each trace"
    for trace, decision in final.items():
        if trace not in wanted:
            assert decision["verdict"] == "drop"
            continue
        assert decision["verdict"] == "keep" and decision["revised"] and decision["trigger"] == "recall"
        assert decision["recall"] == "done" and decision["threshold"] == "0"
        assert decision["reasons"] == [wanted[trace]]
        assert decision["span_count"] == len(sent[trace]) - more
    for request in late:
        trace = request["trace_id"]
        assert (request["verdict"], request["recall"]) == ("drop", "requested")
        assert request["reasons"] == [wanted[trace]]
        assert request["first_offset"] == final[trace]["first_offset"] <= request["recall_until"]
        assert request["recall_until"] < request["last_offset"] == final[trace]["last_offset"]
        assert request["decided_at"] == final[trace]["decided_at"]
    assert_same_spans(
        [span for spans in outcomes.kept.values() for span in spans],
        [span.kept("0") for trace in wanted for span in sent[trace]],
    )


def test_late_errors_and_slow_roots_bring_their_traces_back(broker, run, read):
    topology = TailSampling("recall", **WAITS)
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)
    worker = run(topology)
    traces = Traces(broker, topology.spans, seed=31)
    plain, late_errors, late_roots = traces.make(20), traces.make(20), traces.make(10, slow=True)
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions([*plain, *late_errors, *late_roots], worker.require_running)
    assert not outcomes.kept

    traces.send_errors(late_errors)
    traces.send(*(traces.roots[each] for each in late_roots))
    wanted = {*late_errors, *late_roots}
    outcomes.reader.until(lambda: outcomes.recalled == wanted, "the recalls", worker.require_running)
    # What comes now follows the new verdict.
    traces.send_more([*late_errors, *late_roots])
    spans = 5 * len(late_errors) + 4 * len(late_roots)
    outcomes.reader.until(
        lambda: sum(map(len, outcomes.kept.values())) == spans, "all spans", worker.require_running
    )
    check(outcomes, late_errors, late_roots, more=1)
    metrics = Console(worker).metrics()
    states = {"requested": len(wanted), "done": len(wanted), "refused": 0, "partial": 0, "gone": 0}
    assert metrics.by("tailrace_recalls_total", "state") == states
    assert metrics.value("tailrace_recalled_spans_total") == spans - len(wanted)
    assert metrics.value("tailrace_read_again_records_total") >= spans - len(wanted)
    assert metrics.value("tailrace_recalls_waiting") == 0
    assert worker.stop() == 0


@pytest.mark.parametrize("dropped", ["compact", "ledger"])
def test_a_request_outlives_its_worker(dropped, broker, run, read):
    name = f"recall-{dropped}"
    slow = TailSampling(name, **WAITS, dropped=dropped, recall_bytes_per_second="64KiB", kafka=RETURNING)
    slow = slow.for_worker("one", lasting=True)
    fast = TailSampling(name, **WAITS, dropped=dropped, kafka=RETURNING).for_worker("one", lasting=True)
    broker.create(slow.spans, *slow.outputs, partitions=PARTITIONS)
    worker = run(slow)
    traces = Traces(broker, slow.spans, seed=32)
    # One large trace uses up what may be read again: the others' requests wait.
    large, plain = traces.make(1, padding=LARGE // 2), traces.make(10)
    late_errors, late_roots = traces.make(30, padding=2000), traces.make(10, slow=True)
    outcomes = Outcomes(slow, read(slow.spans, *slow.outputs))
    outcomes.await_decisions([*large, *plain, *late_errors, *late_roots], worker.require_running)
    traces.send_errors(large)
    outcomes.reader.until(lambda: outcomes.recalled == set(large), "the large one", worker.require_running)

    traces.send_errors(late_errors)
    traces.send(*(traces.roots[each] for each in late_roots))
    wanted = {*large, *late_errors, *late_roots}
    outcomes.reader.until(lambda: outcomes.recalls_requested == wanted, "the requests", worker.require_running)
    # These are forwarded at once, while their traces' recalls wait.
    traces.send_more(sorted(wanted))
    outcomes.reader.until(
        lambda: sum(map(len, outcomes.kept.values())) == 4 + len(wanted), "what came after", worker.require_running
    )
    metrics = Console(worker).metrics()
    assert metrics.value("tailrace_recalls_waiting") == len(wanted) - 1
    assert metrics.value("tailrace_recall_age_seconds") > 0
    worker.kill()

    # The next one dies as soon as it has written something, committed or not.
    everything = read(slow.decisions, isolation="read_uncommitted")
    second = Outcomes(slow, everything)
    worker = run(fast)
    everything.until(lambda: len(second.recalled) > 1, "a recall", worker.require_running)
    worker.kill()

    worker = run(fast)
    outcomes.reader.until(lambda: outcomes.recalled == wanted, "the recalls", worker.require_running)
    outcomes.reader.quiet(1)
    check(outcomes, [*large, *late_errors], late_roots, more=1)
    assert Console(worker).metrics().value("tailrace_recalls_waiting") == 0
    assert worker.stop() == 0


@pytest.mark.parametrize("kind", ["timed-out", "slow"])
def test_a_root_that_outlasts_the_wait_is_kept_whole(kind, broker, run, read):
    """A root of 30.011 s is the only thing that speaks for its trace, and the wait is 20 s: ten times as fast."""
    topology = TailSampling(f"recall-{kind}", decision_wait="2s", decision_wait_after_root="1s")
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)
    worker = run(topology)
    traces = Traces(broker, topology.spans, seed=35)
    begun = time.monotonic()
    ids = traces.make(5, slow=True)
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    for each in ids:
        root = traces.roots[each]
        root.end_time_unix_nano = root.start_time_unix_nano + 3_001_100_000
        if kind == "timed-out":
            root.status.code = Status.STATUS_CODE_ERROR
    outcomes.await_decisions(ids, worker.require_running)
    assert {each["verdict"] for each in outcomes.final.values()} == {"drop"}
    # Roots arrive when they end.
    time.sleep(max(0, begun + 3.2 - time.monotonic()))
    traces.send(*(traces.roots[each] for each in ids))
    outcomes.reader.until(lambda: outcomes.recalled == set(ids), "the recalls", worker.require_running)
    outcomes.reader.quiet(0.5)
    reasons = ["errors", "slow"] if kind == "timed-out" else ["slow"]
    for decision in outcomes.final.values():
        assert (decision["verdict"], decision["recall"], decision["reasons"]) == ("keep", "done", reasons)
        assert decision["span_count"] == 3
    sent = spans_in(record.value for record in outcomes.reader.records[topology.spans])
    kept = [span for spans in outcomes.kept.values() for span in spans]
    assert_same_spans(kept, [span.kept("0") for span in sent])
    assert worker.stop() == 0


def test_without_a_recall_window_late_errors_are_only_reported(broker, run, read):
    topology = TailSampling("recall-off", **WAITS, recall_window="0s")
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)
    worker = run(topology)
    traces = Traces(broker, topology.spans, seed=33)
    ids = traces.make(5)
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions(ids, worker.require_running)
    traces.send_errors(ids)
    outcomes.reader.until(
        lambda: sum(each["late"] for _, each in outcomes.decisions) == len(ids), "reports", worker.require_running
    )
    outcomes.reader.quiet(0.5)
    assert not outcomes.kept and not outcomes.recalls_requested and not outcomes.recalled
    assert worker.stop() == 0


def recording(maker: Maker, kind: str) -> list[Span]:
    """Spans in the order in which they end, the last of which only lets time pass."""
    trace = maker.trace_id()
    root = maker.span(trace, name="root")
    child = maker.span(trace, root, name="child")
    if kind == "slow root":
        root.end_time_unix_nano = root.start_time_unix_nano + 45 * SECOND
        others, ends = [maker.span(maker.trace_id(), name="other")], [31 * SECOND]
        spans = [child, *others, root]
    elif kind == "timed-out root":
        root = maker.span(trace, name="root", error=True)
        child.parent_span_id = root.span_id
        spans, others, ends = [child, root], [], []
        root.end_time_unix_nano = root.start_time_unix_nano + 30 * SECOND + 11_000_000
        child.end_time_unix_nano = child.start_time_unix_nano + 10_000_000
    else:
        error = maker.span(trace, root, name="late", error=True)
        others, ends = [maker.span(maker.trace_id(), name="other"), error], [7 * SECOND, 20 * SECOND]
        spans = [root, child, *others]
    for span, end in zip(others, ends):
        span.start_time_unix_nano, span.end_time_unix_nano = maker.now + end - 1_000_000, maker.now + end
    clock = maker.span(maker.trace_id(), name="clock")
    clock.start_time_unix_nano, clock.end_time_unix_nano = maker.now + 100 * SECOND, maker.now + 100 * SECOND + 1
    return [*spans, clock]


@pytest.mark.parametrize("wait_after_root", ["10s", "5s"])
@pytest.mark.parametrize("kind", ["slow root", "timed-out root", "error long after the root"])
def test_a_replay_recalls(kind, wait_after_root, tailrace, write, tmp_path):
    topology = TailSampling("recall-replay", decision_wait="30s", decision_wait_after_root=wait_after_root)
    records = [traces_data([span]).SerializeToString() for span in recording(Maker(seed=34), kind)]
    (tmp_path / "in").write_bytes(b"".join(struct.pack("<I", len(each)) + each for each in records))
    outputs = ["--decisions", tmp_path / "decisions", "--sampled", tmp_path / "sampled"]
    result = tailrace("replay", tmp_path / "in", "--topology", write(topology), *outputs)
    assert result.returncode == 0, result.stdout
    sampled, kept = (tmp_path / "sampled").read_bytes(), []
    while sampled:
        (length,) = struct.unpack_from("<I", sampled)
        kept.append(sampled[4 : 4 + length])
        sampled = sampled[4 + length :]
    first = next(spans_in(records)).trace_id
    assert_same_spans(
        spans_in(kept), [span.kept("0") for span in spans_in(records) if span.trace_id == first]
    )
