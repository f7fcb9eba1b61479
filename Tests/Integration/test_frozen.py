"""A broker that hangs: workers stay alive, report not ready, continue when it answers, and can be stopped."""

import signal
import threading
import time

import pytest

from children import TAILRACE, accepts_connections, free_ports, wait_until
from otlp import Maker, traces_data
from outcomes import Outcomes
from parts import program
from test_console import Console
from topics import Broker
from topologies import TailSampling

FROZEN_SECONDS = 180
"""Longer than any timeout involved: sessions, transactions, requests, and that of /livez."""


@pytest.fixture
def own_broker(children):
    """A broker that a test may freeze."""
    (port,) = free_ports(1)
    command = [program("noida_db", "noida-db"), "start", "--only", "kafka"]
    command += ["--data-dir", children.directory / f"own-broker-{port}", "--kafka-port", str(port)]
    server = children.start("own-broker", command)
    server.wait_for(lambda: accepts_connections(port), "to listen")
    return server, Broker(f"127.0.0.1:{port}")


def write_traces(own: Broker, topology: TailSampling, maker: Maker, count: int) -> list[str]:
    ids = [maker.trace_id() for _ in range(count)]
    for number, each in enumerate(ids):
        for span in maker.trace(each, error=True):
            own.produce(topology.spans, traces_data([span]).SerializeToString(), each.encode(), number % 3)
    own.flush()
    return ids


class Probe:
    """Requests /livez and /readyz every second, as a kubelet does, and records the answers."""

    def __init__(self, console: Console):
        self._console = console
        self._is_over = threading.Event()
        self.live: list[int] = []
        self.ready: list[tuple[int, str]] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._is_over.wait(1):
            self.live.append(self._console.get("/livez", timeout=5)[0])
            self.ready.append(self._console.get("/readyz", timeout=5))

    def finish(self) -> None:
        self._is_over.set()
        self._thread.join()


def test_a_broker_that_hangs_for_three_minutes_kills_nobody(own_broker, children, write):
    server, own = own_broker
    topology = TailSampling("frozen", decision_wait="2s", decision_wait_after_root="1s")
    own.create(topology.spans, *topology.outputs, partitions=3)
    worker = children.start("frozen", [TAILRACE, "run", write(topology)], {"BROKER": own.address})
    worker.wait_for(lambda: worker.output.count("assigned") >= 3, "its partitions")
    console = Console(worker)
    wait_until(lambda: console.is_ready, "readiness")
    maker = Maker(seed=121)
    # Windows and a transaction are open when the broker falls silent.
    ids = write_traces(own, topology, maker, 30)
    worker.wait_for(lambda: console.metrics().sum("tailrace_read_spans_total") > 0, "the first spans")
    probe = Probe(console)
    with server.frozen():
        end = time.monotonic() + FROZEN_SECONDS
        while time.monotonic() < end:
            worker.require_running()
            time.sleep(1)
    probe.finish()
    assert len(probe.live) > FROZEN_SECONDS / 3 and set(probe.live) == {200}
    assert any(code == 503 and "heard from no broker" in text for code, text in probe.ready)
    ids += write_traces(own, topology, maker, 30)
    reader = own.read(topology.spans, *topology.outputs, isolation="read_committed")
    outcomes = Outcomes(topology, reader)
    # The broker carries out requests it had received before it froze when it continues: an abort that the worker has
    # long given up waiting for must not end the transaction that it began next.
    outcomes.await_decisions(ids, worker.require_running)
    assert {each: len(spans) for each, spans in outcomes.kept.items()} == dict.fromkeys(ids, 4)
    wait_until(lambda: console.is_ready, "readiness again")
    assert worker.stop() == 0
    reader.close()


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_worker_stopped_while_no_broker_answers_leaves_at_once(delivery, own_broker, children, write):
    server, own = own_broker
    topology = TailSampling(f"frozen-stop-{delivery}", delivery=delivery)
    own.create(topology.spans, *topology.outputs, partitions=3)
    worker = children.start("stopping", [TAILRACE, "run", write(topology)], {"BROKER": own.address})
    worker.wait_for(lambda: worker.output.count("assigned") >= 3, "its partitions")
    write_traces(own, topology, Maker(seed=12), 3)
    with server.frozen():
        worker.process.send_signal(signal.SIGTERM)
        # Less than the stop timeout, whose end is a failure: a request under way may take five seconds, the last
        # commit's patience three, and other tests run meanwhile.
        assert worker.process.wait(24) == 0
        # Whether there was something to commit is a matter of luck; if so, it is logged.
        assert worker.output.rstrip().splitlines()[-1].endswith("stopped")


def test_a_worker_stopped_while_it_waits_for_a_broker_leaves_at_once(children, write):
    (port,) = free_ports(1)
    worker = children.start(
        "waiting", [TAILRACE, "run", write(TailSampling("frozen-start"))], {"BROKER": f"127.0.0.1:{port}"}
    )
    worker.wait_for(lambda: "no answer from the brokers" in worker.output, "a word about it", deadline=40)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(10) == 0
