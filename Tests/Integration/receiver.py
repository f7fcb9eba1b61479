"""A store: an OTLP/HTTP receiver that fails in every way that the protocol describes, and in those it does not."""

import contextlib
import gzip
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Kind = TypeVar("Kind")
Answer = tuple[int, dict[str, str], bytes]
OK: Answer = (200, {"content-type": "application/x-protobuf"}, b"")


def span_ids(message: ExportTraceServiceRequest) -> list[str]:
    return [
        span.span_id.hex()
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def opened(kind: Callable[..., Kind]) -> Iterator[Callable[..., Kind]]:
    """For a fixture: opens receivers, and closes all of them in the end."""
    receivers: list[Kind] = []

    def open_one(*arguments, **named) -> Kind:
        receivers.append(kind(*arguments, **named))
        return receivers[-1]

    yield open_one
    for each in receivers:
        each.close()


@dataclass
class Request:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    bytes: int
    message: ExportTraceServiceRequest
    at: float = field(default_factory=time.monotonic)

    @property
    def span_ids(self) -> list[str]:
        return span_ids(self.message)


def partial(rejected: int, message: str) -> Answer:
    """Success for all but some spans."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    return 200, {"content-type": "application/x-protobuf"}, response.SerializeToString()


class Receiver:
    """Answers each request as `answer` says; None closes the connection without an answer."""

    def __init__(
        self,
        answer: Callable[[Request], Answer | None] = lambda _: OK,
        certificate: tuple[Path, Path] | None = None,
        clients: Path | None = None,
    ):
        self.answer = answer
        self.requests: list[Request] = []
        self.taken: Counter[str] = Counter()
        """How often each span was taken, by its id."""
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            if clients is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(clients)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        encoding = handler.headers.get("content-encoding")
        plain = body
        if encoding == "gzip":
            plain = gzip.decompress(body)
        elif encoding == "zstd":
            plain = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.path, headers, len(body), ExportTraceServiceRequest.FromString(plain))
        with self._lock:
            self.requests.append(request)
            answer = self.answer(request)
            if answer is not None and answer[0] == 200:
                self.taken.update(request.span_ids)
        if answer is None:
            handler.close_connection = True
            handler.connection.close()
            return
        status, fields, content = answer
        # The sender may be killed before it has its answer.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            handler.send_response(status)
            for name, value in fields.items():
                handler.send_header(name, value)
            handler.send_header("content-length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
