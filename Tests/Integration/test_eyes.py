"""What people see: a recording of a topic decides as the worker did, and a trace's story is what happened."""

import json
import re
import signal

from children import TAILRACE
from otlp import Maker, traces_data
from outcomes import Outcomes
from test_console import produce
from topologies import ERRORS, SLOW, TailSampling, baseline

KEY = "0123456789abcdef0123456789abcdef\n"


def recorded(result) -> int:
    assert result.returncode == 0, result.stdout
    return int(re.search(r"recorded +(\d+) records", result.stdout)[1])


def replayed(tailrace, recording, topology, path) -> dict[str, dict]:
    """The last final decision of each trace."""
    result = tailrace("replay", recording, "--topology", topology, "--decisions", path, "--strict", "--quiet")
    assert result.returncode == 0, result.stdout
    decisions = map(json.loads, path.read_text().splitlines())
    return {each["trace_id"]: each for each in decisions if each["final"]}


def test_a_recording_decides_as_the_worker_did(broker, run, read, children, tailrace, write, tmp_path):
    topology = TailSampling("record", policies=(ERRORS, SLOW, baseline(10)), dropped="ledger")
    broker.create(topology.spans, *topology.outputs, partitions=3)
    worker = run(topology)
    truth, path = tmp_path / "truth", tmp_path / "a.otlp.zst"
    options = ["--live", "--rate", "60", "--traces", "400", "--spans-per-trace", "8", "--errors", "0.1", "--slow", "0.05"]
    command = [TAILRACE, "generate", "--topic", topology.spans, "--brokers", broker.address, "--truth", truth]
    generator = children.start("generate-record", [*command, *options])
    # Follows what comes, until it is interrupted.
    follower = children.start(
        "record-follow", [TAILRACE, "record", write(topology), "-o", tmp_path / "b.otlp", "--follow"], {"BROKER": broker.address}
    )
    assert generator.process.wait(60) == 0, generator.output
    ids = [json.loads(line)["trace_id"] for line in truth.read_text().splitlines()]
    assert len(ids) == 400
    # The clock has to move for the last windows to close.
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions(ids, worker.require_running)
    outcomes.reader.until(
        lambda: outcomes.recalled == outcomes.recalls_requested, "recalls", worker.require_running
    )
    count = recorded(tailrace("record", write(topology), "-o", path, "--quiet"))
    assert count == len(outcomes.reader.records[topology.spans])
    final = replayed(tailrace, path, write(topology), tmp_path / "d.jsonl")
    worker_said = outcomes.final
    assert final.keys() == worker_said.keys()
    for trace, decision in final.items():
        assert decision["verdict"] == worker_said[trace]["verdict"], trace
        if decision["verdict"] == "keep":
            assert decision["reasons"] == worker_said[trace]["reasons"], trace

    # An interrupt leaves a whole file.
    follower.process.send_signal(signal.SIGINT)
    assert follower.process.wait(30) == 0, follower.output
    assert int(re.search(r"recorded +(\d+) records", follower.output)[1]) == count
    assert replayed(tailrace, tmp_path / "b.otlp", write(topology), tmp_path / "e.jsonl").keys() == final.keys()

    # Anonymous records hold no name, and the same errors.
    key = tmp_path / "key"
    key.write_text(KEY)
    hidden = tmp_path / "c.otlp"
    assert count == recorded(tailrace("record", write(topology), "-o", hidden, "--anonymise", "--key-file", key))
    assert b"frontend" in (tmp_path / "b.otlp").read_bytes() and b"frontend" not in hidden.read_bytes()
    others = replayed(tailrace, hidden, write(topology), tmp_path / "f.jsonl")
    assert len(others) == len(final) and not others.keys() & final.keys()

    # A part of it.
    part = tmp_path / "d.otlp"
    assert recorded(tailrace("record", write(topology), "-o", part, "--partitions", "0,2", "--from", "3", "--to", "8")) == 10
    assert recorded(tailrace("record", write(topology), "-o", part, "--from", "-1h", "--max-bytes", "10KB")) < count
    assert recorded(tailrace("record", write(topology), "-o", part, "--to", "2020-01-01T00:00:00Z")) == 0


def test_the_story_of_a_trace(broker, run, read, tailrace, write):
    topology = TailSampling("explain", dropped="ledger", limits="limits: {spans_per_trace: 10}\n")
    broker.create(topology.spans, *topology.outputs, partitions=3)
    worker = run(topology)
    maker = Maker(seed=17)
    (kept,) = produce(broker, topology, maker, 1, error=True)
    dropped, recalled = produce(broker, topology, maker, 2)
    truncated = maker.trace_id()
    parent = maker.span(truncated)
    spans = [parent] + [maker.span(truncated, parent) for _ in range(30)]
    for some in (spans[:15], spans[15:]):
        broker.produce(topology.spans, traces_data(some).SerializeToString(), truncated.encode())
    broker.flush()
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions([kept, dropped, recalled, truncated], worker.require_running)
    late = maker.span(recalled, maker.span(recalled), name="late", error=True)
    harmless = maker.span(dropped, maker.span(dropped), name="harmless")
    for trace, span in ((recalled, late), (dropped, harmless)):
        broker.produce(topology.spans, traces_data([span]).SerializeToString(), trace.encode())
    broker.flush()
    outcomes.reader.until(lambda: outcomes.recalled == {recalled}, "the recall", worker.require_running)

    def story(trace: str, *options: str) -> dict:
        result = tailrace("explain", trace, "--topology", write(topology), "--json", *options)
        assert result.returncode == 0, result.stdout
        found = json.loads(result.stdout)
        assert found["trace_id"] == trace and not found["notes"]
        return found

    def kinds(found: dict) -> list[str]:
        return [event["kind"] for event in found["events"] if event["kind"] != "arrived"]

    found = story(kept)
    assert found["verdict"] == "keep" and kinds(found) == ["kept_early", "kept"]
    assert sum(span["is_error_origin"] for span in found["spans"]) == 1
    assert {each["name"]: each["answer"] for each in found["policies"]} == {"errors": "matches", "slow": "does_not_match"}
    found = story(dropped, "--all-partitions")
    assert found["verdict"] == "drop" and kinds(found) == ["dropped", "late"] or kinds(found) == ["dropped", "late", "late_record"]
    found = story(recalled, "--from", "-1h")
    assert found["verdict"] == "keep" and found["is_recalled"]
    assert kinds(found) == ["dropped", "late", "late_record", "recalled"]
    found = story(truncated)
    assert found["verdict"] == "keep" and found["truncated_spans"] > 0
    assert kinds(found)[-1] == "kept" and "trace_limit" in found["reasons"]
    text = tailrace("explain", recalled, "--topology", write(topology)).stdout
    assert f"trace      {recalled}: recalled and kept by errors" in text and "the error began here" in text
    unknown = tailrace("explain", maker.trace_id(), "--topology", write(topology))
    assert unknown.returncode == 1 and "nothing is known of trace" in unknown.stdout
    assert worker.stop() == 0
