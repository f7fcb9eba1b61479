"""Links: stories of several traces in several partitions and workers are kept as a whole."""

import json

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp import Maker, probability_fields, traces_data
from outcomes import Outcomes
from test_console import Console
from topologies import TailSampling, baseline, ERRORS

PARTITIONS = 6
WAITS = {"decision_wait": "3s", "decision_wait_after_root": "1s"}
RETURNING = {"group.instance.id": "one", "session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}


class Stories:
    """Traces of a producer, a consumer that links to it, and another that links to the consumer."""

    def __init__(self, broker, topic: str, seed: int):
        self._broker, self._topic, self.maker = broker, topic, Maker(seed)

    def make(self, count: int, length: int = 3) -> list[list[str]]:
        stories = []
        for _ in range(count):
            ids = [self.maker.trace_id() for _ in range(length)]
            for place, each in enumerate(ids):
                self.send(each, *ids[max(0, place - 1) : place])
            stories.append(ids)
        self._broker.flush()
        return stories

    def send(self, trace: str, *linked: str, error: bool = False) -> None:
        root = self.maker.span(trace, name="work", error=error)
        root.links.extend(Span.Link(trace_id=bytes.fromhex(each), span_id=self.maker.bytes(8)) for each in linked)
        spans = [root, self.maker.span(trace, root)]
        self._broker.produce(self._topic, traces_data(spans).SerializeToString(), trace.encode())


def check(outcomes: Outcomes, whole: list[list[str]], last: dict[str, str], dropped: list[list[str]]) -> None:
    """Each trace of the stories is kept, once, with its two spans."""
    final, kept = outcomes.final, outcomes.kept
    for story in whole:
        for trace in story:
            decision = final[trace]
            assert decision["verdict"] == "keep" and decision["adjusted_count"] == 1, decision
            assert len(kept[trace]) == 2, "its own spans, once"
            if trace == last[story[0]]:
                assert "linked_from" not in decision
                continue
            assert decision["reasons"] == ["linked"] and decision["linked_from"] in story
            distance = abs(story.index(trace) - story.index(last[story[0]]))
            assert decision["link_hops"] == distance
    for story in dropped:
        for trace in story:
            assert final[trace]["verdict"] == "drop" and trace not in kept


def test_stories_are_kept_as_a_whole(broker, run, read, tailrace, write):
    topology = TailSampling("links", **WAITS, lanes=2, policies=(ERRORS,), dropped="ledger", follow="{max_hops: 2}")
    broker.create(topology.spans, *topology.outputs, topology.links, partitions=PARTITIONS)
    # Two workers: what one of them keeps, the other has to know.
    workers = [run(topology.for_worker(name)) for name in ("one", "two")]
    stories = Stories(broker, topology.spans, seed=71)
    open_ones, dropped = stories.make(10), stories.make(10)
    last: dict[str, str] = {}
    for place, story in enumerate(open_ones):
        # The first, the last or the middle one fails, while all are open.
        last[story[0]] = story[place % 3]
        stories.send(story[place % 3], error=True)
    broker.flush()
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    everything = [trace for story in open_ones + dropped for trace in story]
    outcomes.await_decisions(everything, workers[0].require_running)
    recalled = stories.make(10)
    outcomes.await_decisions([trace for story in recalled for trace in story], workers[0].require_running)
    for place, story in enumerate(recalled):
        # All are dropped: a new consumer, or a new producer, fails.
        failing = stories.maker.trace_id()
        last[story[0]] = failing
        stories.send(failing, story[-1], error=True)
        story.append(failing)
    broker.flush()
    # Two links away, no more.
    wanted = {trace for story in recalled for trace in story[1:3]}
    outcomes.reader.until(lambda: wanted <= outcomes.recalled, "the recalls", workers[0].require_running)
    failing = [story[3] for story in recalled]
    outcomes.await_decisions(failing, workers[0].require_running)
    outcomes.reader.quiet(1)
    assert all(outcomes.final[story[0]]["verdict"] == "drop" for story in recalled), "three links away"
    middle = [story[1:] for story in recalled]
    check(outcomes, middle, {story[0]: story[-1] for story in middle}, dropped)
    for story in open_ones:
        for trace in story:
            assert outcomes.final[trace]["verdict"] == "keep"
    told = tailrace("explain", recalled[0][2], "--topology", write(topology))
    assert told.returncode == 0 and "it is linked with trace" in told.stdout, told.stdout
    total = sum(Console(each).metrics().value("tailrace_linked_traces_total") for each in workers)
    assert total == len(wanted) + 2 * len(open_ones)
    assert [each.stop() for each in workers] == [0, 0]


def test_links_outlive_a_worker(broker, run, read):
    topology = TailSampling(
        "links-kill", **WAITS, policies=(ERRORS,), dropped="ledger", follow="{direction: both}", kafka=RETURNING
    ).for_worker("one", lasting=True)
    broker.create(topology.spans, *topology.outputs, topology.links, partitions=PARTITIONS)
    worker = run(topology)
    stories = Stories(broker, topology.spans, seed=72)
    pairs = stories.make(20, length=2)
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions([trace for story in pairs for trace in story], worker.require_running)
    worker.kill()
    # Whichever fails brings the other back: the next worker knows from the log what links to what.
    for place, (producer, consumer) in enumerate(pairs):
        stories.send([producer, consumer][place % 2], error=True)
    broker.flush()
    everything = read(topology.decisions, isolation="read_uncommitted")
    second = Outcomes(topology, everything)
    worker = run(topology)
    everything.until(lambda: len(second.recalled) > 1, "a recall", worker.require_running)
    worker.kill()
    worker = run(topology)
    wanted = {trace for story in pairs for trace in story}
    outcomes.reader.until(lambda: outcomes.recalled == wanted, "the recalls", worker.require_running)
    outcomes.reader.quiet(1)
    assert {trace for trace, spans in outcomes.kept.items() if len(spans) >= 2} == wanted
    assert worker.stop() == 0


def test_a_probability_keeps_stories_or_drops_them(broker, run, read):
    topology = TailSampling("links-shared", **WAITS, policies=(baseline(50),), follow="{}")
    broker.create(topology.spans, *topology.outputs, topology.links, partitions=PARTITIONS)
    worker = run(topology)
    stories = Stories(broker, topology.spans, seed=73)
    pairs = stories.make(60, length=2)
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs, topology.links))
    outcomes.await_decisions([trace for story in pairs for trace in story], worker.require_running)
    outcomes.reader.quiet(1)
    verdicts = [[outcomes.final[trace]["verdict"] for trace in story] for story in pairs]
    assert all(one == other for one, other in verdicts) and {one for one, _ in verdicts} == {"keep", "drop"}
    for producer, consumer in pairs:
        for span in outcomes.kept.get(consumer, []):
            state = probability_fields(span.trace_state)
            assert state["rv"] == producer[-14:] >= state["th"].ljust(14, "0")
    # Chance keeps no linked trace for its own sake.
    assert not outcomes.reader.records[topology.links]
    assert json.dumps(Console(worker).metrics().value("tailrace_linked_traces_total")) in ("0", "0.0")
    assert worker.stop() == 0
