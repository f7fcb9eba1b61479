"""SDKs, a collector, a broker, both topologies in a row: the output is the input, or rightly dropped."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace import SpanKind

from otlp import WireSpan, is_baseline, probability_fields, spans_in
from outcomes import Outcomes, assert_same_spans
from services import Call, Services
from topologies import ERRORS, EVERYTHING, SLOW, SLOW_MILLISECONDS, Repartition, TailSampling, baseline

PARTITIONS = 3
BASELINE_PERCENT = 25
BASELINE_THRESHOLD = "c"
"""Three quarters of the randomness space is rejected: 0.75 = 0xc / 0x10."""

LOW, HIGH = 0x4BF92F3577B34DA6_A300000000000001, 0x4BF92F3577B34DA6_A3E0000000000001
"""Trace ids whose last 56 bits the baseline rejects, and keeps."""


@dataclass
class Expected:
    """The expected outcome of a trace."""

    is_slow: bool = False
    origin: tuple[str, str] | None = None
    """Service and operation of the span that caused the error."""
    trace_state: str = ""

    def reasons(self, trace_id: str) -> list[str]:
        in_baseline = is_baseline(trace_id, self.trace_state, BASELINE_PERCENT)
        reasons = {"errors": self.origin is not None, "slow": self.is_slow, "baseline": in_baseline}
        return [name for name, applies in reasons.items() if applies]

    def threshold(self, reasons: list[str]) -> str:
        """The greater of the sampler's own threshold and that of the incoming spans."""
        own = BASELINE_THRESHOLD if reasons == ["baseline"] else "0"
        return max(own, probability_fields(self.trace_state).get("th", "0"))


def order(number: int, **root) -> Call:
    """A request through four services, with all types of attributes, an event, and a message over a queue."""
    attributes = {
        "text": f"größe {number} \"'\\",
        "flag": number % 2 == 0,
        "integer": -(2**62) + number,
        "real": number / 7,
        "texts": ["a", "", "c"],
        "integers": [1, -1],
        "flags": [True, False],
        "long": "x" * (number % 5 * 400),
    }
    return Call(
        "frontend",
        "POST /order",
        attributes=attributes,
        calls=[
            Call("cart", "GetCart", start=1, duration=2, kind=SpanKind.CLIENT),
            Call("payment", "Charge", start=3, duration=4, calls=[Call("bank", "Transfer", start=4)]),
            Call(
                "cart",
                "clear",
                start=15,
                duration=1500,
                kind=SpanKind.CONSUMER,
                events=[("received", {"bytes": number}), ("done", {})],
            ),
        ],
        **root,
    )


def failing(*chain: Call) -> Call:
    """A request that failed through a chain of calls, outermost first."""
    for outer, inner in pairwise(chain):
        outer.calls.append(inner)
    return chain[0]


@dataclass
class Scenario:
    services: Services
    at: int
    expected: dict[str, Expected] = field(default_factory=dict)

    def add(self, call: Call, trace_id: int | None = None, **expected) -> None:
        outcome = Expected(**expected)
        played = self.services.trace(call, self.at, outcome.trace_state, trace_id)
        self.expected[played] = outcome

    def play(self) -> None:
        for number in range(40):
            self.add(order(number))
        self.play_errors()
        self.play_durations()
        self.play_trace_states()

    def play_errors(self) -> None:
        for number in range(5):
            chain = [
                Call("frontend", "GET /", duration=40, error=True),
                Call("payment", "Charge", duration=30, error=True),
                Call("bank", "Transfer", duration=20, error=True, events=[("exception", {"number": number})]),
                Call("bank", "log", duration=10),
            ]
            self.add(failing(*chain), origin=("bank", "Transfer"))
        # An error that its callers handled.
        self.add(
            failing(Call("frontend", "GET /"), Call("cart", "GetCart", duration=5, error=True)),
            origin=("cart", "GetCart"),
        )
        # Two causes: the one that ended first counts.
        causes = [
            Call("cart", "GetCart", start=1, duration=8, error=True),
            Call("payment", "Charge", start=2, duration=3, error=True),
        ]
        self.add(Call("frontend", "GET /", error=True, calls=causes), origin=("payment", "Charge"))
        self.add(Call("frontend", "alone", error=True), origin=("frontend", "alone"))
        slow_error = Call("frontend", "GET /", duration=SLOW_MILLISECONDS + 1, error=True)
        self.add(slow_error, origin=("frontend", "GET /"), is_slow=True)

    def play_durations(self) -> None:
        for milliseconds in (SLOW_MILLISECONDS, SLOW_MILLISECONDS + 1, 5000):
            self.add(order(1, duration=milliseconds), is_slow=True)
        self.add(order(2, duration=SLOW_MILLISECONDS - 0.000001))
        # Without a root the time of all spans counts, less 10 ms by which clocks may differ.
        for milliseconds, is_slow in ((SLOW_MILLISECONDS + 9, False), (SLOW_MILLISECONDS + 10, True)):
            ends = [
                Call("cart", "first", start=1, duration=2),
                Call("payment", "last", start=milliseconds - 2, duration=3),
            ]
            self.add(Call("frontend", "unseen", is_exported=False, calls=ends), is_slow=is_slow)

    def play_trace_states(self) -> None:
        error = {"origin": ("frontend", "alone")}
        states = {
            "vendor=of:its;own,other=2": error,
            "vendor=1,ot=th:8;rv:ffffffffffffff;p:1": error,
            "ot=th:0": error,
            "ot=rv:00000000000000": error,
            "ot=rv:f0000000000000": {},
            "ot=rv:00000000000001": {},
            "ot=th:8;rv:e0000000000000,vendor=1": {},
            "ot=th:e;rv:e1000000000000": {},
        }
        for number, (state, outcome) in enumerate(states.items()):
            call = Call("frontend", "alone", error=True) if outcome else order(number)
            # If the tracestate has randomness, the trace id implies the opposite.
            trace_id = (LOW if "rv:f" in state or "rv:e" in state else HIGH) + (number << 64)
            self.add(call, trace_id, trace_state=state, **outcome)


@dataclass
class Played:
    """Everything that was sent, and its outcome."""

    at: int
    expected: dict[str, Expected]
    sent: dict[bytes, tuple[str, Span]]
    raw: list[bytes]
    keyed: list
    sampler: Outcomes
    everything: Outcomes

    def spans(self, trace_id: str) -> list[tuple[str, Span]]:
        return [each for each in self.sent.values() if each[1].trace_id.hex() == trace_id]


@pytest.fixture
def played(broker, run, read, collector) -> Played:
    sampling = TailSampling(
        "end-to-end",
        policies=(ERRORS, SLOW, baseline(BASELINE_PERCENT)),
        decision_wait="6s",
        decision_wait_after_root="2s",
        lone_roots_wait="true",
    )
    repartition = Repartition("end-to-end-repartition", output=sampling.spans)
    everything = TailSampling(
        "end-to-end-all", input=sampling.spans, policies=(EVERYTHING,), dropped="full", lanes=2
    )
    broker.create(repartition.raw_spans, partitions=PARTITIONS)
    workers = [run(each) for each in (repartition, sampling, everything)]
    counts = broker.partition_counts()
    for topology in (sampling, everything):
        assert counts[topology.decisions] == counts[topology.sampled] == counts[sampling.spans]

    services = Services(["frontend", "cart", "payment", "bank"], *collector(repartition.raw_spans), seed=1)
    scenario = Scenario(services, at=time.time_ns() - 6 * 10**9)
    scenario.play()
    services.flush()
    services.shutdown()

    def check() -> None:
        for worker in workers:
            worker.require_running()

    inputs = (repartition.raw_spans, repartition.dead_letters, sampling.spans)
    reader = read(*inputs, *sampling.outputs, *everything.outputs)
    outcomes = [Outcomes(each, reader) for each in (sampling, everything)]
    for each in outcomes:
        each.await_decisions(scenario.expected, check)
    for topology in (repartition, sampling, everything):
        assert reader.records[topology.dead_letters] == []
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    assert not broker.uncommitted(repartition.group, repartition.raw_spans)
    assert not broker.uncommitted(sampling.group, sampling.spans)
    assert not broker.uncommitted(everything.group, sampling.spans)
    raw = [record.value for record in reader.records[repartition.raw_spans]]
    return Played(
        scenario.at, scenario.expected, services.sent(), raw, reader.records[sampling.spans], *outcomes
    )


def test_kept_spans_are_the_sent_ones(played: Played) -> None:
    raw = list(spans_in(played.raw))
    check_raw_spans(raw, played)
    check_keyed_spans(raw, played)
    check_kept_spans(raw, played)
    check_decisions(played)
    played.sampler.check_keys_and_partitions(played.keyed)
    played.everything.check_keys_and_partitions(played.keyed)


def check_raw_spans(raw: list[WireSpan], played: Played) -> None:
    """The collector wrote what the SDKs sent; otherwise the rest would compare wrong with wrong."""
    found = {span.message.span_id: span for span in raw}
    assert len(found) == len(raw) and found.keys() == played.sent.keys()
    for span_id, (_, span) in played.sent.items():
        decoded = found[span_id].message
        decoded.trace_state = found[span_id].trace_state
        assert decoded == span
    mixed = [record for record in played.raw if len({span.trace_id for span in spans_in([record])}) > 1]
    assert mixed, "no record held several traces: there was nothing to take apart"


def check_keyed_spans(raw: list[WireSpan], played: Played) -> None:
    assert_same_spans(spans_in(record.value for record in played.keyed), raw)
    partitions = defaultdict(set)
    for record in played.keyed:
        ids = {span.trace_id for span in spans_in([record.value])}
        assert [record.key] == [each.encode() for each in ids], "a record of one trace, under its id"
        partitions[record.key].add(record.partition)
    assert all(len(each) == 1 for each in partitions.values()), "one partition for a trace"
    assert len(set.union(*partitions.values())) == PARTITIONS, "all partitions have traces"


def check_kept_spans(raw: list[WireSpan], played: Played) -> None:
    def kept(threshold: Callable[[str], str | None]) -> list[WireSpan]:
        wanted = {trace_id: threshold(trace_id) for trace_id in played.expected}
        return [span.kept(own) for span in raw if (own := wanted[span.trace_id]) is not None]

    def sampled_at(trace_id: str) -> str | None:
        reasons = played.expected[trace_id].reasons(trace_id)
        return (BASELINE_THRESHOLD if reasons == ["baseline"] else "0") if reasons else None

    found = [span for spans in played.sampler.kept.values() for span in spans]
    assert_same_spans(found, kept(sampled_at))
    # Two members of one group may have taken a partition from each other, so spans may be duplicated.
    everything = {span for spans in played.everything.kept.values() for span in spans}
    assert_same_spans(everything, kept(lambda _: "0"))


def nanoseconds(time_text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time in UTC."""
    seconds, _, fraction = time_text.removesuffix("Z").partition(".")
    whole = datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp()
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


def check_decisions(played: Played) -> None:
    offsets = defaultdict(list)
    for record in played.keyed:
        offsets[record.key.decode()].append(record.offset)
    final = played.sampler.final
    assert final.keys() == played.expected.keys()
    kept = {trace_id for trace_id, each in played.expected.items() if each.reasons(trace_id)}
    only_baseline = {each for each in kept if played.expected[each].reasons(each) == ["baseline"]}
    assert only_baseline and kept != final.keys(), "the baseline kept some traces and not others"

    for trace_id, decision in final.items():
        spans = played.spans(trace_id)
        roots = [(service, span) for service, span in spans if not span.parent_span_id]
        errors = [span for _, span in spans if span.status.code == Status.STATUS_CODE_ERROR]
        root = {"service": roots[0][0], "operation": roots[0][1].name} if roots else None
        reasons = played.expected[trace_id].reasons(trace_id)
        facts = {
            "verdict": "keep" if trace_id in kept else "drop",
            "span_count": len(spans),
            "error_count": len(errors),
            "root": root,
            "trigger": "root" if roots and not waits_on(spans, reasons) else "wait",
            "late": False,
            "truncated_spans": 0,
            "first_offset": min(offsets[trace_id]),
            "last_offset": max(offsets[trace_id]),
        }
        assert facts == {name: decision[name] for name in facts}, trace_id
        assert decision["byte_count"] >= sum(span.ByteSize() for _, span in spans)
        assert played.at < nanoseconds(decision["decided_at"]) < time.time_ns()
        if trace_id in kept:
            check_kept_decision(decision, played.expected[trace_id], spans)

    early = [decision for _, decision in played.sampler.decisions if not decision["final"]]
    assert all(decision["trigger"] == "eager" and decision["verdict"] == "keep" for decision in early)
    assert {decision["trace_id"] for decision in early} <= kept - only_baseline
    everything = [decision for _, decision in played.everything.decisions]
    assert {decision["trace_id"] for decision in everything} == final.keys()
    assert {decision["policy"] for decision in everything} == {"everything"}


def waits_on(spans: list[tuple[str, Span]], reasons: list[str]) -> bool:
    """Whether asynchronous work might follow in a trace that an error could still keep."""
    kinds = (Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER)
    is_asynchronous = any(span.kind in kinds or span.links for _, span in spans)
    return not {"errors", "slow"} & set(reasons) and (is_asynchronous or len(spans) == 1)


def check_kept_decision(decision: dict, expected: Expected, spans: list[tuple[str, Span]]) -> None:
    trace_id = decision["trace_id"]
    reasons = expected.reasons(trace_id)
    assert decision["reasons"] == reasons and decision["policy"] == reasons[0], trace_id
    threshold = expected.threshold(reasons)
    assert decision["threshold"] == threshold, trace_id
    assert decision["probability"] == 1 - int(threshold, 16) / 16
    assert decision["adjusted_count"] == pytest.approx(1 / decision["probability"])
    assert sorted(decision["services"]) == sorted({service for service, _ in spans}), trace_id

    judged = [span for _, span in spans if not span.parent_span_id] or [span for _, span in spans]
    start = min(span.start_time_unix_nano for span in judged)
    assert nanoseconds(decision["start_time"]) == start
    assert decision["duration_ns"] == max(span.end_time_unix_nano for span in judged) - start

    origin = decision["error_origin"]
    if expected.origin is None:
        assert origin is None
    else:
        service, operation = expected.origin
        (cause,) = (span.span_id.hex() for name, span in spans if (name, span.name) == expected.origin)
        assert origin == {"service": service, "operation": operation, "span_id": cause}, trace_id
