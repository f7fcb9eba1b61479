"""`tailrace demo --keep`: its console, its broker, and that a recording of its traffic decides as its worker did."""

import re
import signal
from types import SimpleNamespace

import pytest

from children import TAILRACE, Child
from outcomes import Outcomes
from test_explorer import Explorer
from test_eyes import recorded, replayed
from topics import Broker

TOPICS = SimpleNamespace(decisions="decisions", verdicts="verdicts", sampled="sampled", spans="spans")


def is_kept(demo: Child):
    """The report, once the demo has written it and goes on."""
    return "Ctrl-C ends it" in demo.output and demo.output


@pytest.fixture
def keep(children):
    def keep(name: str, *options: str) -> Child:
        return children.start(name, [TAILRACE, "demo", "--keep", *options])

    return keep


def test_a_recording_of_the_demo_decides_as_its_worker_did(keep, tailrace, tmp_path):
    topology, recording = tmp_path / "demo.yaml", tmp_path / "demo.otlp.zst"
    demo = keep("demo", "--duration", "6s", "--rate", "60", "--write-topology", str(topology))
    explorer = Explorer(demo, pattern=r"the kept traces are at (http://\S+)/")
    assert explorer.get("/")[0] == 200
    output = demo.wait_for(lambda: is_kept(demo), "the report", 120)
    assert "nothing is missing" in output
    address = re.search(r"the broker is at (\S+)", output)[1]
    reader = Broker(address).read(TOPICS.decisions, TOPICS.verdicts, TOPICS.sampled, TOPICS.spans)
    traces = int(re.search(r"traffic +(\d+) traces", output)[1])
    assert traces > 200
    outcomes = Outcomes(TOPICS, reader)
    reader.until(lambda: len(outcomes.decided) >= traces, "all verdicts", demo.require_running)
    reader.until(
        lambda: outcomes.recalled == outcomes.recalls_requested, "all recalls", demo.require_running
    )
    reader.quiet(0.5)
    said = outcomes.final
    assert len(said) == traces

    assert recorded(tailrace("record", topology, "-o", recording, "--quiet")) == len(reader.records[TOPICS.spans])
    found = replayed(tailrace, recording, topology, tmp_path / "decisions")
    assert found.keys() == said.keys()
    different = [trace for trace in said if found[trace]["verdict"] != said[trace]["verdict"]]
    assert not different
    kept = [trace for trace, decision in said.items() if decision["verdict"] == "keep"]
    assert len(kept) > 4
    # Where the verdict rests on the same spans: which ones are late depends on the log's times.
    same = [trace for trace in kept if found[trace]["span_count"] == said[trace]["span_count"]]
    assert len(same) >= len(kept) // 2
    for trace in same:
        for key in ("reasons", "adjusted_count"):
            assert found[trace][key] == said[trace][key], (trace, key)

    # Its console has what it kept, and the story of a trace that it dropped can be told.
    def shown() -> set[str]:
        return {each["trace_id"] for each in explorer.json("/v1/traces", limit=1500)["traces"]}

    demo.wait_for(lambda: shown() == set(kept), "all kept traces")
    errors = explorer.json("/v1/traces", error=1)["traces"]
    assert errors and len(explorer.json(f"/v1/traces/{errors[0]['trace_id']}")["spans"]) == errors[0]["spans"]
    dropped = next(trace for trace, decision in said.items() if decision["verdict"] == "drop")
    story = tailrace("explain", dropped, "--topology", topology)
    assert story.returncode == 0 and f"trace      {dropped}: dropped" in story.stdout
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0, demo.tail


def test_the_kept_demo_ends_on_a_signal_and_needs_no_port(keep, tailrace):
    demos = [keep(f"demo-{number}", "--duration", f"{1 + 99 * number}s", "--rate", "20") for number in range(2)]
    explorers = [Explorer(each, pattern=r"the kept traces are at (http://\S+)/") for each in demos]
    # One finds the console's port taken.
    assert explorers[0].address != explorers[1].address
    demos[1].wait_for(lambda: "published" in demos[1].output, "traffic", 120)
    # The first Ctrl-C ends the traffic, the next one the console.
    demos[1].process.send_signal(signal.SIGINT)
    for demo, explorer in zip(demos, explorers):
        demo.wait_for(lambda: is_kept(demo), "the report", 120)  # noqa: B023
        assert explorer.get("/v1/status")[0] == 200
        assert demo.stop() == 0, demo.tail


def test_a_topology_that_can_not_be_written_is_an_error(tailrace, tmp_path):
    result = tailrace("demo", "--write-topology", tmp_path / "none" / "demo.yaml")
    assert result.returncode == 1 and "demo.yaml" in result.stdout
