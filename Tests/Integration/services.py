"""Instrumented services: one tracer provider each, context propagated as W3C headers, spans sent as OTLP.

Calls have the scenario's times, so that a slow trace need not take long.
"""

import random
from dataclasses import dataclass, field

from opentelemetry import context as contexts
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HTTPExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    SpanKind,
    Status,
    StatusCode,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otlp import MILLISECOND

_TRACE_STATE = contexts.create_key("tracestate-of-a-new-trace")
_propagator = TraceContextTextMapPropagator()


@dataclass
class Call:
    """A span and its calls. Times are in milliseconds from the start of the trace."""

    service: str
    operation: str
    start: float = 0
    duration: float = 10
    error: bool = False
    kind: SpanKind = SpanKind.SERVER
    calls: list["Call"] = field(default_factory=list)
    attributes: dict = field(default_factory=dict)
    events: list[tuple[str, dict]] = field(default_factory=list)
    is_exported: bool = True
    """Whether the span is exported; if not, its children have a parent that never arrives."""


class ChosenIds(IdGenerator):
    """Ids from a seed; the next trace's may be chosen."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.next_trace_id: int | None = None

    def generate_span_id(self) -> int:
        return self.random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        chosen, self.next_trace_id = self.next_trace_id, None
        return chosen or self.random.getrandbits(128) | 1 << 127


class _Head(Sampler):
    """Samples all; a new trace begins with the context's tracestate."""

    def should_sample(
        self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None
    ) -> SamplingResult:
        parent = get_current_span(parent_context).get_span_context()
        state = parent.trace_state if parent.is_valid else contexts.get_value(_TRACE_STATE, parent_context)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)

    def get_description(self) -> str:
        return "all"


class Services:
    """Services; the first is the entry point, and sends its spans last."""

    def __init__(self, names: list[str], grpc: str, http: str, seed: int):
        self.ids = ChosenIds(seed)
        self._kept: dict[str, InMemorySpanExporter] = {}
        self._providers: dict[str, TracerProvider] = {}
        for number, name in enumerate(names):
            attributes = {"service.name": name, "host.cpus": number, "canary": number == 1}
            resource = Resource.create(attributes)
            provider = TracerProvider(
                sampler=_Head(), resource=resource, id_generator=self.ids, shutdown_on_exit=False
            )
            exporter = (
                HTTPExporter(endpoint=f"http://{http}/v1/traces")
                if number % 2
                else GRPCExporter(endpoint=grpc, insecure=True)
            )
            self._kept[name] = InMemorySpanExporter()
            provider.add_span_processor(BatchSpanProcessor(exporter))
            provider.add_span_processor(SimpleSpanProcessor(self._kept[name]))
            self._providers[name] = provider
        self._unseen = TracerProvider(sampler=_Head(), id_generator=self.ids, shutdown_on_exit=False)
        self._links: list[Link] = []

    def trace(self, call: Call, at: int, trace_state: str = "", trace_id: int | None = None) -> str:
        """Plays a call that starts at `at` (nanoseconds since 1970); returns the trace's id."""
        self.ids.next_trace_id = trace_id
        context = contexts.Context()
        if trace_state:
            context = contexts.set_value(_TRACE_STATE, TraceState.from_header([trace_state]), context)
        return f"{self._play(call, at, context):032x}"

    def _play(self, call: Call, at: int, context: contexts.Context) -> int:
        provider = self._providers[call.service] if call.is_exported else self._unseen
        tracer = provider.get_tracer(f"{call.service}.instrumentation", "0.1", schema_url="urn:schema")
        span = tracer.start_span(
            call.operation,
            context=context,
            kind=call.kind,
            attributes=call.attributes,
            # A batch consumer's span points to the trace before it.
            links=self._links if call.kind is SpanKind.CONSUMER else None,
            start_time=at + round(call.start * MILLISECOND),
        )
        for name, attributes in call.events:
            span.add_event(name, attributes, at + round((call.start + call.duration / 2) * MILLISECOND))
        if call.error:
            span.set_status(Status(StatusCode.ERROR, "refused: „no“"))
        headers: dict[str, str] = {}
        _propagator.inject(headers, set_span_in_context(span, contexts.Context()))
        for inner in call.calls:
            self._play(inner, at, _propagator.extract(headers, contexts.Context()))
        span.end(at + round((call.start + call.duration) * MILLISECOND))
        self._links = [Link(span.get_span_context(), {"messaging.batch": 1})]
        return span.get_span_context().trace_id

    def flush(self) -> None:
        """Sends all recorded spans, roots last: a root's descendants then precede it."""
        for name, provider in reversed(self._providers.items()):
            assert provider.force_flush(), f"{name} could not send its spans"

    def sent(self) -> dict[bytes, tuple[str, Span]]:
        """Every span as its SDK encodes it, with its service, by span id."""
        return {
            span.span_id: (name, span)
            for name, exporter in self._kept.items()
            for resource_spans in encode_spans(exporter.get_finished_spans()).resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        }

    def shutdown(self) -> None:
        for provider in self._providers.values():
            provider.shutdown()
