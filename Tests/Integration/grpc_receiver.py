"""A store: an OTLP/gRPC receiver that answers with any code, by gRPC's own library."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from receiver import span_ids


@dataclass
class Call:
    """A call as it came."""

    metadata: dict[str, str | bytes]
    message: ExportTraceServiceRequest
    at: float = field(default_factory=time.monotonic)

    @property
    def span_ids(self) -> list[str]:
        return span_ids(self.message)


@dataclass
class Failure:
    """An answer other than success."""

    code: grpc.StatusCode
    message: str = ""
    details: bytes = b""
    """A `google.rpc.Status`."""


OK = ExportTraceServiceResponse()


class GRPCReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Answers each call as `answer` says."""

    def __init__(
        self,
        answer: Callable[[Call], ExportTraceServiceResponse | Failure] = lambda _: OK,
        credentials: grpc.ServerCredentials | None = None,
    ):
        self.answer = answer
        self.calls: list[Call] = []
        self.taken: Counter[str] = Counter()
        """How often each span was taken, by its id."""
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(8))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def Export(  # noqa: N802
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        call = Call(dict(context.invocation_metadata()), request)
        with self._lock:
            self.calls.append(call)
            answer = self.answer(call)
            if not isinstance(answer, Failure):
                self.taken.update(call.span_ids)
                return answer
        if answer.details:
            context.set_trailing_metadata((("grpc-status-details-bin", answer.details),))
        context.abort(answer.code, answer.message)
        raise AssertionError

    def close(self) -> None:
        self._server.stop(None).wait()
