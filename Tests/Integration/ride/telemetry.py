"""What each service does about tracing: spans go to a collector in batches, also when the program ends."""

import signal
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def start() -> trace.Tracer:
    """Sets up the SDK; its variables OTEL_SERVICE_NAME and OTEL_EXPORTER_OTLP_ENDPOINT say the rest."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    # An ordinary exit, at which the provider sends what it has; a signal would end the program without one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    return trace.get_tracer("ride")
