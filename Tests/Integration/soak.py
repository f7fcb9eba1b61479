"""Workers under long load, with a broker that is slow, silent, unreachable, and cuts connections.

    make soak MINUTES=10

Too long for the suite. It fails if a trace is lost or decided twice, if a kept span is missing or duplicated, if a
worker's memory grows, or if the lag is not gone soon after the last fault.

SOAK_RESTARTS=1 also restarts the broker. The suite's broker then forgets its producers and group members, which Apache
Kafka does not: workers end and are restarted, and for a while two of them read the same partition. So that shows how
workers cope with it, but can't show that every trace is output once.
"""

import json
import os
import random
import re
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from confluent_kafka import Message, Producer

from children import TAILRACE, Child, Children, accepts_connections, free_ports, wait_until
from ledger import Page
from otlp import Maker, spans_in, traces_data
from parts import program
from proxy import Proxy
from test_console import Console
from test_memory import resident
from topics import RECORD_BYTES_MAX, Broker, Reader
from topologies import ERRORS, SLOW, SLOW_MILLISECONDS, TailSampling

MINUTES = float(os.environ.get("SOAK_MINUTES") or 10)
SEED = int(os.environ.get("SOAK_SEED") or 1)
TRACES_PER_SECOND = 100
PARTITIONS = 4
WORKERS = ("one", "two")
WAIT, WAIT_AFTER_ROOT = "6s", "4s"
FAULT_SECONDS = (4.0, 10.0)
CALM_SECONDS = (8.0, 14.0)
RECOVERY_SECONDS = 60
ROW_SECONDS = 10
MEMORY_GROWTH = 0.15
"""By how much a worker's resident memory may grow from the second third to the last: buffers of the client grow with
the longest outage so far, and verdicts for ten minutes (`late_window`), by at most 128 bytes per trace: 4 MiB here."""
LAG_MAX = 2.0
"""Seconds by which a span may be late in the log and still in time for its window. A trace with a later one is still
output once, but how can't be predicted: the broker was down."""


@dataclass
class Made:
    """A trace, and its expected outcome."""

    is_error: bool
    is_slow: bool
    spans: set[bytes]
    lag: float = 0.0
    finals: int = 0
    verdict: str = ""

    @property
    def is_wanted(self) -> bool:
        return self.is_error or self.is_slow


@dataclass
class Load:
    """Whole traces, one span per record, at the clock's pace."""

    producer: Producer
    topic: str
    traces: dict[str, Made] = field(default_factory=dict)
    sent: int = 0

    def __post_init__(self) -> None:
        self._random, self._maker = random.Random(SEED), Maker(SEED)
        self._began = time.monotonic()

    def catch_up(self) -> None:
        while len(self.traces) < (time.monotonic() - self._began) * TRACES_PER_SECOND:
            self._make()
        self.producer.poll(0)

    def _make(self) -> None:
        chosen = self._random
        is_error, is_slow = chosen.random() < 0.05, chosen.random() < 0.05
        self._maker.now = time.time_ns()
        trace_id = self._maker.trace_id()
        milliseconds = SLOW_MILLISECONDS + 50 if is_slow else 20
        spans = self._maker.trace(trace_id, error=is_error, milliseconds=milliseconds)
        made = self.traces[trace_id] = Made(is_error, is_slow, {span.span_id for span in spans})
        due = time.monotonic()

        def written(error: object, message: Message) -> None:
            assert error is None, error
            made.lag = max(made.lag, time.monotonic() - due)

        partition = chosen.randrange(PARTITIONS)
        for span in spans:
            record = traces_data([span]).SerializeToString()
            self.producer.produce(self.topic, record, trace_id.encode(), partition, on_delivery=written)
            self.sent += 1


class Faults:
    """Faults, one at a time, each for some seconds, with pauses between."""

    KINDS = ("slow", "silent", "unreachable", "cut") + ("restart",) * ("SOAK_RESTARTS" in os.environ)

    def __init__(self, proxy: Proxy, start_broker):
        self._proxy, self._start_broker = proxy, start_broker
        self._broker: Child = start_broker()
        self._random = random.Random(SEED)
        self.counts: Counter[str] = Counter()
        self.now = "calm"
        self.failure: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def stop_broker(self) -> None:
        self._broker.stop()

    def _run(self) -> None:
        coming: list[str] = []
        try:
            while not self._over.wait(self._random.uniform(*CALM_SECONDS)):
                coming = coming or self._random.sample(self.KINDS, len(self.KINDS))
                self.now = coming.pop()
                self._begin(self.now)
                self._over.wait(self._random.uniform(*FAULT_SECONDS))
                self._end(self.now)
                self.counts[self.now] += 1
                self.now = "calm"
        except BaseException as error:
            self.failure = error

    def _begin(self, kind: str) -> None:
        match kind:
            case "restart":
                self._broker.stop()
            case "slow":
                self._proxy.delay = 0.25
            case "silent":
                self._proxy.fall_silent()
            case "unreachable":
                self._proxy.vanish()
            case "cut":
                self._proxy.cut()

    def _end(self, kind: str) -> None:
        if kind == "restart":
            self._broker = self._start_broker()
        self._proxy.recover()


class Output:
    """The workers' output, read as it arrives."""

    def __init__(self, broker: Broker, topology: TailSampling, traces: dict[str, Made]):
        self._topology, self._traces = topology, traces
        self._reader = broker.read(topology.spans, *topology.outputs)
        self.written: Counter[bytes] = Counter()
        self.kept: Counter[bytes] = Counter()
        self.decided = self.strangers = self.dead_letters = 0
        self._renewed = time.monotonic()

    def take(self) -> None:
        if time.monotonic() > self._renewed + Reader.RENEWED_AFTER:
            self._reader.renew()
            self._renewed = time.monotonic()
        self._reader.poll()
        records = self._reader.records
        for record in records[self._topology.spans]:
            self.written.update(span.message.span_id for span in spans_in([record.value]))
        for record in records[self._topology.decisions]:
            decision = json.loads(record.value)
            if decision["final"]:
                self._note(decision["trace_id"], decision["verdict"], revised=decision.get("revised", False))
        for record in records[self._topology.verdicts]:
            for entry in Page(record.value).verdicts:
                self._note(entry.trace_id, "drop")
        for record in records[self._topology.sampled]:
            self.kept.update(span.message.span_id for span in spans_in([record.value]))
        self.dead_letters += len(records[self._topology.dead_letters])
        for each in records.values():
            each.clear()

    def _note(self, trace_id: str, verdict: str, *, revised: bool = False) -> None:
        if (made := self._traces.get(trace_id)) is None:
            self.strangers += 1
            return
        # A revised record replaces a drop, which may be read after it.
        if made.verdict != "keep":
            made.verdict = verdict
        if not revised:
            made.finals += 1
            self.decided += made.finals == 1

    def check(self) -> None:
        assert self.strangers == self.dead_letters == 0
        finals = Counter(made.finals for made in self._traces.values())
        assert set(finals) == {1}, f"traces by the number of their final decisions: {finals}"
        timely = [made for made in self._traces.values() if made.lag <= LAG_MAX]
        print(f"{len(self._traces)} traces, each decided once; {len(self._traces) - len(timely)} late in the log")
        wrong = [made for made in timely if (made.verdict == "keep") != made.is_wanted]
        assert not wrong, f"{len(wrong)} wrong verdicts, such as {wrong[0]}"
        for made in self._traces.values():
            for span in made.spans:
                written, kept = self.written[span], self.kept[span]
                assert written > 0, "a span that was acknowledged is not in the log"
                # The late span of a trace may have been decided separately.
                allowed = {written * made.is_wanted} if made.lag <= LAG_MAX else {0, written}
                assert kept in allowed, f"{kept} copies of a span of {made}, {written} in the input"
        wanted = sum(made.is_wanted for made in timely)
        twice = sum(each > 1 for each in self.written.values())
        print(f"{wanted} error and slow traces, all kept with all their spans, none more often than sent")
        print(f"{twice} spans were sent twice by their producer, which had no answer from a broker that stopped")


def check_memory(samples: dict[str, list[int]]) -> None:
    for name, found in samples.items():
        third = len(found) // 3
        second, last = (statistics.median(each) for each in (found[third:-third], found[-third:]))
        print(f"worker {name}: {second / 2**20:.0f} MiB in the second third, {last / 2**20:.0f} in the last")
        assert last <= second * (1 + MEMORY_GROWTH), f"the memory of worker {name} grows"


def test_soak(session_children: Children, write) -> None:
    (port,) = free_ports(1)
    data = session_children.directory / "soak-broker"

    def start_broker() -> Child:
        command = [program("noida_db", "noida-db"), "start", "--only", "kafka"]
        server = session_children.start("soak-broker", [*command, "--data-dir", data, "--kafka-port", str(port)])
        server.wait_for(lambda: accepts_connections(port), "to listen")
        return server

    proxy = Proxy(port)
    faults = Faults(proxy, start_broker)
    broker = Broker(f"127.0.0.1:{port}")
    topology = TailSampling(
        "soak",
        policies=(ERRORS, SLOW),
        decision_wait=WAIT,
        decision_wait_after_root=WAIT_AFTER_ROOT,
        dropped="ledger",
        kafka={"session.timeout.ms": "45000", "fetch.wait.max.ms": "100"},
    )
    broker.create(topology.spans, *topology.outputs, partitions=PARTITIONS)

    def start_worker(name: str) -> Child:
        command = [TAILRACE, "run", write(topology.for_worker(name, lasting=True))]
        return session_children.start(f"soak-{name}", command, {"BROKER": proxy.address})

    workers = {name: start_worker(name) for name in WORKERS}
    ended: list[Child] = []
    consoles = {name: Console(worker) for name, worker in workers.items()}
    wait_until(lambda: all(each.is_ready for each in consoles.values()), "the workers to be ready")
    # Not idempotent: this broker forgets its producers when it ends. So some input spans are duplicates.
    producer = Producer(
        {
            "bootstrap.servers": broker.address,
            "acks": "all",
            "linger.ms": 5,
            "message.max.bytes": RECORD_BYTES_MAX,
            "log_level": 2,
        }
    )
    load = Load(producer, topology.spans)
    output = Output(broker, topology, load.traces)
    samples: dict[str, list[int]] = {name: [] for name in WORKERS}
    began = time.monotonic()
    next_row = 0.0
    faults.start()

    def lag() -> float:
        return sum(each.metrics().sum("tailrace_lag_records") for each in consoles.values())

    def row() -> None:
        print(
            f"{(time.monotonic() - began) / 60:6.2f} min  {faults.now:12}  {load.sent:8} spans  {len(load.traces):7} traces  "
            f"{output.decided:7} decided  lag {lag():6.0f}  resident "
            + "  ".join(f"{each[-1] / 2**20:.0f} MiB" for each in samples.values()),
            flush=True,
        )

    while time.monotonic() - began < 60 * MINUTES:
        load.catch_up()
        output.take()
        assert faults.failure is None, faults.failure
        for name, worker in workers.items():
            # As its Deployment would: an error that a process can't recover from ends it.
            if worker.process.poll() is not None:
                assert worker.process.returncode == 1, worker.tail
                print(f"worker {name} has ended: {worker.tail.splitlines()[-1]}")
                ended.append(worker)
                workers[name] = start_worker(name)
                consoles[name] = Console(workers[name])
        if time.monotonic() - began >= next_row:
            next_row += ROW_SECONDS
            for name, worker in workers.items():
                samples[name].append(resident(worker.process.pid))
            row()
    faults.stop()
    assert faults.failure is None, faults.failure
    assert producer.flush(RECOVERY_SECONDS) == 0, "the broker did not take all records"
    over = time.monotonic()
    wait_until(lambda: lag() == 0, "the lag to be gone", RECOVERY_SECONDS)
    print(f"lag gone {time.monotonic() - over:.1f} s after the last fault; faults: {dict(faults.counts)}")

    def is_decided() -> bool:
        output.take()
        return output.decided >= len(load.traces)

    wait_until(is_decided, "all to be decided", RECOVERY_SECONDS)
    wait_until(lambda: not broker.uncommitted(topology.group, topology.spans), "all to be committed")
    row()
    for worker in workers.values():
        assert worker.stop() == 0
    for _ in range(20):
        output.take()
    output.check()
    check_memory(samples)
    logs = [each.output for each in [*ended, *workers.values()]]
    levels = Counter(level for log in logs for level in re.findall(r"^\S+ (\w+) ", log, re.MULTILINE))
    print(f"{len(ended)} workers ended and were started again; lines of their logs: {dict(levels)}")
    faults.stop_broker()
