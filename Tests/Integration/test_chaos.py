"""Exactly once: workers are killed, stopped, added and removed under load, and every trace is output once.

This can't test a worker that was removed from its group and does not know it. Brokers detect that by the group's
generation, which is sent with a transaction's offsets; the suite's broker ignores it.
"""

import itertools
import os
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import pytest
from confluent_kafka import Message
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from children import Child, wait_until
from otlp import Maker, is_baseline, spans_in, traces_data
from outcomes import Outcomes, assert_same_spans
from topics import Broker, Reader
from topologies import ERRORS, SLOW, SLOW_MILLISECONDS, TailSampling, Topology, baseline

SECONDS = float(os.environ.get("CHAOS_SECONDS", "50"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
PARTITIONS = 4
TRACES_PER_SECOND = 250
BASELINE_PERCENT = 12.5
BASELINE_THRESHOLD = "e"
"""Seven eighths of the randomness space are rejected: 0.875 = 0xe / 0x10."""

TRACE_SECONDS = 1.0
"""From a trace's first span to its last, except a straggler."""
WAIT, WAIT_AFTER_ROOT = "8s", "4s"
STRAGGLER_SECONDS = 12.0
"""From a trace's first span to one that arrives long after the verdict."""
LULL_SECONDS = 5.5
"""Less a trace's second, the gap is shorter than 5 s: the clock of a worker that reads it later follows at once."""
SETTLED_SECONDS = 1.5
LAG_MAX = 2.5
"""Seconds by which a span may be late in the log and still in time for its trace's window.

A broker on a busy machine may be later. Such a trace is still output once, but how can't be predicted."""
LAGGING_MAX = 0.2
"""The share of such traces allowed."""


@dataclass
class Made:
    """A trace, and its expected outcome."""

    trace_id: str
    begin: float
    """The second of the load when it begins."""
    partition: int
    spans: list[Span]
    """In the order of sending, over a second."""
    is_slow: bool
    straggler: Span | None = None
    lag: float = 0
    """The most seconds by which one of its spans was late in the log."""

    @property
    def is_lagging(self) -> bool:
        return self.lag > LAG_MAX

    @property
    def due(self) -> Iterator[tuple[float, Span]]:
        """The spans, each with the second when it is sent."""
        for place, span in enumerate(self.spans):
            yield self.begin + TRACE_SECONDS * place / (len(self.spans) - 1), span
        if self.straggler is not None:
            yield self.begin + STRAGGLER_SECONDS, self.straggler

    @property
    def all_spans(self) -> list[Span]:
        return [span for _, span in self.due]

    @property
    def error_count(self) -> int:
        """Errors that arrive before the trace is decided."""
        return sum(is_error(span) for span in self.spans)

    @property
    def reasons(self) -> list[str]:
        in_baseline = is_baseline(self.trace_id, "", BASELINE_PERCENT)
        reasons = {"errors": self.error_count > 0, "slow": self.is_slow, "baseline": in_baseline}
        return [name for name, applies in reasons.items() if applies]

    @property
    def threshold(self) -> str:
        return BASELINE_THRESHOLD if self.reasons == ["baseline"] else "0"

    @property
    def is_recalled(self) -> bool:
        """Whether its error arrives after it was dropped."""
        return not self.reasons and self.straggler is not None and is_error(self.straggler)


def is_error(span: Span) -> bool:
    return span.status.code == Status.STATUS_CODE_ERROR


def is_lull(partition: int, second: float) -> bool:
    """Whether the partition is in a lull: no trace begins, and its clock follows the wall clock."""
    return second // LULL_SECONDS % PARTITIONS == partition


class Load:
    """Traces in progress, on its own thread; at any time some of them are incomplete.

    Errors are only in the last spans, so that no error trace can be recognised before.
    """

    def __init__(self, broker: Broker, topic: str, seed: int):
        self._broker, self._topic = broker, topic
        self._random, self._maker = random.Random(seed), Maker(seed)
        made = (self._make(number / TRACES_PER_SECOND) for number in range(int(SECONDS * TRACES_PER_SECOND)))
        self.traces = {each.trace_id: each for each in made}
        due = [
            (second, each, traces_data([span]).SerializeToString())
            for each in self.traces.values()
            for second, span in each.due
        ]
        self._due = sorted(due, key=itemgetter(0))
        self.began = 0.0
        self._thread = threading.Thread(target=self._send, name="load", daemon=True)

    def _make(self, begin: float) -> Made:
        chosen, maker = self._random, self._maker
        trace_id = maker.trace_id()
        is_slow = chosen.random() < 0.08
        root = maker.span(trace_id, name="root", milliseconds=SLOW_MILLISECONDS + 50 if is_slow else 20)
        spans = [maker.span(trace_id, root, name=f"call-{number}") for number in range(chosen.randint(2, 4))]
        # Its root is sent before or after its first children.
        spans.insert(chosen.choice((0, 1, 2)), root)
        spans.append(maker.span(trace_id, root, name="last", error=chosen.random() < 0.12))
        partition = chosen.choice([each for each in range(PARTITIONS) if not is_lull(each, begin)])
        made = Made(trace_id, begin, partition, spans, is_slow)
        if chosen.random() < 0.1 and not is_lull(partition, begin + STRAGGLER_SECONDS):
            made.straggler = maker.span(trace_id, root, name="straggler", error=chosen.random() < 0.3)
        return made

    def start(self) -> None:
        self.began = time.monotonic()
        self._thread.start()

    def _send(self) -> None:
        for second, made, record in self._due:
            wait = self.began + second - time.monotonic()
            time.sleep(max(0, wait))

            def written(message: Message, made: Made = made, late: float = -wait) -> None:
                made.lag = max(made.lag, late + message.latency())

            self._broker.produce(self._topic, record, made.trace_id.encode(), made.partition, written)
        self._broker.flush()

    @property
    def second(self) -> float:
        """The time since the start."""
        return time.monotonic() - self.began

    def finish(self) -> None:
        self._thread.join()
        lagging = sum(each.is_lagging for each in self.traces.values())
        print(f"{len(self.traces)} traces, {lagging} of them late in the log")
        assert lagging < LAGGING_MAX * len(self.traces), "this machine is too busy to show anything"


def partitions_of(worker: Child) -> set[int]:
    """The partitions that a worker owns, according to its log."""
    owned: set[int] = set()
    for line in worker.output.splitlines():
        if found := re.search(r" info assigned .*\bpartition=(\d+)", line):
            owned.add(int(found[1]))
        elif found := re.search(r' info released .*\bpartitions="?\[([\d, ]*)\]', line):
            owned -= {int(each) for each in found[1].split(", ") if each}
    return owned


class Fleet:
    """The workers and their faults, within the limits of the suite's broker.

    It ends an abandoned transaction only when its producer returns: so each worker has a lasting transactional id,
    and a killed one is always restarted. Others would wait long for a killed dynamic member: so the second, which is
    killed, is a static one. A stopped static member is waited for, too: so the third, which joins and leaves, is
    dynamic. And if the group's leader returns as a static member, only it learns its new assignment, so that two read
    the same partition: so the first, the leader, stays. The broker does not always survive a static member that
    returns during a rebalance: that is only tried with CHAOS_ALL=1.
    """

    LEADER, MORTAL, GUEST = "one", "two", "three"
    KINDS = ("kill", "kill_twice", "stop", "resize", "resize") + ("kill_and_resize",) * ("CHAOS_ALL" in os.environ)

    def __init__(self, topology: TailSampling, start: Callable[[Topology], Child], seed: int):
        self._topology, self._start = topology, start
        self._random = random.Random(seed)
        self.running: dict[str, Child] = {}
        self.all: list[Child] = []
        self.events: Counter[str] = Counter()

    def start(self, name: str) -> Child:
        named = {"group.instance.id": name} if name == self.MORTAL else {}
        worker = self.running[name] = self._start(self._topology.for_worker(name, lasting=True, **named))
        self.all.append(worker)
        return worker

    def _stop(self, name: str) -> None:
        assert self.running.pop(name).stop() == 0

    def require_running(self) -> None:
        for worker in self.running.values():
            worker.require_running()

    def stop_all(self) -> None:
        for name in list(self.running):
            self._stop(name)

    # Faults.

    def _pause(self) -> None:
        time.sleep(self._random.uniform(0, 1.5))

    def kill(self) -> None:
        self.running.pop(self.MORTAL).kill()
        self._pause()
        self.start(self.MORTAL)

    def kill_twice(self) -> None:
        """The second time it dies when it has just resumed its partitions, or has begun to read again."""
        self.kill()
        worker = self.running[self.MORTAL]
        worker.wait_for(lambda: partitions_of(worker), "partitions")
        time.sleep(self._random.uniform(0, 0.3))
        self.kill()

    def stop(self) -> None:
        self._stop(self.MORTAL)
        self._pause()
        self.start(self.MORTAL)

    def resize(self) -> None:
        """The third joins or leaves."""
        if self.GUEST in self.running:
            self._stop(self.GUEST)
        else:
            self.start(self.GUEST)

    def kill_and_resize(self) -> None:
        """The group rebalances while one is dead: it returns owning nothing; others may get its share."""
        self.running.pop(self.MORTAL).kill()
        self.resize()
        self.start(self.MORTAL)

    def settle(self) -> None:
        """Waits until the group has assigned the partitions and is not rebalancing.

        The suite's broker does not survive a member that ends during a rebalance.
        """
        shares: list[set[int]] = []
        since = time.monotonic()

        def is_settled() -> bool:
            nonlocal shares, since
            self.require_running()
            found = [partitions_of(worker) for worker in self.running.values()]
            if found != shares:
                shares, since = found, time.monotonic()
            is_shared = all(found) and sorted(itertools.chain(*found)) == list(range(PARTITIONS))
            return is_shared and time.monotonic() - since > SETTLED_SECONDS

        wait_until(is_settled, "the workers to have the partitions")

    def suffer(self, load: Load) -> None:
        """Injects faults until the load is almost over: each kind in turn, then all in another order."""
        coming: list[str] = []
        while load.second < SECONDS - 5:
            coming = coming or self._random.sample(self.KINDS, len(self.KINDS))
            self.settle()
            self._pause()
            event = coming.pop()
            print(f"second {load.second:.1f}: {event}, running: {', '.join(sorted(self.running))}")
            getattr(self, event)()
            self.events[event] += 1
        self.settle()
        print(f"second {load.second:.1f}: over; {dict(self.events)}")


@pytest.mark.parametrize("seed", [SEED])
def test_every_trace_comes_out_once(seed, broker, start, read):
    topology = TailSampling(
        f"chaos-{seed}",
        delivery="exactly_once",
        policies=(ERRORS, SLOW, baseline(BASELINE_PERCENT)),
        decision_wait=WAIT,
        decision_wait_after_root=WAIT_AFTER_ROOT,
        dropped="ledger",
        kafka={"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"},
    )
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)
    load = Load(broker, topology.spans, seed)
    fleet = Fleet(topology, start, seed)
    for name in (fleet.LEADER, fleet.MORTAL):
        worker = fleet.start(name)
        worker.wait_for(lambda: "assigned" in worker.output, "partitions")  # noqa: B023
    load.start()
    fleet.suffer(load)
    load.finish()
    wait_until(lambda: not broker.uncommitted(topology.group, topology.spans), "all to be committed")
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.reader.quiet(0.5)
    outcomes.reader.until(lambda: outcomes.recalls_requested <= outcomes.recalled, "the recalls", fleet.require_running)
    fleet.stop_all()
    assert not broker.uncommitted(topology.group, topology.spans)
    everything = read(topology.decisions, topology.verdicts, topology.sampled, isolation="read_uncommitted")
    everything.quiet(0.5)
    outcomes.await_decisions(load.traces, lambda: None)

    assert not outcomes.reader.records[topology.dead_letters]
    check_decisions(outcomes, load.traces)
    check_kept_spans(outcomes, load.traces)
    outcomes.check_keys_and_partitions(outcomes.reader.records[topology.spans])
    check_effect(fleet, outcomes, everything)


def check_decisions(outcomes: Outcomes, traces: dict[str, Made]) -> None:
    """One final decision for each trace, on all its spans, at most one early decision before it, and a revised one
    after it if its error arrived late."""
    records = defaultdict(list)
    for record, decision in outcomes.decisions:
        records[decision["trace_id"]].append((record.offset, decision))
    # Only a late record and a revised one follow the verdict on a dropped trace.
    for decision in outcomes.accounted:
        records[decision["trace_id"]].append((-1, decision))
    wrong = []
    for trace_id in records.keys() | traces.keys():
        found = [decision for _, decision in sorted(records[trace_id], key=itemgetter(0))]
        if (problem := decision_problem(found, traces.get(trace_id))) is not None:
            wrong.append(f"{trace_id}: {problem}: {found}")
    assert not wrong, "\n".join([f"decisions of {len(wrong)} traces:", *wrong[:10]])


def decision_problem(found: list[dict], made: Made | None) -> str | None:
    """What is wrong with a trace's decisions, given in the order written."""
    if made is None:
        return "nobody made this trace"
    kinds = [kind(each) for each in found]
    early = kinds[:1] == ["early"]
    if made.is_lagging:
        # It is recalled if its error or its slow root was late.
        is_once = kinds in (["early"] * early + ["final"] + ["late", "revised"] * late for late in (0, 1))
        return None if is_once else f"{kinds}"
    if kinds != ["early"] * early + ["final"] + ["late", "revised"] * made.is_recalled:
        return f"{kinds}; its error is late: {made.is_recalled}"
    if early and found[0]["verdict"] != "keep":
        return "an early decision that does not keep"
    final = found[early]
    if final["verdict"] != ("keep" if made.reasons else "drop"):
        return f"the verdict should come of {made.reasons}"
    if made.reasons and (final["reasons"] != made.reasons or final["threshold"] != made.threshold):
        return f"reasons should be {made.reasons} and the threshold {made.threshold}"
    if (final["span_count"], final["error_count"]) != (len(made.spans), made.error_count):
        return f"there were {len(made.spans)} spans and {made.error_count} errors"
    if made.is_recalled:
        revised = found[-1]
        if (revised["verdict"], revised["recall"], revised["reasons"]) != ("keep", "done", ["errors"]):
            return "its recall was not fulfilled"
        if revised["span_count"] != len(made.all_spans):
            return f"there were {len(made.all_spans)} spans when its error arrived"
    return None


def kind(decision: dict) -> str:
    if decision["late"]:
        return "late"
    if decision.get("revised"):
        return "revised"
    return "final" if decision["final"] else "early"


def check_kept_spans(outcomes: Outcomes, traces: dict[str, Made]) -> None:
    """All spans of kept traces exist once, unchanged; those of other traces don't."""
    sent = list(spans_in(record.value for record in outcomes.reader.records[outcomes.topology.spans]))
    made = Counter(span.span_id for trace in traces.values() for span in trace.all_spans)
    assert Counter(span.message.span_id for span in sent) == made, "the input has what was made, once"
    decided = outcomes.final

    def threshold(trace: Made) -> str | None:
        if not trace.is_lagging and not trace.is_recalled:
            return trace.threshold if trace.reasons else None
        return decided[trace.trace_id].get("threshold")

    expected = [span.kept(kept) for span in sent if (kept := threshold(traces[span.trace_id])) is not None]
    assert_same_spans([span for spans in outcomes.kept.values() for span in spans], expected)


def check_effect(fleet: Fleet, outcomes: Outcomes, everything: Reader) -> None:
    """All faults have happened, and not between transactions: some were aborted, and work was done again."""
    assert all(fleet.events[kind] for kind in Fleet.KINDS), f"too short for all kinds: {fleet.events}"
    # A page of the ledger is written with its commit: faults hardly ever fall between the two.
    for topic in (outcomes.topology.decisions, outcomes.topology.sampled):
        committed, written = len(outcomes.reader.records[topic]), len(everything.records[topic])
        print(f"{topic}: {committed} records committed, {written - committed} given up")
        assert committed < written, f"all that was written to {topic} was committed"
    log = "".join(worker.output for worker in fleet.all)
    found = re.findall(r"records_again=(\d+) .*verdicts=(\d+)", log)
    restored = [(int(records), int(verdicts)) for records, verdicts in found]
    again = sum(records for records, _ in restored)
    print(f"{len(restored)} partitions taken up, {again} records read again")
    assert sum(records > 0 and verdicts > 0 for records, verdicts in restored) > PARTITIONS
