"""Kept spans as far as a store that speaks OTLP/gRPC, by gRPC's own library."""

import itertools
import socket
import ssl
from collections.abc import Callable, Iterator

import grpc
import pytest

from grpc_receiver import OK, Call, Failure, GRPCReceiver
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from otlp import Maker
from receiver import opened
from secure_listeners import Authority, Listener
from test_console import Console
from test_export import SECRET, committed, produce
from topologies import Export

PLAIN = "tls: {insecure: true}"
TYPE = b"type.googleapis.com/google.rpc.RetryInfo"
ENTRY = b"\x0a" + bytes([len(TYPE)]) + TYPE + b"\x12\x04\x0a\x02\x08\x01"
RETRY_INFO = b"\x08\x08\x1a" + bytes([len(ENTRY)]) + ENTRY
"""A google.rpc.Status with a RetryInfo of one second."""


@pytest.fixture
def receive() -> Iterator[Callable[..., GRPCReceiver]]:
    yield from opened(GRPCReceiver)


def export(name: str, receiver: GRPCReceiver, extra: str) -> Export:
    return Export(name, section="otlp_grpc", endpoint=f"127.0.0.1:{receiver.port}", extra=extra)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_everything_arrives_once(broker, run, receive, compression):
    receiver = receive()
    topology = export(f"grpc-{compression}", receiver, f"{PLAIN}, compression: {compression}")
    broker.create(topology.sampled, topology.dead_letters, partitions=3)
    spans = produce(broker, topology, Maker(seed=81), 200)
    worker = run(topology)
    committed(broker, topology)
    assert receiver.taken == dict.fromkeys(spans, 1)
    assert worker.stop() == 0


def test_a_store_that_fails_gets_everything(broker, run, receive, read):
    codes = grpc.StatusCode
    failures: Iterator[Failure] = iter(
        [
            Failure(codes.UNAVAILABLE, "busy"),
            Failure(codes.RESOURCE_EXHAUSTED, "slow down", RETRY_INFO),
            Failure(codes.UNAUTHENTICATED, "who?"),
            Failure(codes.INTERNAL, "oops"),
            Failure(codes.UNIMPLEMENTED),
        ]
    )
    receiver = receive(lambda _: next(failures, OK))
    retry = "retry_on_failure: {initial_interval: 50ms, max_interval: 200ms}"
    topology = export("grpc-failing", receiver, f"{PLAIN}, connections: 1, {retry}")
    broker.create(topology.sampled, topology.dead_letters, partitions=2)
    spans = produce(broker, topology, Maker(seed=82), 50)
    worker = run(topology)
    committed(broker, topology)
    assert set(receiver.taken) == set(spans)
    retries = Console(worker).metrics().by("tailrace_export_retries_total", "reason")
    expected = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "INTERNAL", "UNIMPLEMENTED"}
    assert expected <= set(retries)
    pause = [b.at - a.at for a, b in itertools.pairwise(receiver.calls)][1]
    assert pause >= 0.9, "RetryInfo was not kept"
    letters = read(topology.dead_letters)
    letters.quiet(0.5)
    assert not letters.records[topology.dead_letters]


def test_refused_records_are_dead_letters_and_partial_success_is_counted(broker, run, receive, read):
    maker = Maker(seed=83)
    bad: set[str] = set()

    def answer(call: Call) -> ExportTraceServiceResponse | Failure:
        if bad & set(call.span_ids):
            return Failure(grpc.StatusCode.INVALID_ARGUMENT, "a bad\nname, 100%")
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = 1
        response.partial_success.error_message = "too old"
        return response

    receiver = receive(answer)
    topology = export("grpc-refused", receiver, PLAIN)
    broker.create(topology.sampled, topology.dead_letters, partitions=1)
    spans = produce(broker, topology, maker, 20)
    bad |= set(produce(broker, topology, maker, 1))
    spans |= produce(broker, topology, maker, 20)
    worker = run(topology)
    committed(broker, topology)
    assert set(receiver.taken) == set(spans)
    letters = read(topology.dead_letters)
    letters.until(lambda: len(letters.records[topology.dead_letters]) >= 1, "a dead letter")
    (letter,) = letters.records[topology.dead_letters]
    assert letter.headers["error"] == b"the store answers INVALID_ARGUMENT: a bad\\u{a}name, 100%"
    assert Console(worker).metrics().value("tailrace_export_rejected_spans_total") > 0
    assert "too old" in worker.output


def test_mutual_tls_and_secret_headers(broker, run, receive, tmp_path):
    authority = Authority(tmp_path, "store")
    certificate, key = authority.issue("exporter")
    own_certificate, own_key = authority.issue("receiver")
    credentials = grpc.ssl_server_credentials(
        [(own_key.read_bytes(), own_certificate.read_bytes())], authority.certificate.read_bytes(), True
    )
    receiver = receive(credentials=credentials)
    token = tmp_path / "token"
    token.write_text(f"Bearer {SECRET}\n")
    extra = (
        f'headers: {{authorization: "${{file:{token}}}"}}, '
        f"tls: {{ca_file: {authority.certificate}, cert_file: {certificate}, key_file: {key}}}"
    )
    topology = export("grpc-tls", receiver, extra)
    broker.create(topology.sampled, topology.dead_letters, partitions=1)
    spans = produce(broker, topology, Maker(seed=86), 5)
    worker = run(topology)
    committed(broker, topology)
    assert set(receiver.taken) == set(spans)
    assert {call.metadata["authorization"] for call in receiver.calls} == {f"Bearer {SECRET}"}
    shown = Console(worker).get("/configz")[1]
    assert "authorization" in shown
    assert SECRET not in shown + worker.output


def test_a_certificate_may_have_another_name(broker, run, receive, tmp_path):
    authority = Authority(tmp_path, "store")
    certificate, key = authority.issue("receiver", "DNS:store.example")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    receiver = receive(credentials=credentials)
    tls = f"tls: {{ca_file: {authority.certificate}, server_name_override: store.example}}"
    topology = export("grpc-name", receiver, tls)
    broker.create(topology.sampled, topology.dead_letters, partitions=1)
    spans = produce(broker, topology, Maker(seed=87), 5)
    run(topology)
    committed(broker, topology)
    assert set(receiver.taken) == set(spans)


def test_a_store_without_http2_is_told_of(broker, run, tmp_path):
    authority = Authority(tmp_path, "store")
    certificate, key = authority.issue("receiver")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def accept(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            while secured.recv(1024):
                pass

    listener = Listener(accept)
    retry = "retry_on_failure: {initial_interval: 50ms, max_interval: 200ms}"
    topology = Export(
        "grpc-no-alpn",
        section="otlp_grpc",
        endpoint=listener.address,
        extra=f"tls: {{ca_file: {authority.certificate}}}, {retry}",
    )
    broker.create(topology.sampled, topology.dead_letters, partitions=1)
    produce(broker, topology, Maker(seed=88), 5)
    worker = run(topology)
    told = "it does not agree to HTTP/2 over TLS (ALPN)"
    worker.wait_for(lambda: told in worker.output, "the cause in the log")
    assert worker.stop() == 0
    listener.close()
