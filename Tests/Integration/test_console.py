"""What a worker reports over HTTP and in its log: health, metrics, configuration."""

import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import replace

import pytest

from children import TAILRACE, Child, free_ports, wait_until
from metrics import Families, promtool
from otlp import Maker, traces_data
from outcomes import Outcomes
from topologies import EVERYTHING, ERRORS, Repartition, TailSampling

SECRET = "correct-horse"


class Console:
    """The pages of a worker started with `console: {port: 0}`."""

    def __init__(self, worker: Child):
        pattern = re.compile(r"health and metrics address=(\S+)")
        found = worker.wait_for(lambda: pattern.search(worker.output), "the address of the console")
        self.address = found.group(1)

    def get(self, path: str, timeout: float = 10) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=timeout) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> Families:
        status, text = self.get("/metrics")
        assert status == 200
        return Families(text)

    @property
    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200


def produce(broker, topology, maker: Maker, count: int, **options) -> list[str]:
    """Writes whole traces, one span per record, keyed by their ids."""
    ids = [maker.trace_id() for _ in range(count)]
    for each in ids:
        for span in maker.trace(each, **options):
            broker.produce(topology.spans, traces_data([span]).SerializeToString(), each.encode())
    return ids


def test_counters_agree_with_what_was_written(broker, run, read):
    topology = TailSampling(
        "console-metrics", lanes=2, policies=(ERRORS, "{name: half, type: probabilistic, probabilistic: {sampling_percentage: 50}}")
    )
    broker.create(topology.spans, *topology.outputs, partitions=4)
    worker = run(topology)
    console = Console(worker)
    wait_until(lambda: console.is_ready, "readiness")
    maker = Maker(seed=61)
    ids = [*produce(broker, topology, maker, 20), *produce(broker, topology, maker, 5, error=True)]
    broker.produce(topology.spans, b"\xff\xff\xff", b"no trace id")
    broker.produce(topology.spans, None, ids[0].encode())
    stray = maker.trace_id()
    for span in maker.trace(stray, error=True):
        broker.produce(topology.spans, traces_data([span]).SerializeToString(), b"unkeyed")
    broker.flush()
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions([*ids, stray], worker.require_running)

    def has_counted_all() -> Families | None:
        page = console.metrics()
        is_whole = page.sum("tailrace_decided_traces_total") == len(outcomes.final)
        return page if is_whole and page.sum("tailrace_kept_spans_total") == written else None

    written = sum(map(len, outcomes.kept.values()))
    page = wait_until(has_counted_all, "counters that have caught up")
    records = outcomes.reader.records
    assert page.value("tailrace_read_records_total") == len(records[topology.spans])
    assert page.value("tailrace_read_bytes_total") == sum(len(each.value or b"") for each in records[topology.spans])
    assert page.value("tailrace_read_spans_total") == 4 * (len(ids) + 1)
    assert page.by("tailrace_dead_letters_total", "reason") == Counter(
        each.headers["reason"].decode() for each in records[topology.dead_letters]
    )
    assert page.value("tailrace_malformed_records_total") == 2
    assert page.value("tailrace_unkeyed_records_total") == 4
    decisions = outcomes.final.values()
    verdicts = Counter((each["verdict"], each["trigger"]) for each in decisions)
    assert page.counts("tailrace_decided_traces_total", "verdict", "trigger") == verdicts
    early = [each for _, each in outcomes.decisions if not each["final"]]
    assert page.by("tailrace_early_kept_traces_total", "trigger") == {"eager": len(early)}
    assert page.value("tailrace_eager_latency_seconds_count") == len(early)
    policies = Counter(each["policy"] for each in decisions if each["verdict"] == "keep")
    assert page.counts("tailrace_kept_traces_total", "policy") == Counter({(name,): count for name, count in policies.items()})
    services = Counter()
    for decision in decisions:
        root = decision["root"]
        services[root["service"] if root else "(no root)", decision["verdict"]] += 1
    assert page.counts("tailrace_service_traces_total", "service", "verdict") == services
    assert page.value("tailrace_decision_latency_seconds_count") == len(decisions)
    assert page.value("tailrace_open_traces") == page.value("tailrace_buffered_bytes") == 0
    assert page.value("tailrace_assigned_partitions") == 4
    assert page.by("tailrace_lag_records", "partition") == {str(number): 0 for number in range(4)}
    assert page.by("tailrace_lag_seconds", "partition") == {str(number): 0 for number in range(4)}
    assert page.value("tailrace_commits_total") == page.value("tailrace_commit_duration_seconds_count") > 0
    assert page.value("tailrace_worker_recovering") == 0
    assert page.value("process_resident_memory_bytes") > 1e6
    assert 0 < page.value("process_open_fds") < page.value("process_max_fds")
    assert {labels["kind"] for labels, _ in page.samples("tailrace_build_info")} == {"tail-sampling"}
    # librdkafka reports statistics every five seconds.
    wait_until(lambda: all(count > 0 for count in console.metrics().by("tailrace_kafka_received_bytes_total", "client").values()), "statistics of both clients")
    assert console.metrics().samples("tailrace_kafka_round_trip_seconds")
    assert worker.stop() == 0


def test_the_page_is_sound(broker, run):
    sampling = TailSampling("console-form", policies=('{name: "a \\"b\\" \\\\ é", type: always_sample}',))
    repartition = Repartition("console-form-repartition", output=sampling.spans)
    broker.create(sampling.spans, *sampling.outputs, repartition.raw_spans, repartition.dead_letters, partitions=2)
    for topology in (sampling, repartition):
        worker = run(topology)
        status, text = Console(worker).get("/metrics")
        assert status == 200
        families = Families(text)
        # `Families` has checked that every family appears once, with HELP and TYPE before its samples.
        assert len(families.types) > 20
        assert promtool("check", "metrics", text=text) == "", "promtool finds nothing to say"
        assert worker.stop() == 0
    assert "tailrace_written_records_total" in families.types
    assert "tailrace_open_traces" not in families.types, "a repartitioner holds no traces"


def test_readiness_follows_recovery(broker, start):
    topology = TailSampling("console-ready", decision_wait="60s", decision_wait_after_root="60s")
    broker.create(topology.spans, *topology.outputs, partitions=2)
    first = start(topology)
    console = Console(first)
    wait_until(lambda: console.is_ready, "readiness with nothing to recover")
    assert console.get("/startupz") == console.get("/livez") == (200, "ok\n")
    maker = Maker(seed=62)
    produce(broker, topology, maker, 10)
    broker.flush()
    wait_until(lambda: console.metrics().value("tailrace_read_records_total") == 40, "all records")
    wait_until(lambda: console.metrics().value("tailrace_commits_total") > 0, "a commit")
    # It closes no window: the next worker reads all of them again.
    assert first.stop() == 0
    second = start(topology)
    console = Console(second)
    status, reasons = console.get("/readyz")
    assert status == 503 and re.search(r"lane 0 is (connecting|waiting for|recovering)|topics", reasons), reasons
    wait_until(lambda: console.is_ready, "readiness after recovery")
    page = console.metrics()
    assert page.value("tailrace_worker_recovering") == 0
    assert page.value("tailrace_open_traces") == 10
    assert page.value("tailrace_recovery_duration_seconds_count") == len(page.samples("tailrace_lag_records")) == 2
    assert second.stop() == 0


def test_a_member_without_partitions_is_ready(broker, run, start):
    topology = TailSampling("console-spare")
    broker.create(topology.spans, *topology.outputs, partitions=1)
    first = run(topology.for_worker("first"))
    second = start(topology.for_worker("second"))
    consoles = [Console(first), Console(second)]
    wait_until(lambda: all(each.is_ready for each in consoles), "readiness of both")
    assigned = sorted(each.metrics().value("tailrace_assigned_partitions") for each in consoles)
    assert assigned == [0, 1]
    assert first.stop() == second.stop() == 0


def test_a_broker_outage_is_no_reason_to_restart(children, write):
    topology = TailSampling("console-no-broker")
    (port,) = free_ports(1)
    worker = children.start("no-broker", [TAILRACE, "run", write(topology)], {"BROKER": f"127.0.0.1:{port}"})
    console = Console(worker)
    assert console.get("/livez") == (200, "ok\n")
    assert console.get("/startupz") == (503, "the topics are not prepared: waiting for the brokers\n")
    assert console.get("/readyz")[0] == 503
    wait_until(lambda: console.metrics().value("tailrace_disturbances_total") > 1, "trouble that is counted")
    assert worker.stop() == 0


def test_a_frozen_process_does_not_answer(broker, run):
    topology = TailSampling("console-frozen")
    broker.create(topology.spans, *topology.outputs, partitions=1)
    worker = run(topology)
    console = Console(worker)
    assert console.get("/livez")[0] == 200
    with worker.frozen(), pytest.raises(TimeoutError):
        console.get("/livez", timeout=1)
    wait_until(lambda: console.get("/livez")[0] == 200, "life")
    assert worker.stop() == 0


def test_the_configuration_is_shown_without_secrets(broker, run, write, tailrace):
    topology = TailSampling("console-config", policies=(EVERYTHING,), kafka={"ssl.key.password": SECRET})
    broker.create(topology.spans, *topology.outputs, partitions=1)
    worker = run(topology)
    console = Console(worker)
    status, text = console.get("/configz")
    assert status == 200
    assert text == tailrace("check", write(topology)).stdout.removesuffix("\n")
    for scheme in "sasl.kerberos.kinit.cmd", "client.id":
        secret = {scheme: f"https://me:{SECRET}@login.example/x"}
        assert SECRET not in tailrace("check", write(replace(topology, name=f"console-{scheme}", kafka=secret))).stdout
    assert 'ssl.key.password: "***"' in text
    assert SECRET not in text + worker.output + console.get("/metrics")[1]
    assert worker.stop() == 0
    assert SECRET not in worker.output


def test_other_requests_are_refused(broker, run):
    topology = TailSampling("console-refuses")
    broker.create(topology.spans, *topology.outputs, partitions=1)
    worker = run(topology)
    console = Console(worker)
    assert console.get("/nothing")[0] == 404
    assert console.get("/")[0] == 200
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(urllib.request.Request(f"http://{console.address}/metrics", method="POST", data=b"x"))
    host, _, port = console.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"not http at all\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    # A hundred silent connections leave room again once they are gone.
    silent = [socket.create_connection((host, int(port)), timeout=10) for _ in range(100)]
    for each in silent:
        each.close()
    wait_until(lambda: answers(console), "an answer")
    assert worker.stop() == 0


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ", id="slow-head"),
        pytest.param(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", id="slow-body"),
        pytest.param(b"GET /" + b"x" * 100_000, id="long-target"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 3000, id="pipeline-livez"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3000, id="pipeline-metrics"),
    ],
)
def test_probes_are_answered_during_an_attack(children, write, sent):
    (port,) = free_ports(1)
    worker = children.start("attacked", [TAILRACE, "run", write(TailSampling("console-attack"))], {"BROKER": f"127.0.0.1:{port}"})
    console = Console(worker)
    host, _, port = console.address.rpartition(":")
    before = console.metrics().value("process_resident_memory_bytes")
    attackers = [socket.create_connection((host, int(port)), timeout=10) for _ in range(300)]
    for each in attackers:
        each.setblocking(False)
    times = []
    for _ in range(30):
        for each in attackers:
            try:
                each.send(sent or b"")
            except OSError:
                pass  # Full, or closed by the console.
        begun = time.monotonic()
        assert console.get("/livez") == (200, "ok\n")
        times.append(time.monotonic() - begun)
    # The machine may be busy with other things for a moment.
    assert sorted(times)[len(times) // 2] < 1, times
    page = console.metrics()
    assert page.value("process_resident_memory_bytes") - before < 100e6
    assert page.by("tailrace_console_closed_connections_total", "reason")["displaced"] > 0
    for each in attackers:
        each.close()
    assert worker.stop() == 0


def answers(console: Console) -> bool:
    try:
        return console.get("/livez")[0] == 200
    except OSError:
        return False


def test_a_port_that_is_taken(broker, tailrace, children):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = children.directory / "console-taken.yaml"
        path.write_text(f"kind: tail-sampling\nconsole: {{port: {port}}}\n")
        result = tailrace("run", path)
    assert result.returncode == 1
    assert result.stdout == (
        f"tailrace: {path}: console: 127.0.0.1:{port} is in use: "
        "choose another console.port, or 0 for any free port\n"
    )


def test_logs_as_json(children, write):
    (port,) = free_ports(1)
    path = children.directory / "console-json.yaml"
    path.write_text(TailSampling("console-json").text + "log: {format: json, level: warning}\n")
    worker = children.start("json-log", [TAILRACE, "run", path], {"BROKER": f"127.0.0.1:{port}"})
    worker.wait_for(lambda: "no answer from the brokers" in worker.output, "a word about it")
    assert worker.stop() == 0
    lines = [json.loads(line) for line in worker.output.splitlines()]
    assert lines and all(line["level"] in ("warning", "error") for line in lines)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
