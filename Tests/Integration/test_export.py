"""Kept spans as far as the store: everything arrives, whatever the store answers and whoever is killed."""

import itertools
import random
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from children import Child, wait_until
from otlp import Maker, spans_in, traces_data
from receiver import OK, Answer, Receiver, Request, opened, partial
from secure_listeners import Authority
from test_console import Console
from topologies import Export

SECRET = "store-token-5150"


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    yield from opened(Receiver)


def produce(broker, topology: Export, maker: Maker, count: int) -> dict[str, str]:
    """Writes traces of a span each; returns the trace of each span."""
    spans: dict[str, str] = {}
    for _ in range(count):
        trace = maker.trace_id()
        made = maker.trace(trace)
        spans |= {span.span_id.hex(): trace for span in made}
        broker.produce(topology.sampled, traces_data(made).SerializeToString(), trace.encode())
    broker.flush()
    return spans


def committed(broker, topology: Export) -> None:
    wait_until(lambda: not broker.uncommitted(topology.group, topology.sampled), "all offsets committed", 60)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_everything_arrives_once(broker, run, receive, compression):
    receiver = receive()
    topology = Export(f"export-{compression}", endpoint=receiver.url, extra=f"compression: {compression}")
    broker.create(topology.sampled, topology.dead_letters, partitions=3)
    spans = produce(broker, topology, Maker(seed=71), 200)
    worker = run(topology)
    committed(broker, topology)
    assert receiver.taken == dict.fromkeys(spans, 1)
    assert {request.path for request in receiver.requests} == {"/v1/traces"}
    sent = {request.headers.get("content-encoding", "none") for request in receiver.requests}
    assert sent == {compression}
    figures = Console(worker).metrics()
    assert figures.value("tailrace_export_spans_total") == len(spans)
    assert worker.stop() == 0


def test_a_store_that_fails_in_every_way_gets_everything(broker, run, receive, read):
    """503, 429 with a pause, 401, a redirection, a closed connection, an internal error, silence: then success."""
    failures: Iterator[Answer | None | str] = iter(
        [
            (503, {}, b""),
            (429, {"retry-after": "1"}, b"slow down"),
            None,
            (401, {}, b"who?"),
            (302, {"location": "http://127.0.0.1:1/"}, b""),
            (500, {}, b"oops"),
            "silence",
            (504, {}, b""),
            (404, {}, b""),
        ]
    )

    def answer(_: Request) -> Answer | None:
        failure = next(failures, OK)
        if failure == "silence":
            time.sleep(1.5)
            return None
        return failure

    receiver = receive(answer)
    extra = "connections: 1, timeout: 1s, retry_on_failure: {initial_interval: 50ms, max_interval: 200ms}"
    topology = Export("export-failing", endpoint=receiver.url, extra=extra)
    broker.create(topology.sampled, topology.dead_letters, partitions=2)
    spans = produce(broker, topology, Maker(seed=72), 50)
    worker = run(topology)
    committed(broker, topology)
    assert set(receiver.taken) == set(spans)
    retries = Console(worker).metrics().by("tailrace_export_retries_total", "reason")
    assert {"503", "429", "connection", "401", "302", "500", "504", "404"} <= set(retries)
    pause = [b.at - a.at for a, b in itertools.pairwise(receiver.requests)][1]
    assert pause >= 0.9, "Retry-After was not kept"
    letters = read(topology.dead_letters)
    letters.quiet(0.5)
    assert not letters.records[topology.dead_letters]


def test_refused_records_are_dead_letters_and_partial_success_is_counted(broker, run, receive, read):
    maker = Maker(seed=73)
    bad = maker.trace_id()

    def answer(request: Request) -> Answer:
        traces = {
            span.trace_id.hex()
            for resource in request.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }
        if bad in traces:
            return 400, {"content-type": "text/plain"}, b"span of a bad\nname"
        return partial(1, "too old") if len(traces) > 1 else OK

    receiver = receive(answer)
    topology = Export("export-refused", endpoint=receiver.url)
    broker.create(topology.sampled, topology.dead_letters, partitions=1)
    spans = produce(broker, topology, maker, 20)
    value = traces_data(maker.trace(bad)).SerializeToString()
    broker.produce(topology.sampled, value, bad.encode())
    broker.produce(topology.sampled, b"\xff\xff\xff", b"x")
    spans |= produce(broker, topology, maker, 20)
    worker = run(topology)
    committed(broker, topology)
    assert set(receiver.taken) == set(spans)
    letters = read(topology.dead_letters)
    letters.until(lambda: len(letters.records[topology.dead_letters]) >= 2, "two dead letters")
    by_reason = {each.headers["reason"].decode(): each for each in letters.records[topology.dead_letters]}
    refused = by_reason["refused_by_store"]
    assert (refused.value, refused.key) == (value, bad.encode())
    assert refused.headers["error"] == b"the store answers 400: span of a bad\\u{a}name"
    assert refused.headers["source_offset"] == b"20"
    figures = Console(worker).metrics()
    assert figures.value("tailrace_export_rejected_spans_total") > 0
    assert figures.value("tailrace_export_refused_records_total") == 1
    assert "the store rejects 1 span: too old" in worker.output


def test_killed_exporters_lose_nothing(broker, start, receive):
    """Two exporters share the partitions; each is killed in turn, while the store is slow and fails at times."""
    chance = random.Random(5)

    def answer(_: Request) -> Answer:
        time.sleep(0.01)
        return (503, {}, b"") if chance.random() < 0.2 else OK

    receiver = receive(answer)
    extra = "batch_bytes: 4KiB, retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}"
    kafka = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}
    topology = Export("export-killed", endpoint=receiver.url, extra=extra, kafka=kafka)
    broker.create(topology.sampled, topology.dead_letters, partitions=4)
    maker = Maker(seed=74)
    spans = produce(broker, topology, maker, 300)

    def begin(number: int) -> Child:
        return start(topology.for_worker(str(number), lasting=True, **{"group.instance.id": str(number)}))

    workers = [begin(number) for number in range(2)]
    for number in range(3):
        wait_until(lambda: len(receiver.taken) > 150 * (number + 1), "spans at the store", 60)  # noqa: B023
        workers[number % 2].kill()
        spans |= produce(broker, topology, maker, 300)
        workers[number % 2] = begin(number % 2)
    committed(broker, topology)
    assert set(receiver.taken) == set(spans)
    assert all(worker.stop() == 0 for worker in workers)


def test_aborted_records_do_not_reach_the_store(broker, run, receive):
    receiver = receive()
    topology = Export("export-aborted", endpoint=receiver.url)
    broker.create(topology.sampled, topology.dead_letters, partitions=1)
    maker = Maker(seed=75)
    producer = Producer({"bootstrap.servers": broker.address, "transactional.id": "export-aborted"})
    producer.init_transactions(30)
    kept: set[str] = set()
    for commits in (False, True, False):
        producer.begin_transaction()
        for _ in range(5):
            trace = maker.trace_id()
            made = maker.trace(trace)
            producer.produce(topology.sampled, traces_data(made).SerializeToString(), trace.encode())
            if commits:
                kept |= {span.span_id.hex() for span in made}
        producer.flush(30)
        if commits:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    after = produce(broker, topology, maker, 1)
    run(topology)
    wait_until(lambda: set(after) <= set(receiver.taken), "the last record at the store")
    assert set(receiver.taken) == kept | set(after)


def test_mutual_tls_and_secret_headers(broker, run, receive, tmp_path):
    authority = Authority(tmp_path, "store")
    certificate, key = authority.issue("exporter")
    receiver = receive(certificate=authority.issue("receiver"), clients=authority.certificate)
    token = tmp_path / "token"
    token.write_text(f"Bearer {SECRET}\n")
    extra = (
        f'headers: {{authorization: "${{file:{token}}}"}}, '
        f"tls: {{ca_file: {authority.certificate}, cert_file: {certificate}, key_file: {key}}}"
    )
    topology = Export("export-tls", endpoint=receiver.url, extra=extra)
    broker.create(topology.sampled, topology.dead_letters, partitions=1)
    spans = produce(broker, topology, Maker(seed=76), 5)
    worker = run(topology)
    committed(broker, topology)
    assert set(receiver.taken) == set(spans)
    assert {request.headers["authorization"] for request in receiver.requests} == {f"Bearer {SECRET}"}
    shown = Console(worker).get("/configz")[1]
    assert "authorization" in shown
    assert SECRET not in shown + worker.output


def test_a_store_of_another_authority_is_not_trusted(broker, run, receive, tmp_path):
    receiver = receive(certificate=Authority(tmp_path, "other").issue("receiver"))
    trusted = Authority(tmp_path, "trusted").certificate
    topology = Export("export-untrusted", endpoint=receiver.url, extra=f"tls: {{ca_file: {trusted}}}")
    broker.create(topology.sampled, topology.dead_letters, partitions=1)
    produce(broker, topology, Maker(seed=77), 1)
    worker = run(topology)
    worker.wait_for(lambda: "the store does not take spans" in worker.output, "a warning")
    assert not receiver.requests


@pytest.mark.parametrize("section", ["otlp_http", "otlp_grpc"])
def test_a_real_receiver(broker, run, read, collector, section):
    """The collector takes the exporter's requests, and writes what they hold to a topic."""
    topology = Export(f"export-collector-{section}", section=section)
    out = f"{topology.name}.out"
    broker.create(topology.sampled, topology.dead_letters, out, partitions=1)
    grpc, http = collector(out)
    topology.endpoint = f"http://{http}" if section == "otlp_http" else grpc
    if section == "otlp_grpc":
        topology.extra = "tls: {insecure: true}"
    spans = produce(broker, topology, Maker(seed=78), 30)
    run(topology)
    committed(broker, topology)
    reader = read(out)

    def arrived() -> set[str]:
        values = (each.value for each in reader.records[out] if each.value)
        return {span.message.span_id.hex() for span in spans_in(values)}

    reader.until(lambda: arrived() >= set(spans), "the spans in the collector's topic")
    assert arrived() == set(spans)
