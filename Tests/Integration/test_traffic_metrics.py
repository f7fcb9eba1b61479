"""Metrics of all spans: each counts exactly once, whatever happens to the workers, and is where dashboards expect it."""

import math
from collections import Counter

from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA, ExponentialHistogramDataPoint
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from children import wait_until
from otlp import Maker, traces_data
from test_console import Console
from topologies import TailSampling

PARTITIONS = 3
RETURNING = {"group.instance.id": "one", "session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}

Series = tuple[str, str, str, str]
"""Service, span name, kind and status."""


def texts(attributes) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}


class Found:
    """What records of metrics say."""

    def __init__(self, records):
        self.calls: Counter[Series] = Counter()
        self.histograms: dict[Series, list[ExponentialHistogramDataPoint]] = {}
        for record in records:
            for resource in MetricsData.FromString(record.value).resource_metrics:
                own = {each.key: each.value for each in resource.resource.attributes}
                assert own["tailrace.partition"].int_value == record.partition
                (scope,) = resource.scope_metrics
                calls, durations = scope.metrics
                self._read(own["service.name"].string_value, record.partition, calls, durations)

    def _read(self, service: str, partition: int, calls, durations) -> None:
        assert (calls.name, durations.name) == ("traces.span.metrics.calls", "traces.span.metrics.duration")
        assert calls.sum.is_monotonic and durations.unit == "ms"
        assert calls.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
        assert durations.exponential_histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
        for point in calls.sum.data_points:
            assert point.start_time_unix_nano < point.time_unix_nano
            self.calls[self._series(service, partition, point)] += point.as_int
        for point in durations.exponential_histogram.data_points:
            self.histograms.setdefault(self._series(service, partition, point), []).append(point)

    @staticmethod
    def _series(service: str, partition: int, point) -> Series:
        attributes = texts(point.attributes)
        names = {"service.name", "span.name", "span.kind", "status.code", "tailrace.partition"}
        assert attributes.keys() == names
        (own,) = (each for each in point.attributes if each.key == "tailrace.partition")
        assert own.value.int_value == partition
        assert attributes["service.name"] == service
        return service, attributes["span.name"], attributes["span.kind"], attributes["status.code"]


class Traffic:
    """Traces of which few are kept, and how many spans each series has."""

    def __init__(self, broker, topic: str, seed: int):
        self._broker, self._topic, self._maker = broker, topic, Maker(seed)
        self.calls: Counter[Series] = Counter()
        self.durations: dict[Series, list[float]] = {}
        self.errors: set[bytes] = set()
        """The ids of traces with an error."""
        self._number = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            self._number += 1
            is_error = self._number % 10 == 0
            trace = self._maker.trace_id()
            root = self._maker.span(trace, name="GET /", error=is_error, milliseconds=self._number % 90 + 1)
            child = self._maker.span(trace, root, name=f"query {self._number % 3}")
            if is_error:
                self.errors.add(bytes.fromhex(trace))
            # Some come twice: they count as they come.
            for span in [root, child] + [child] * (self._number % 20 == 0):
                service = f"service-{self._number % 4}"
                self._broker.produce(self._topic, traces_data([span], service).SerializeToString(), trace.encode())
                self._note(service, span)
        self._broker.flush()

    def _note(self, service: str, span: Span) -> None:
        status = "STATUS_CODE_" + Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_")
        series = service, span.name, Span.SpanKind.Name(span.kind), status
        self.calls[series] += 1
        duration = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        self.durations.setdefault(series, []).append(duration)


def buckets(points: list[ExponentialHistogramDataPoint], scale: int) -> Counter[int]:
    """The counts of all points, by bucket at a scale no larger than theirs."""
    counts: Counter[int] = Counter()
    for point in points:
        for number, count in enumerate(point.positive.bucket_counts):
            counts[(point.positive.offset + number) >> (point.scale - scale)] += count
    return +counts


def check_histogram(points: list[ExponentialHistogramDataPoint], durations: list[float]) -> None:
    assert sum(point.count for point in points) == len(durations)
    assert math.isclose(sum(point.sum for point in points), sum(durations), rel_tol=1e-9)
    assert math.isclose(min(point.min for point in points), min(durations), rel_tol=1e-9)
    assert math.isclose(max(point.max for point in points), max(durations), rel_tol=1e-9)
    scale = min(point.scale for point in points)
    # Bucket i has the values above 2^(i / 2^scale), up to and including the next bound.
    wanted = Counter(math.ceil(math.log2(each) * 2**scale - 1e-9) - 1 for each in durations if each > 0)
    assert buckets(points, scale) == wanted


def test_every_span_counts_once_through_kills(broker, run, read):
    topology = TailSampling(
        "metrics", decision_wait="2s", decision_wait_after_root="1s", metrics="{interval: 2s}", kafka=RETURNING
    ).for_worker("one", lasting=True)
    broker.create(topology.spans, *topology.outputs, topology.counts, partitions=PARTITIONS)
    traffic = Traffic(broker, topology.spans, seed=51)
    reader = read(topology.counts)
    everything = read(topology.counts, isolation="read_uncommitted")
    worker = run(topology)
    for _ in range(3):
        seen = len(everything.records[topology.counts])
        traffic.send(120)
        # It dies as soon as it has written something, committed or not.
        everything.until(
            lambda: len(everything.records[topology.counts]) > seen, "a record of metrics", worker.require_running
        )
        worker.kill()
        traffic.send(40)
        worker = run(topology)
    traffic.send(40)

    def has_all() -> bool:
        return Found(reader.records[topology.counts]).calls.total() >= traffic.calls.total()

    reader.until(has_all, "metrics of all spans", worker.require_running)
    reader.quiet(3)
    found = Found(reader.records[topology.counts])
    assert found.calls == traffic.calls
    assert found.histograms.keys() == traffic.durations.keys()
    for series, points in found.histograms.items():
        check_histogram(points, traffic.durations[series])
    exemplars = [each for points in found.histograms.values() for point in points for each in point.exemplars]
    assert {each.trace_id for each in exemplars} <= traffic.errors, "only traces with an error are kept"
    metrics = Console(worker).metrics()
    assert metrics.by("tailrace_metrics_spans_total", "series")["other"] == 0
    assert metrics.value("tailrace_metrics_points_total") > 0
    assert worker.stop() == 0
    assert not broker.uncommitted(topology.group, topology.spans)


def test_spans_beyond_the_limit_count_as_one_series(broker, run, read):
    topology = TailSampling("metrics-limit", metrics="{interval: 1s, series_limit: 2, serve: true}")
    broker.create(topology.spans, *topology.outputs, topology.counts, partitions=1)
    maker = Maker(seed=52)
    for number in range(40):
        trace = maker.trace_id()
        record = traces_data([maker.span(trace, name=f"user {number}")])
        broker.produce(topology.spans, record.SerializeToString(), trace.encode())
    broker.flush()
    reader = read(topology.counts)
    worker = run(topology)

    def points() -> list[tuple[bool, int]]:
        records = [MetricsData.FromString(each.value) for each in reader.records[topology.counts]]
        metrics = [
            metric for record in records for each in record.resource_metrics for metric in each.scope_metrics[0].metrics
        ]
        return [
            (any(each.key == "otel.metric.overflow" for each in point.attributes), point.as_int)
            for metric in metrics
            for point in metric.sum.data_points
        ]

    reader.until(lambda: sum(count for _, count in points()) >= 40, "all calls", worker.require_running)
    assert sum(count for _, count in points()) == 40
    assert sum(count for is_other, count in points() if is_other) >= 30
    # The worker's own page has the same, once the points are committed.
    console = Console(worker)

    def served() -> str:
        status, text = console.get("/metrics/traffic")
        assert status == 200
        return text

    def total(text: str, start: str) -> float:
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(start))

    wait_until(lambda: total(served(), "traces_span_metrics_calls_total{") >= 40, "the page has all calls")
    page = served()
    assert total(page, "traces_span_metrics_calls_total{") == 40
    assert total(page, "traces_span_metrics_calls_total{otel_metric_overflow") >= 30
    assert total(page, "traces_span_metrics_duration_milliseconds_count{") == 40
    infinite = [line for line in page.splitlines() if 'le="+Inf"' in line]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in infinite) == 40
    assert worker.stop() == 0
