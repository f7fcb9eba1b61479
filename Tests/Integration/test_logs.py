"""Logs: those of kept traces arrive once, those of dropped ones do not, whatever happens to the workers."""

from collections import Counter

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp import Maker, traces_data
from test_console import Console
from topologies import TailSampling

PARTITIONS = 3
RETURNING = {"group.instance.id": "one", "session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}


class Logs:
    """Traces of one span, kept or dropped, each with log records."""

    def __init__(self, broker, topology: TailSampling, seed: int):
        self._broker, self._topology, self.maker = broker, topology, Maker(seed)
        self.kept: Counter[tuple[str, str]] = Counter()
        """The trace id and the text of each log record of kept traces, and of those without a trace."""

    def send(self, count: int, records: int = 2) -> None:
        for number in range(count):
            trace, is_kept = self.maker.trace_id(), number % 2 == 0
            span = self.maker.span(trace, error=is_kept)
            key = bytes(trace, "ascii")
            self._broker.produce(self._topology.spans, traces_data([span]).SerializeToString(), key)
            texts = [f"{trace} {each}" for each in range(records)]
            self._broker.produce(self._topology.logs, self.request(trace, *texts), key)
            if is_kept:
                self.kept.update((trace, text) for text in texts)
        self._broker.produce(self._topology.logs, self.request("", "free"))
        self.kept[("", "free")] += 1
        self._broker.flush()

    @staticmethod
    def request(trace: str, *texts: str) -> bytes:
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "shop"
        scope = resource.scope_logs.add()
        scope.scope.name = "logger"
        for text in texts:
            record = scope.log_records.add(trace_id=bytes.fromhex(trace), severity_number=9)
            record.body.string_value = text
        return request.SerializeToString()


def found(records) -> Counter[tuple[str, str]]:
    """The log records in `records`, whose keys, resources and scopes are checked."""
    logs: Counter[tuple[str, str]] = Counter()
    for record in records:
        for resource in ExportLogsServiceRequest.FromString(record.value).resource_logs:
            assert resource.resource.attributes[0].value.string_value == "shop"
            for scope in resource.scope_logs:
                assert scope.scope.name == "logger"
                for log in scope.log_records:
                    assert (record.key or b"").decode() == log.trace_id.hex()
                    logs[log.trace_id.hex(), log.body.string_value] += 1
    return logs


def test_logs_follow_their_traces_through_kills(broker, run, read):
    topology = TailSampling("logs", decision_wait="2s", decision_wait_after_root="1s", logs_wait="3s", kafka=RETURNING)
    topology = topology.for_worker("one", lasting=True)
    broker.create(topology.spans, topology.logs, *topology.outputs, topology.sampled_logs, partitions=PARTITIONS)
    logs = Logs(broker, topology, seed=41)
    reader = read(topology.sampled_logs)
    everything = read(topology.sampled_logs, isolation="read_uncommitted")
    worker = run(topology)
    for _ in range(3):
        seen = len(everything.records[topology.sampled_logs])
        logs.send(40)
        # It dies as soon as it has written something, committed or not.
        everything.until(
            lambda: len(everything.records[topology.sampled_logs]) > seen, "a log record", worker.require_running
        )
        worker.kill()
        worker = run(topology)
    logs.send(40)

    def has_all() -> bool:
        return found(reader.records[topology.sampled_logs]).total() >= logs.kept.total()

    reader.until(has_all, "the logs of kept traces", worker.require_running)
    assert found(reader.records[topology.sampled_logs]) == logs.kept
    counts = Console(worker).metrics().counts("tailrace_logs_total", "outcome", "reason")
    assert counts["kept", "verdict"] > 0 and counts["dropped", "verdict"] > 0
    assert counts["dropped", "no_verdict"] == 0
    assert worker.stop() == 0
    assert not broker.uncommitted(topology.group, topology.spans)


def test_a_recall_brings_the_logs_that_were_dropped(broker, run, read):
    topology = TailSampling(
        "logs-recall", decision_wait="2s", decision_wait_after_root="1s", logs_wait="3s", kafka=RETURNING
    ).for_worker("one", lasting=True)
    broker.create(topology.spans, topology.logs, *topology.outputs, topology.sampled_logs, partitions=PARTITIONS)
    maker = Maker(seed=42)
    reader = read(topology.sampled_logs)
    worker = run(topology)
    traces = [maker.trace_id() for _ in range(30)]
    for trace in traces:
        key = bytes(trace, "ascii")
        broker.produce(topology.spans, traces_data([maker.span(trace)]).SerializeToString(), key)
        broker.produce(topology.logs, Logs.request(trace, f"{trace} dropped"), key)
    broker.flush()

    def dropped() -> float:
        return Console(worker).metrics().counts("tailrace_logs_total", "outcome", "reason")["dropped", "verdict"]

    worker.wait_for(lambda: dropped() == len(traces), "the logs of dropped traces")
    # An error comes late. The worker is killed meanwhile: another one fulfils what it requested.
    for trace in traces:
        key = bytes(trace, "ascii")
        broker.produce(topology.spans, traces_data([maker.span(trace, error=True)]).SerializeToString(), key)
        broker.produce(topology.logs, Logs.request(trace, f"{trace} after"), key)
    broker.flush()
    worker.kill()
    worker = run(topology)
    wanted = Counter((trace, f"{trace} {text}") for trace in traces for text in ("dropped", "after"))

    def has_all() -> bool:
        return found(reader.records[topology.sampled_logs]).total() >= wanted.total()

    reader.until(has_all, "the logs of recalled traces", worker.require_running)
    assert found(reader.records[topology.sampled_logs]) == wanted
    assert worker.stop() == 0
