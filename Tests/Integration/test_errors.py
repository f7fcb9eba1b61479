"""What a worker does when its environment fails: it waits, or it ends and reports why."""

import socket
import threading

from children import TAILRACE, free_ports
from otlp import Maker, traces_data
from outcomes import Outcomes
from topologies import TailSampling

OTHER_FAILURE = 1


class Forwarder:
    """Forwards connections to a broker, once started."""

    def __init__(self, port: int, address: str):
        host, _, number = address.rpartition(":")
        self._target = (host, int(number))
        self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()

    def close(self) -> None:
        self._server.close()


def test_a_broker_that_is_down_at_start_is_waited_for(broker, children, write):
    topology = TailSampling("errors-late-broker")
    broker.create(topology.spans, *topology.outputs, partitions=1)
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    worker = children.start("late-broker", [TAILRACE, "run", write(topology)], {"BROKER": address})
    worker.wait_for(lambda: f"no answer from the brokers at {address}" in worker.output, "a word about it")
    forwarder = Forwarder(port, broker.address)
    worker.wait_for(lambda: "assigned" in worker.output, "its partition, now that the broker answers")
    assert worker.output.count("no answer from the brokers") == 1, "a condition that lasts is one line"
    assert worker.stop() == 0
    forwarder.close()


def test_decisions_that_are_deleted_too_early(broker, tailrace, write):
    topology = TailSampling("errors-retention", create=False)
    broker.create(topology.spans, topology.sampled, topology.dead_letters, partitions=1)
    read_back = (topology.decisions, topology.verdicts)
    broker.create(*read_back, partitions=1, config={"retention.ms": "60000"})
    for command in (["check", write(topology), "--connect"], ["run", write(topology)]):
        result = tailrace(*command)
        assert result.returncode == OTHER_FAILURE, result.stdout
        lines = [line for line in result.stdout.splitlines() if "retention.ms" in line]
        for name, line in zip(read_back, lines, strict=True):
            assert name in line and "60 s" in line and "604 s" in line


def test_spans_that_are_deleted_before_they_can_be_recalled(broker, tailrace, write):
    topology = TailSampling("errors-recall-retention", create=False)
    broker.create(*topology.outputs, partitions=1)
    broker.create(topology.spans, partitions=1, config={"retention.ms": "60000"})
    result = tailrace("check", write(topology), "--connect")
    assert result.returncode == 0, result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "retention.ms" in line]
    assert topology.spans in line and "60 s" in line and "604 s" in line


def test_logs_that_are_deleted_before_they_are_read(broker, tailrace, write):
    topology = TailSampling("errors-logs-retention", create=False, logs_wait="70s")
    broker.create(topology.spans, topology.sampled_logs, *topology.outputs, partitions=1)
    broker.create(topology.logs, partitions=1, config={"retention.ms": "60000"})
    result = tailrace("check", write(topology), "--connect")
    assert result.returncode == 0, result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "retention.ms" in line]
    assert f"'{topology.logs}'" in line and "60 s" in line and "74 s" in line and "logs.wait" in line


def test_partitions_that_are_added_are_picked_up(broker, run, read):
    topology = TailSampling(
        "errors-added", decision_wait="2s", decision_wait_after_root="0s", policies=("{name: all, type: always_sample}",),
        kafka={"topic.metadata.refresh.interval.ms": "500"},
    )
    broker.create(topology.spans, *topology.outputs, partitions=1)
    worker = run(topology)
    # The input first: the new partition waits until the outputs have followed.
    broker.add_partitions(topology.spans, 2)
    worker.wait_for(lambda: "no counterpart in the output topics" in worker.output, "a word about it")
    maker = Maker(seed=11)
    ids = [maker.trace_id() for _ in range(6)]
    for number, each in enumerate(ids):
        for span in maker.trace(each, error=True):
            record = traces_data([span]).SerializeToString()
            broker.produce(topology.spans, record, each.encode(), number % 2)
    broker.flush()
    for name in (topology.decisions, topology.verdicts, topology.sampled):
        broker.add_partitions(name, 2)
    worker.wait_for(lambda: "was added: keys have moved" in worker.output, "the warning")
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions(ids, worker.require_running)
    assert {each: len(spans) for each, spans in outcomes.kept.items()} == dict.fromkeys(ids, 4)
    assert worker.stop() == 0
