"""A worker's output, by trace, and the checks that hold for all of it."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from ledger import Page
from otlp import WireSpan, spans_in
from topics import Reader, Record
from topologies import TailSampling


class Outcomes:
    """The decisions and kept spans of a topology read so far."""

    def __init__(self, topology: TailSampling, reader: Reader):
        self.topology = topology
        self.reader = reader

    @property
    def decisions(self) -> list[tuple[Record, dict]]:
        return [(record, json.loads(record.value)) for record in self.reader.records[self.topology.decisions]]

    @property
    def accounted(self) -> list[dict]:
        """What the ledger says of dropped traces, in the words of decision records."""
        pages = [Page(record.value) for record in self.reader.records.get(self.topology.verdicts, ())]
        entries = [entry for page in pages for entry in page.verdicts]
        return [
            {"trace_id": each.trace_id, "verdict": "drop", "final": True, "late": False, "trigger": each.trigger}
            | {"span_count": each.spans, "error_count": each.errors}
            for each in entries
        ]

    @property
    def _finals(self) -> list[dict]:
        return [decision for _, decision in self.decisions if decision["final"]] + self.accounted

    @property
    def decided(self) -> set[str]:
        return {decision["trace_id"] for decision in self._finals}

    @property
    def final(self) -> dict[str, dict]:
        """The last final verdict of each trace: a recall's revised record replaces the first."""
        finals = self._finals
        revised = {decision["trace_id"]: decision for decision in finals if decision.get("revised")}
        first = {decision["trace_id"]: decision for decision in finals if not decision.get("revised")}
        assert len(first) + len(revised) == len(finals), "more than one final decision for a trace"
        assert revised.keys() <= first.keys(), "a revised record of a trace without a verdict"
        return {**first, **revised}

    @property
    def recalls_requested(self) -> set[str]:
        """The traces whose recall was requested,"""
        return {each["trace_id"] for _, each in self.decisions if each.get("recall") == "requested"}

    @property
    def recalled(self) -> set[str]:
        """and those that were recalled."""
        return {each["trace_id"] for _, each in self.decisions if each.get("revised")}

    @property
    def kept(self) -> dict[str, list[WireSpan]]:
        """The kept spans of each trace."""
        kept = defaultdict(list)
        for record in self.reader.records[self.topology.sampled]:
            for span in spans_in([record.value]):
                kept[span.trace_id].append(span)
        return dict(kept)

    @property
    def late(self) -> set[str]:
        """The traces that had spans after their verdict: it rests on fewer than there are."""
        told = {decision["trace_id"] for _, decision in self.decisions if decision["late"]}
        final = self.final
        # Kept ones get no second record: their late spans follow them.
        return told | {trace for trace, spans in self.kept.items() if len(spans) > final[trace]["span_count"]}

    def await_decisions(self, trace_ids: Iterable[str], check: Callable[[], None]) -> None:
        """Reads until each trace is decided and the kept spans of the last ones must have arrived too."""
        wanted = set(trace_ids)
        self.reader.until(lambda: wanted <= self.decided, f"decisions on {len(wanted)} traces", check)
        self.reader.quiet(0.5)

    def check_keys_and_partitions(self, spans: Iterable[Record]) -> None:
        """Every record has its trace's id as key, and is in the partition of the trace's input spans."""
        partitions = {span.trace_id: each.partition for each in spans for span in spans_in([each.value])}
        for record, decision in self.decisions:
            assert record.key == decision["trace_id"].encode()
            assert record.partition == decision["partition"] == partitions[decision["trace_id"]]
        for record in self.reader.records[self.topology.sampled]:
            ids = {span.trace_id for span in spans_in([record.value])}
            assert [record.key] == [each.encode() for each in ids], "a record of one trace, under its id"
            assert record.partition == partitions[ids.pop()]


def assert_same_spans(found: Iterable[WireSpan], expected: Iterable[WireSpan]) -> None:
    """The same spans, byte for byte, equally often."""
    found, expected = Counter(found), Counter(expected)
    if found == expected:
        return

    def named(spans: Counter[WireSpan]) -> str:
        shown = [
            f"{count} times {span.message.name} {span.message.span_id.hex()} of {span.trace_id}, "
            f"tracestate {span.trace_state!r}, {len(span.rest)} bytes"
            for span, count in list(spans.items())[:5]
        ]
        return "\n  ".join([f"{spans.total()}:", *shown])

    raise AssertionError(f"missing {named(expected - found)}\ntoo many or changed {named(found - expected)}")
