"""What instrumentation costs a service: the same requests with it and without it, in turns.

A request is one span of Flask's instrumentation and one of sqlite3's. What is compared is processor
time, which a busy machine changes little: the requesting thread's, and that of the process, which exports the
spans.
"""

import json
import sqlite3
import statistics
import time
from collections.abc import Callable

from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

from ride import telemetry

ROUNDS, REQUESTS, SPANS_PER_REQUEST = 7, 50, 2


def client(database: sqlite3.Connection, *, is_instrumented: bool):
    app = Flask("overhead")

    @app.get("/")
    def answer():
        cursor = database.cursor()
        cursor.execute("SELECT 1")
        return {"answer": cursor.fetchone()[0]}

    if is_instrumented:
        FlaskInstrumentor().instrument_app(app)
    return app.test_client()


def measure(action: Callable[[], object]) -> tuple[int, int]:
    """Nanoseconds of a round of requests: of this thread, and of the process until all spans are sent."""
    thread, process = time.thread_time_ns(), time.process_time_ns()
    for _ in range(REQUESTS):
        action()
    thread = time.thread_time_ns() - thread
    trace.get_tracer_provider().force_flush()
    return thread, time.process_time_ns() - process


def main() -> None:
    telemetry.start()
    database = sqlite3.connect(":memory:")
    plain = client(database, is_instrumented=False)
    traced = client(SQLite3Instrumentor.instrument_connection(database), is_instrumented=True)
    for warm in (plain, traced):
        warm.get("/")
    rounds = [(measure(lambda: plain.get("/")), measure(lambda: traced.get("/"))) for _ in range(ROUNDS)]
    cost = {}
    for at, name in enumerate(("request_us", "with_export_us")):
        nanoseconds = statistics.median(with_it[at] - without[at] for without, with_it in rounds)
        cost[name] = round(nanoseconds / REQUESTS / SPANS_PER_REQUEST / 1000, 1)
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
