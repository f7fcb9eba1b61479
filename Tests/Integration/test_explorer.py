"""`tailrace console`: a fleet's kept traces by HTTP, its own interface and Jaeger's."""

import base64
import contextlib
import json
import random
import re
import socket
import ssl
import struct
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import jaeger_mcp
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status, TracesData

from children import TAILRACE, Child, wait_until
from secure_listeners import Authority
from test_logs import Logs
from topologies import ERRORS, EVERYTHING, TailSampling

MS = 1_000_000
HOSTILE = ("<script>alert(1)</script>", "\u202e\u0000\"\\", "x" * 300, "a/b?c#d&e=f")


class Explorer:
    """A console's interface."""

    def __init__(self, child: Child, user: str | None = None, pattern: str = r"console at (https?://\S+)/"):
        self.child = child
        found = child.wait_for(lambda: re.search(pattern, child.output), "the console's address")
        self.address = found.group(1)
        self.user = user
        self.trusts: ssl.SSLContext | None = None

    def get(self, path: str, headers: dict[str, str] | None = None, **query) -> tuple[int, bytes, dict[str, str]]:
        text = urllib.parse.urlencode(query, doseq=True)
        request = urllib.request.Request(f"{self.address}{path}{'?' if text else ''}{text}", headers=headers or {})
        if self.user:
            request.add_header("Authorization", "Basic " + base64.b64encode(self.user.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.trusts) as response:
                return response.status, response.read(), dict(response.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def json(self, path: str, **query):
        status, body, headers = self.get(path, **query)
        assert status == 200, body
        assert headers["Content-Type"] == "application/json"
        return json.loads(body)


class Maker:
    """Traces of a front that calls a back, the whole trace in two records."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.traces: dict[str, dict] = {}

    def attribute(self, key: str, value: str) -> KeyValue:
        return KeyValue(key=key, value=AnyValue(string_value=value))

    def record(self, service: str, spans: list[Span]) -> bytes:
        resource = Resource(attributes=[self.attribute("service.name", service), self.attribute("host", f"{service}-1")])
        scope = ScopeSpans(scope=InstrumentationScope(name="lib", version="1"), spans=spans)
        return TracesData(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])]).SerializeToString()

    def trace(self, broker, topic: str, *, front="front", back="back", operation="GET /", error=False, milliseconds=20, user="u") -> str:
        trace_id, root, child = self.random.randbytes(16), self.random.randbytes(8), self.random.randbytes(8)
        start = time.time_ns() - 50 * MS
        first = Span(
            trace_id=trace_id, span_id=root, name=operation, kind=Span.SPAN_KIND_SERVER, start_time_unix_nano=start,
            end_time_unix_nano=start + milliseconds * MS, attributes=[self.attribute("user", user)],
        )
        second = Span(
            trace_id=trace_id, span_id=child, parent_span_id=root, name="query", kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=start + MS, end_time_unix_nano=start + 2 * MS,
            status=Status(code=Status.STATUS_CODE_ERROR if error else 0, message="no" if error else ""),
            events=[Span.Event(time_unix_nano=start + MS, name="tried", attributes=[self.attribute("times", "3")])],
            links=[Span.Link(trace_id=b"\x01" * 16, span_id=b"\x02" * 8)],
        )
        key = trace_id.hex()
        broker.produce(topic, self.record(back, [second]), key.encode())
        broker.produce(topic, self.record(front, [first]), key.encode())
        self.traces[key] = {"error": error, "user": user}
        return key


@pytest.fixture
def explore(broker, children, write):
    def explore(topology: TailSampling, *options: str, user: str | None = None) -> Explorer:
        command = [TAILRACE, "console", write(topology), "--port", "0", *options]
        return Explorer(children.start(f"console-{topology.label}", command, {"BROKER": broker.address}), user)

    return explore


def has_traces(explorer: Explorer, count: int):
    def check():
        explorer.child.require_running()
        found = explorer.json("/v1/traces", limit=1500)
        decided = [each for each in found["traces"] if each["final"]]
        return found["traces"] if len(decided) >= count and explorer.json("/v1/status")["index"]["spans"] >= 2 * count else None

    return wait_until(check, f"{count} traces in the index")


def test_every_route_answers_about_kept_traces(broker, run, explore):
    topology = TailSampling("explorer", policies=(ERRORS, EVERYTHING), baseline="baseline: {budget: {traces_percentage: 50}, interval: 1s}\n")
    broker.create(topology.spans, *topology.outputs, partitions=4)
    worker = run(topology)
    explorer = explore(topology)
    maker = Maker(1)
    plain = [maker.trace(broker, topology.spans, user=f"u{number}") for number in range(20)]
    failed = [maker.trace(broker, topology.spans, error=True, milliseconds=200) for _ in range(5)]
    hostile = [maker.trace(broker, topology.spans, front=name, operation=name, user=name) for name in HOSTILE]
    broker.flush()
    rows = has_traces(explorer, 29)

    # Traces.
    assert {each["trace_id"] for each in rows} == {*plain, *failed, *hostile}
    by_id = {each["trace_id"]: each for each in rows}
    for key in failed:
        row = by_id[key]
        assert (row["error"], row["errors"], row["spans"], row["policy"]) == (True, 1, 2, "errors")
        assert row["service"] == "front" and row["operation"] == "GET /"
        assert sorted(each["name"] for each in row["services"]) == ["back", "front"]
        assert row["duration_ns"] == row["whole_duration_ns"] == 200 * MS
    errors = explorer.json("/v1/traces", error=1)
    assert {each["trace_id"] for each in errors["traces"]} == set(failed)
    slow = explorer.json("/v1/traces", min_duration="100ms", sort="longest")
    assert {each["trace_id"] for each in slow["traces"]} == set(failed)
    tagged = explorer.json("/v1/traces", tag="user=u7")
    assert [each["trace_id"] for each in tagged["traces"]] == [plain[7]] and tagged["total"] == 1
    for key, name in zip(hostile, HOSTILE):
        shown = name if len(name) <= 256 else name[:256]
        found = explorer.json("/v1/traces", service=shown, operation=shown)
        assert [each["trace_id"] for each in found["traces"]] == [key], name
    assert explorer.json("/v1/traces", limit=3)["truncated"] is True
    assert explorer.json("/v1/traces", service="unheard")["traces"] == []

    # One trace.
    trace = explorer.json(f"/v1/traces/{failed[0]}")
    assert trace["missing"] is None and len(trace["spans"]) == 2
    (error,) = [span for span in trace["spans"] if span["status"] == "error"]
    (root,) = [span for span in trace["spans"] if span["parent_span_id"] is None]
    assert error["parent_span_id"] == root["span_id"]
    assert (error["service"], error["status_message"], error["kind"], error["scope"]) == ("back", "no", "server", "lib 1")
    assert error["events"][0]["attributes"] == [["times", "3", "string"]]
    assert error["links"][0]["trace_id"] == "01" * 16
    assert ["user", "u", "string"] in root["attributes"]
    assert ["service.name", "front", "string"] in trace["resources"][root["resource"]]
    finals = [each for each in trace["decisions"] if each["final"]]
    assert len(finals) == 1 and finals[0]["policy"] == "errors" and finals[0]["record"]["trace_id"] == failed[0]

    # Sums.
    status = explorer.json("/v1/status")
    assert status["index"]["traces"] == 29 and status["index"]["bytes"] <= status["index"]["bytes_max"]
    wait_until(lambda: explorer.json("/v1/status")["index"]["caught_up"], "the end of reading")
    assert explorer.get("/readyz")[0] == 200
    services = {each["name"]: each for each in explorer.json("/v1/services")["services"]}
    assert all(each["bytes"] > 0 for each in explorer.json("/v1/overview")["by_service"])
    assert services["back"]["operations"] == ["query"] and services["back"]["errors"] == 5
    overview = explorer.json("/v1/overview", steps=10)
    assert sum(overview["kept"]) == 29 and sum(overview["kept_spans"]) == 58
    assert sum(sum(each["kept"]) for each in overview["by_reason"] if each["policy"] == "errors") == 5
    wait_until(lambda: explorer.json("/v1/overview")["lag"]["records"] is not None, "the lag")
    shown = explorer.json("/v1/map")
    calls = {(each["from"], each["to"]): each for each in shown["calls"]}
    assert calls["front", "back"]["calls"] == 25 and calls["front", "back"]["calls_low"] == 25
    assert calls["front", "back"]["errors_share"] == pytest.approx(0.2)
    latency = explorer.json("/v1/latency", service="front", operation="GET /")
    assert sum(each["samples"] for each in latency["buckets"]) == 25 and len(latency["dots"]) == 25
    assert 15 * MS < latency["p50_ns"] < 25 * MS
    explained = explorer.json(f"/v1/explain/{failed[0]}")
    assert explained["verdict"] == "keep" and explained["trace_id"] == failed[0]

    # Errors are said in JSON.
    for path, wanted in (("/v1/traces/zz", 400), (f"/v1/traces/{'1' * 32}", 404), ("/v1/latency", 400), ("/nothing", 404)):
        assert explorer.get(path)[0] == wanted
    assert "error" in json.loads(explorer.get("/v1/traces", min_duration="long")[1])
    check_jaeger(explorer, plain, failed, hostile)
    check_pages(explorer)
    check_events(explorer)
    assert worker.stop() == 0
    assert explorer.child.stop() == 0


def check_jaeger(explorer: Explorer, plain: list[str], failed: list[str], hostile: list[str]) -> None:
    services = explorer.json("/api/services")
    assert {"front", "back", *HOSTILE[:2], HOSTILE[3]} <= set(services["data"]) and services["total"] == len(services["data"])
    assert set(services) == {"data", "total", "limit", "offset", "errors"}
    assert explorer.json("/api/services/front/operations")["data"] == ["GET /"]
    name = urllib.parse.quote(HOSTILE[3], safe="")
    assert explorer.json(f"/api/services/{name}/operations")["data"] == [HOSTILE[3]]
    assert explorer.json("/api/operations", service="back")["data"] == [{"name": "query", "spanKind": "server"}]
    assert explorer.json("/api/operations", service="back", spanKind="client")["data"] == []

    def search(**query) -> set[str]:
        return {each["traceID"] for each in explorer.json("/api/traces", **query)["data"]}

    assert search(service="front", limit=100) == {*plain, *failed}
    assert search(service="front", tags='{"user":"u3"}') == {plain[3]}
    assert search(service="front", tag="user:u3") == {plain[3]}
    assert search(service="back", tags='{"error":"true"}') == set(failed)
    assert search(service="front", tags='{"error":"true"}') == set()
    assert search(service="front", minDuration="100ms") == set(failed)
    assert search(service="back", minDuration="100ms") == set()
    assert search(service="front", maxDuration="100ms", limit=100) == set(plain)
    assert len(search(service="front", limit=2)) == 2
    now = time.time_ns() // 1000
    assert search(service="front", start=now - 3600 * 10**6, end=now, lookback="1h", limit=100) == {*plain, *failed}
    assert search(service="front", start=now - 7200 * 10**6, end=now - 3600 * 10**6) == set()
    assert search(traceID=[plain[0], plain[1]]) == set(plain[:2])
    assert explorer.get("/api/traces")[0] == 400
    (trace,) = explorer.json(f"/api/traces/{failed[0]}", prettyPrint="true")["data"]
    assert trace["traceID"] == failed[0] and len(trace["spans"]) == 2
    assert {each["serviceName"] for each in trace["processes"].values()} == {"front", "back"}
    (error,) = [span for span in trace["spans"] if span["operationName"] == "query"]
    assert {"key": "error", "type": "bool", "value": True} in error["tags"]
    assert {each["refType"] for each in error["references"]} == {"CHILD_OF", "FOLLOWS_FROM"}
    assert error["logs"][0]["fields"][0] == {"key": "event", "type": "string", "value": "tried"}
    missing = explorer.get(f"/api/traces/{'1' * 32}")
    assert missing[0] == 404 and json.loads(missing[1])["errors"][0]["msg"] == "trace not found"
    (hostile_trace,) = explorer.json(f"/api/traces/{hostile[1]}")["data"]
    assert HOSTILE[1] in [span["operationName"] for span in hostile_trace["spans"]]
    calls = explorer.json("/api/dependencies", endTs=time.time_ns() // MS, lookback=3600_000)["data"]
    assert {"parent": "front", "child": "back", "callCount": 25} in calls


def check_pages(explorer: Explorer) -> None:
    status, body, headers = explorer.get("/")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and b"<" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    status, body, _ = explorer.get("/", headers={"If-None-Match": headers["ETag"]})
    assert (status, body) == (304, b"")
    assert explorer.get("/ui/../../etc/passwd")[0] == 404
    # Another site's name that points here.
    assert explorer.get("/v1/status", headers={"Host": "evil.example"})[0] == 403


def check_events(explorer: Explorer) -> None:
    host, port = explorer.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        text = b""
        while text.count(b"event: tick") < 2:
            more = connection.recv(65536)
            assert more, text
            text += more
    assert b"text/event-stream" in text
    data = re.search(rb"event: tick\ndata: (.*)\n", text)
    first = json.loads(data.group(1))
    # Nobody has listened: what is in the index did not come just now.
    assert {"at_ns", "kept", "errors", "slow", "traces"} == set(first)
    assert first["kept"] == 0 and first["traces"] == []
    metrics = explorer.get("/metrics")
    assert metrics[0] == 200 and metrics[2]["Content-Type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in metrics[1].decode().splitlines() if not line.startswith("#"))
    assert float(values["tailrace_explorer_traces"]) == 29
    assert float(values["tailrace_explorer_backlog_share"]) == 1
    assert int(values["tailrace_explorer_read_spans_total"]) == 58
    assert int(values['tailrace_explorer_requests_total{status="404"}']) >= 2


ODD = [
    "/api/traces?service=x&lookback=-999999d",
    "/api/traces?service=x&lookback=-100000d&end=0",
    "/v1/overview?from=1700-01-01T00:00:00Z",
    "/v1/overview?from=-99999999999h&to=9223372036854775807",
    "/v1/overview?from=9223372036854775807&steps=1000",
    "/v1/map?to=1677-09-21T00:30:00Z",
    "/v1/latency?service=x&from=1677-09-21T00:30:00Z&to=9223372036854775807",
    "/v1/traces?from=0&to=9223372036854775807&min_duration=18446744073709551615",
    "/v1/traces?tag=%25%2B%00=%ff%fe&limit=1",
    "/v1/%65xplain/0123456789abcdef0123456789abcdef?",
]
"""Requests with values at and beyond the limits of numbers."""


def test_odd_requests_are_answered(broker, explore):
    topology = TailSampling("odd")
    broker.create(topology.spans, *topology.outputs, partitions=1)
    explorer = explore(topology)
    wait_until(lambda: explorer.get("/readyz")[0] == 200, "the console")
    for path in ODD:
        assert explorer.get(path)[0] in (200, 400, 404), path
        explorer.child.require_running()


def test_others_need_a_password(broker, explore, session_children):
    topology = TailSampling("explorer-auth", policies=(EVERYTHING,))
    broker.create(topology.spans, *topology.outputs, partitions=1)
    path = session_children.directory / "explorer-users"
    path.write_text("# who may read\nann:se:cret\n")
    explorer = explore(topology, "--address", "0.0.0.0", "--auth-file", str(path), "--plain-http", user="ann:se:cret")
    explorer.address = explorer.address.replace("0.0.0.0", "127.0.0.1")
    assert explorer.get("/v1/status")[0] == 200
    for wrong in ("ann:secret", "ann:", "bob:se:cret", "ann", ""):
        explorer.user = wrong
        status, body, headers = explorer.get("/v1/status")
        assert status == 401 and headers["WWW-Authenticate"].startswith("Basic"), wrong
        assert explorer.get("/v1/live")[0] == 401
    assert explorer.get("/livez")[0] == 200


class Secure:
    """A console with TLS, and what trusts it."""

    def __init__(self, explore, directory, name: str):
        directory.mkdir(exist_ok=True)
        authority = Authority(directory, name)
        certificate, key = authority.issue("console")
        users = directory / f"{name}-users"
        users.write_text("ann:secret\n")
        topology = self.topology = TailSampling(name, policies=(EVERYTHING,))
        options = ["--tls-certificate", str(certificate), "--tls-key", str(key), "--auth-file", str(users)]
        self.explorer = explore(topology, "--address", "0.0.0.0", *options, user="ann:secret")
        assert self.explorer.address.startswith("https://0.0.0.0:")
        self.port = int(self.explorer.address.rpartition(":")[2])
        self.explorer.address = f"https://127.0.0.1:{self.port}"
        self.trusts = ssl.create_default_context(cafile=authority.certificate)
        self.explorer.trusts = self.trusts

    def connect(self, source: str = "127.0.0.1", receive_buffer: int = 0, timeout: float = 60) -> ssl.SSLSocket:
        raw = socket.socket()
        raw.settimeout(timeout)
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.bind((source, 0))
        raw.connect(("127.0.0.1", self.port))
        return self.trusts.wrap_socket(raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False)

    def failed_handshakes(self) -> int:
        metrics = self.explorer.get("/metrics")[1].decode()
        return int(re.search(r'closed_connections_total\{reason="handshake"\} (\d+)', metrics)[1])


def request(path: str, close: bool = False) -> bytes:
    user = base64.b64encode(b"ann:secret").decode()
    end = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {user}\r\n{end}\r\n".encode()


def received(connection, until: bytes | None = None) -> bytes:
    """What arrives, up to some bytes or to the end, which has to be said: no cut connection is one."""
    text = b""
    while until is None or until not in text:
        more = connection.recv(65536)
        if not more and until is None:
            return text
        assert more, text
        text += more
    return text


def test_passwords_go_over_tls(explore, session_children):
    secure = Secure(explore, session_children.directory / "tls", "explorer-tls")
    explorer = secure.explorer
    assert explorer.get("/v1/status")[0] == 200
    explorer.user = "ann:wrong"
    assert explorer.get("/v1/status")[0] == 401
    explorer.user = "ann:secret"
    style = explorer.get("/ui/app.css")[1]
    assert len(style) > 8000
    # Two requests on a connection, the second of them the last: its end is said, too.
    with secure.connect() as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
        connection.sendall(request("/livez"))
        assert received(connection, b"\r\n\r\nok\n").startswith(b"HTTP/1.1 200 OK\r\n")
        connection.sendall(request("/ui/app.css", close=True))
        assert received(connection).endswith(style)
    with secure.connect() as connection:
        connection.sendall(request("/v1/live"))
        received(connection, b"event: tick")
    # Who does not know its certificate does not talk to it, and it not to who speaks plainly.
    explorer.trusts = ssl.create_default_context()
    with pytest.raises(urllib.error.URLError):
        explorer.get("/livez")
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request("/livez"))
            assert b"200" not in connection.recv(65536)
    explorer.child.require_running()
    assert explorer.child.stop() == 0


def test_unfinished_handshakes_keep_nobody_out(explore, session_children):
    secure = Secure(explore, session_children.directory / "tls", "explorer-handshakes")
    silent = [socket.create_connection(("127.0.0.1", secure.port), timeout=20) for _ in range(300)]
    half = [socket.create_connection(("127.0.0.1", secure.port), timeout=20) for _ in range(100)]
    for connection in half:
        # The head of a ClientHello that never comes.
        connection.sendall(bytes.fromhex("1603010200010001fc0303"))
    for _ in range(5):
        assert secure.explorer.get("/v1/status")[0] == 200
    # The first ones had to make room.
    assert silent[0].recv(1) == b""
    for connection in (*silent, *half):
        connection.close()
    assert secure.explorer.get("/livez")[0] == 200
    metrics = secure.explorer.get("/metrics")[1].decode()
    displaced = re.search(r'closed_connections_total\{reason="displaced"\} (\d+)', metrics)
    assert int(displaced[1]) >= 144


def test_connections_that_send_nothing_are_no_failed_handshakes(explore, session_children):
    """Load balancers' checks are such."""
    secure = Secure(explore, session_children.directory / "tls", "explorer-checks")
    failed = secure.failed_handshakes()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as connection:
        connection.sendall(request("/livez"))
        wait_until(lambda: secure.failed_handshakes() > failed, "the handshake that failed")
    assert secure.failed_handshakes() == failed + 1
    assert secure.explorer.child.stop() == 0


def hello() -> bytes:
    """The first message of a handshake."""
    sent = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="console").do_handshake()
    return sent.read()


@pytest.mark.parametrize("is_in_pieces", [False, True], ids=["whole", "in_pieces"])
def test_a_flood_of_handshakes_keeps_nobody_waiting(explore, session_children, is_in_pieces):
    """Handshakes that begin and then fail, end, stand still, or arrive byte by byte, as many as can be sent, from
    one address: who is connected is answered all the while, and so is who comes from another address."""
    secure = Secure(explore, session_children.directory / "tls", f"explorer-flood-{is_in_pieces}".lower())
    first = hello()
    is_over = threading.Event()
    counts = [0] if is_in_pieces else [0, 0, 0]

    def flood(kind: int) -> None:
        standing: list[socket.socket] = []
        while not is_over.is_set():
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", secure.port), timeout=20)
                connection.sendall(first)
                counts[kind] += 1
                if kind == 0:
                    # An alert in place of the client's part.
                    connection.sendall(bytes.fromhex("15030300020228"))
                if kind < 2:
                    connection.close()
                    continue
                standing.append(connection)
                if len(standing) > 300:
                    standing.pop(0).close()

    def trickle() -> None:
        """Many first messages at a time, each of them with one byte in its turn."""
        standing: dict[socket.socket, int] = {}
        while not is_over.is_set():
            with contextlib.suppress(OSError):
                # One after the other, so that some are always in the middle; more than there are places for.
                if len(standing) < 300:
                    connection = socket.create_connection(("127.0.0.1", secure.port), timeout=20)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    standing[connection] = 0
            for connection, place in list(standing.items()):
                with contextlib.suppress(OSError):
                    connection.sendall(first[place : place + 1])
                    standing[connection] += 1
                # The last byte never comes.
                if standing[connection] in (place, len(first) - 1):
                    connection.close()
                    del standing[connection]
            counts[0] += 1
        for connection in standing:
            connection.close()

    threads = [threading.Thread(target=flood, args=(kind,), daemon=True) for kind in range(3)]
    if is_in_pieces:
        threads = [threading.Thread(target=trickle, daemon=True)]
    with secure.connect() as known:
        known.sendall(request("/livez"))
        assert received(known, b"\r\n\r\nok\n").startswith(b"HTTP/1.1 200 OK\r\n")
        for thread in threads:
            thread.start()
        wait_until(lambda: min(counts) >= (300 if is_in_pieces else 50), "the flood")
        for _ in range(20):
            # The one who is connected, and one who comes.
            known.sendall(request("/livez"))
            assert received(known, b"\r\n\r\nok\n").startswith(b"HTTP/1.1 200 OK\r\n")
            with secure.connect(source="127.0.0.2", timeout=5) as other:
                other.sendall(request("/livez", close=True))
                assert received(other).startswith(b"HTTP/1.1 200 OK\r\n")
        before = min(counts)
        wait_until(lambda: min(counts) > before, "the flood, which still goes on")
    is_over.set()
    for thread in threads:
        thread.join(timeout=60)
    assert is_in_pieces or secure.failed_handshakes() > 10
    assert secure.explorer.child.stop() == 0


def test_a_request_that_ends_what_is_sent_is_answered(explore, session_children):
    """The last part of the handshake, a request and the end of what the client sends may arrive at once."""
    secure = Secure(explore, session_children.directory / "tls", "explorer-end")
    for _ in range(10):
        arrived, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = secure.trusts.wrap_bio(arrived, sent, server_hostname="127.0.0.1")
        with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as connection:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    connection.sendall(sent.read())
                    arrived.write(connection.recv(65536))
            client.write(request("/livez", close=True))
            connection.sendall(sent.read())
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while more := connection.recv(65536):
                arrived.write(more)
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                    while text := client.read(65536):
                        answer += text
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
    assert secure.explorer.child.stop() == 0


def test_large_answers_over_tls_are_those_of_plain_http(broker, run, explore, session_children):
    """An answer is sent in pieces of 64 KiB, each once the one before has gone: nothing is lost or doubled,
    however slowly and in whatever pieces it is read."""
    secure = Secure(explore, session_children.directory / "tls", "explorer-large")
    broker.create(secure.topology.spans, *secure.topology.outputs, partitions=2)
    worker = run(secure.topology)
    maker = Maker(3)
    for number in range(300):
        maker.trace(broker, secure.topology.spans, user="u" * (number * 10))
    broker.flush()
    has_traces(secure.explorer, 300)
    plain = explore(secure.topology)
    has_traces(plain, 300)
    path = "/api/traces?service=front&limit=1500"
    status, wanted, _ = plain.get(path)
    assert status == 200 and len(wanted) > 5 * (64 << 10) and len(json.loads(wanted)["data"]) == 300
    assert secure.explorer.get(path)[1] == wanted
    # Twice on one connection, read a little at a time, with little room for what is on its way.
    with secure.connect(receive_buffer=4096) as connection:
        for close in (False, True):
            connection.sendall(request(path, close=close))
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(wanted)
            body = b""
            while len(body) < len(wanted):
                more = connection.recv(min(1 + len(body) % 7919, len(wanted) - len(body)))
                assert more, len(body)
                body += more
            assert body == wanted
        assert connection.recv(1) == b""
    assert worker.stop() == 0


def test_a_client_of_jaegers_that_is_not_ours(broker, run, explore):
    """jaeger-mcp, which serves Jaeger's query API to assistants, and knows Jaeger's answers only."""
    topology = TailSampling("explorer-client", policies=(ERRORS, EVERYTHING))
    broker.create(topology.spans, *topology.outputs, partitions=2)
    worker = run(topology)
    explorer = explore(topology)
    maker = Maker(5)
    plain = [maker.trace(broker, topology.spans, user=f"u{number}") for number in range(6)]
    failed = [maker.trace(broker, topology.spans, error=True, milliseconds=200) for _ in range(3)]
    broker.flush()
    has_traces(explorer, 9)
    client = jaeger_mcp.JaegerClient.from_env(url=explorer.address)

    def search(**query) -> set[str]:
        return {each.trace_id for each in client.search_traces("front", **query)}

    assert client.list_services() == ["back", "front"]
    assert search(limit=100) == {*plain, *failed}
    assert len(search(limit=4)) == 4
    assert search(operation="GET /", tags={"user": "u3"}) == {plain[3]}
    assert search(min_duration="100ms") == set(failed)
    assert search(max_duration="100ms") == set(plain)
    now = time.time_ns() // 1000
    assert search(time_from=now - 3600 * 10**6, time_to=now) == {*plain, *failed}
    assert search(time_from=now - 7200 * 10**6, time_to=now - 3600 * 10**6) == set()
    (summary,) = (each for each in client.search_traces("front", limit=100) if each.trace_id == failed[0])
    assert (summary.root_service, summary.root_operation, summary.span_count) == ("front", "GET /", 2)
    assert (summary.service_count, summary.errors_count, summary.duration_us) == (2, 1, 200_000)
    trace = client.get_trace(failed[0])
    assert (trace.root_service, trace.duration_us, trace.service_count, trace.errors_count) == ("front", 200_000, 2, 1)
    (child,) = (span for span in trace.spans if span.error)
    (root,) = (span for span in trace.spans if not span.error)
    assert (child.service_name, child.operation, child.duration_us) == ("back", "query", 1000)
    assert child.parent_span_id == root.span_id and root.parent_span_id is None
    assert child.tags["span.kind"] == "server" and child.logs and root.tags["user"] == "u"
    assert [(edge.parent, edge.child, edge.call_count) for edge in client.get_dependencies()] == [("front", "back", 9)]
    compared = client.compare_traces(plain[0], plain[1])
    assert not compared.added_spans and not compared.removed_spans
    (operation,) = client.span_statistics("back", limit=50).stats[1:]
    assert (operation.operation, operation.count, operation.error_count) == ("query", 9, 3)
    path = client.critical_path(failed[0])
    assert path["root_operation"] == "GET /" and path["total_duration_us"] == 200_000
    assert {each.trace_id for each in client.fetch_traces(plain[:2])} == set(plain[:2])
    with pytest.raises(Exception, match="404"):
        client.get_trace("1" * 32)
    client.close()
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--auth-file", "users"], 2, "--plain-http"),
        (["--auth-file", "users", "--tls-certificate", "a"], 2, "go together"),
        (["--auth-file", "users", "--tls-key", "a"], 2, "go together"),
        (["--auth-file", "users", "--plain-http", "--tls-certificate", "a", "--tls-key", "b"], 2, "exclude"),
        (["--auth-file", "users", "--tls-certificate", "none.pem", "--tls-key", "one.key"], 2, "none.pem"),
        (["--auth-file", "users", "--tls-certificate", "users", "--tls-key", "one.key"], 2, "users: "),
        (["--auth-file", "users", "--tls-certificate", "one.pem", "--tls-key", "one.pem"], 2, "one.pem: no key"),
        (["--auth-file", "users", "--tls-certificate", "one.pem", "--tls-key", "two.key"], 2, "it is not the key of"),
    ],
)
def test_what_tls_needs_is_checked(children, write, session_children, options, code, complaint):
    directory = session_children.directory / "tls-files"
    directory.mkdir(exist_ok=True)
    if not (directory / "two.key").exists():
        (directory / "users").write_text("ann:secret\n")
        Authority(directory, "one"), Authority(directory, "two")
    files = [str(directory / each) if not each.startswith("--") else each for each in options]
    command = [TAILRACE, "console", write(TailSampling("tls-files")), "--port", "0", "--address", "0.0.0.0", *files]
    child = children.start("console-tls", command, {"BROKER": "127.0.0.1:1"})
    assert child.process.wait(20) == code, child.output
    assert complaint in child.output


def test_logs_are_shown_with_their_trace(broker, run, explore):
    topology = TailSampling("explorer-logs", decision_wait="2s", decision_wait_after_root="1s", logs_wait="3s")
    broker.create(topology.spans, topology.logs, *topology.outputs, topology.sampled_logs, partitions=2)
    worker = run(topology)
    explorer = explore(topology)
    logs = Logs(broker, topology, seed=43)
    logs.send(6, records=3)
    kept = {trace for trace, _ in logs.kept if trace}
    assert len(kept) == 3

    def shown(trace: str) -> list[dict]:
        worker.require_running()
        status, body, _ = explorer.get(f"/v1/traces/{trace}")
        return (json.loads(body)["logs"] or []) if status == 200 else []

    for trace in kept:
        wait_until(lambda: len(shown(trace)) == 3, "its logs")  # noqa: B023
        told = shown(trace)
        assert {each["body"] for each in told} == {f"{trace} {number}" for number in range(3)}
        assert {(each["service"], each["severity"]) for each in told} == {("shop", "INFO")}
    assert explorer.json("/v1/status")["topics"]["logs"] == topology.sampled_logs
    assert explorer.json("/v1/status")["index"]["traces"] == 3


def test_a_topic_that_is_made_anew_is_read_again(broker, run, explore):
    topology = TailSampling("explorer-anew", policies=(EVERYTHING,))
    broker.create(topology.spans, *topology.outputs, partitions=1)
    worker = run(topology)
    explorer = explore(topology)
    maker = Maker(2)
    first = [maker.trace(broker, topology.spans) for _ in range(12)]
    broker.flush()
    has_traces(explorer, 12)
    assert worker.stop() == 0
    broker.delete(topology.sampled, topology.decisions)
    broker.create(topology.sampled, topology.decisions, partitions=1)
    worker = run(topology)
    after = [maker.trace(broker, topology.spans) for _ in range(3)]
    broker.flush()

    def is_whole(trace: str) -> bool:
        worker.require_running()
        status, body, _ = explorer.get(f"/v1/traces/{trace}")
        return status == 200 and len(json.loads(body)["spans"]) == 2 and bool(json.loads(body)["decisions"])

    for trace in after:
        wait_until(lambda: is_whole(trace), "a trace of the new topics")  # noqa: B023
    # What was in the old ones is gone, and no other record is shown in its place.
    old = explorer.json(f"/v1/traces/{first[0]}")
    assert old["spans"] == [] and old["decisions"] == [] and "not in the log" in old["missing"]


def test_an_address_of_all_needs_a_decision(children, write):
    topology = TailSampling("explorer-open", policies=(EVERYTHING,))
    child = children.start("console-open", [TAILRACE, "console", write(topology), "--address", "0.0.0.0"], {"BROKER": "x:1"})
    assert child.process.wait(20) == 2
    assert "--auth-file" in child.output


def test_a_console_without_brokers_says_so(explore):
    topology = TailSampling("explorer-alone", policies=(EVERYTHING,), kafka={"bootstrap.servers": "127.0.0.1:1"})
    explorer = explore(topology)
    errors = wait_until(lambda: explorer.json("/v1/status")["errors"], "an error")
    assert any(topology.sampled in each or topology.decisions in each or topology.group in each for each in errors)
    assert explorer.get("/readyz")[0] == 503
    assert explorer.child.stop() == 0
