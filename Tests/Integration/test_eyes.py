"""What people see: a recording of a topic decides as the worker did, and a trace's story is what happened."""

import contextlib
import gzip
import json
import re
import signal
import socket
import threading
import time
import uuid

import cramjam
import pytest
from confluent_kafka import Producer

from children import TAILRACE
from otlp import Maker, otlp_json, spans_in, traces_data
from outcomes import Outcomes
from proxy import Proxy
from test_console import Console, produce
from test_explorer import Explorer
from topologies import ERRORS, SLOW, TailSampling, baseline



def zstandard_compress(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


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
    # A worker that has read everything lets the clock pass: when a busy machine held up the records themselves,
    # windows closed before spans that a recording has in time.
    late = outcomes.late
    assert len(late) < 40, "most records came in time"
    kept = 0
    for trace, decision in final.items():
        if trace in late:
            continue
        assert decision["verdict"] == worker_said[trace]["verdict"], trace
        if decision["verdict"] == "keep":
            kept += 1
            for key in ("reasons", "probability", "adjusted_count", "span_count", "error_count"):
                assert decision[key] == worker_said[trace][key], (trace, key)
    assert 50 < kept < 250 and any(each["adjusted_count"] > 9 for each in final.values() if each["verdict"] == "keep")

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


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_all_codecs_are_read(broker, tailrace, write, tmp_path, codec):
    maker = Maker(seed=23)
    sent = [traces_data(maker.trace(maker.trace_id(), error=True)) for _ in range(40)]
    producer = Producer({"bootstrap.servers": broker.address, "compression.type": codec, "linger.ms": 200})
    for encoding, encode in (("otlp_proto", lambda each: each.SerializeToString()), ("otlp_json", otlp_json)):
        topology = TailSampling(f"codec-{codec}-{encoding}", encoding=encoding)
        broker.create(topology.spans, partitions=2)
        for each in sent:
            producer.produce(topology.spans, encode(each))
        assert producer.flush(30) == 0
        path = tmp_path / f"{encoding}.otlp"
        assert recorded(tailrace("record", write(topology), "-o", path, "--quiet")) == len(sent)
        found = [span.message for span in spans_in(records_of(path))]
        expected = [span for each in sent for span in each.resource_spans[0].scope_spans[0].spans]
        assert {each.span_id: each for each in found} == {each.span_id: each for each in expected}
        assert len(found) == len(expected)
        # Another topic's encoding is found out.
        other = TailSampling(f"codec-{codec}-other", encoding="otlp_proto")
        again = tmp_path / "again.otlp"
        assert recorded(tailrace("record", write(other), "-o", again, "--topic", topology.spans)) == len(sent)
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("compress", [gzip.compress, zstandard_compress], ids=["gzip", "zstd"])
def test_compressed_values_of_another_topic_are_read(broker, tailrace, write, tmp_path, compress):
    """Values that a producer's exporter has compressed, in a topic that the topology does not describe."""
    maker = Maker(seed=24)
    sent = [traces_data(maker.trace(maker.trace_id(), error=True)) for _ in range(20)]
    producer = Producer({"bootstrap.servers": broker.address})
    for encode in (lambda each: each.SerializeToString(), otlp_json):
        topology = TailSampling(f"values-{uuid.uuid4().hex[:8]}")
        broker.create(topology.spans, partitions=1)
        for each in sent:
            producer.produce(topology.spans, compress(encode(each)))
        assert producer.flush(30) == 0
        path = tmp_path / "a.otlp"
        other = TailSampling("values-other")
        result = tailrace("record", write(other), "-o", path, "--topic", topology.spans, "--quiet")
        assert recorded(result) == len(sent), result.stdout
        assert len(list(spans_in(records_of(path)))) == sum(len(each.resource_spans[0].scope_spans[0].spans) for each in sent)


def test_a_trace_is_found_whatever_form_its_key_has(broker, tailrace, write):
    """As 32 digits, or as the 16 bytes, which lead to other partitions; and of JSON, too."""
    maker = Maker(seed=25)
    producer = Producer({"bootstrap.servers": broker.address})
    for encoding, encode in (("otlp_proto", lambda each: each.SerializeToString()), ("otlp_json", otlp_json)):
        topology = TailSampling(f"explain-keys-{encoding[5:]}", encoding=encoding)
        broker.create(topology.spans, *topology.outputs, partitions=32)
        traces = [maker.trace_id() for _ in range(6)]
        for number, trace in enumerate(traces):
            key = bytes.fromhex(trace) if number % 2 else trace.encode()
            producer.produce(topology.spans, encode(traces_data(maker.trace(trace))), key)
        assert producer.flush(30) == 0
        for trace in traces:
            result = tailrace("explain", trace, "--topology", write(topology), "--json", "--quiet")
            assert result.returncode == 0, result.stdout
            assert json.loads(result.stdout)["span_count"] == 4


def test_the_consoles_stories_have_less_patience(broker, children, write):
    """A partition that gives nothing ends a search of the command after a minute; of the console, where others
    wait behind it, after ten seconds."""
    topology = TailSampling("explain-patience")
    broker.create(topology.spans, *topology.outputs, partitions=1)
    maker = Maker(seed=26)
    trace = maker.trace_id()
    broker.produce(topology.spans, traces_data(maker.trace(trace)).SerializeToString(), trace.encode())
    broker.flush()
    proxy = Proxy(int(broker.address.rpartition(":")[2]))
    command = [TAILRACE, "console", write(topology), "--port", "0"]
    console = Explorer(children.start("console-patience", command, {"BROKER": proxy.address}))
    assert console.json(f"/v1/explain/{trace}")["span_count"] == 4
    proxy.swallows_fetches = True
    begin = time.monotonic()
    status, body, _ = console.get(f"/v1/explain/{trace}")
    assert status == 404 and b"nothing is known" in body, body
    # One topic gives nothing, and has to be given up; the request has a minute in all.
    assert time.monotonic() - begin < 50
    assert console.get("/v1/status")[0] == 200
    proxy.swallows_fetches = False
    assert console.json(f"/v1/explain/{trace}")["span_count"] == 4
    assert console.child.stop() == 0


def records_of(path) -> list[bytes]:
    data, records = path.read_bytes(), []
    while data:
        end = 4 + int.from_bytes(data[:4], "little")
        records.append(data[4:end])
        data = data[end:]
    return records


def test_partitions_that_give_nothing_are_given_up(broker, tailrace, write, tmp_path):
    topology = TailSampling("record-silence")
    broker.create(topology.spans, partitions=3)
    maker = Maker(seed=29)
    for partition, count in ((0, 4), (1, 2)):
        for _ in range(count):
            spans = maker.trace(maker.trace_id())
            broker.produce(topology.spans, traces_data(spans).SerializeToString(), partition=partition)
    broker.flush()
    proxy = Proxy(int(broker.address.rpartition(":")[2]))
    proxy.swallows_fetches = True
    path = tmp_path / "a.otlp"
    result = tailrace("record", write(topology), "-o", path, "--patience", "4s", address=proxy.address)
    assert result.returncode == 1, result.stdout
    assert "topic 'record-silence.spans': the recording is not complete" in result.stdout
    assert "partition 0: offsets 0 to 3 could not be read" in result.stdout
    assert "partition 1: offsets 0 to 1 could not be read" in result.stdout
    assert "partition 2" not in result.stdout
    # What was read is there, and nothing else.
    assert path.read_bytes() == b""
    proxy.swallows_fetches = False
    assert recorded(tailrace("record", write(topology), "-o", path, address=proxy.address)) == 6


def test_a_plan_against_a_running_worker(broker, run, tailrace, write, tmp_path):
    topology = TailSampling("plan-worker", policies=(ERRORS, baseline(20)))
    broker.create(topology.spans, *topology.outputs, partitions=1)
    worker = run(topology)
    console = Console(worker)
    recording = tmp_path / "a.otlp"
    assert tailrace("generate", "-o", recording, "--traces", "200", "--errors", "0.2").returncode == 0
    for address in (f"http://{console.address}", f"http://{console.address}/configz"):
        same = tailrace("plan", write(topology), recording, "--against", address)
        assert same.returncode == 0 and same.stdout.startswith("No changes: 200 traces"), same.stdout
    # The defaults are something else.
    assert tailrace("plan", write(topology), recording).returncode == 3
    for url in (f"http://{console.address}/none", "https://localhost", "http://", "http://a b", "http://x:99999"):
        result = tailrace("plan", write(topology), recording, "--against", url)
        assert result.returncode in (1, 2) and "Plan" not in result.stdout, result.stdout
    missing = tailrace("plan", write(topology), recording, "--against", f"http://{console.address}/none")
    assert missing.returncode == 1 and "404" in missing.stdout
    assert worker.stop() == 0
    gone = tailrace("plan", write(topology), recording, "--against", f"http://{console.address}")
    assert gone.returncode == 1 and "no connection" in gone.stdout, gone.stdout


BODY = b"kind: tail-sampling\n"
ANSWERS = {
    "whole": (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + BODY, None),
    "without a length": (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, None),
    "cut off": (b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n" + BODY, "cut off"),
    "refused": (b"HTTP/1.1 503 Busy\x1b[2J\r\n\r\n", "503 Busy"),
    "another protocol": (b"SSH-2.0-x\r\n", "not HTTP"),
    "nothing": (b"", "not HTTP"),
    "too much": (b"HTTP/1.1 200 OK\r\n\r\n" + b"#" * (2 << 20), "more than 1 MiB"),
    "no topology": (b"HTTP/1.1 200 OK\r\n\r\nsome: page\n", "needs the key 'kind'"),
    "silence": (None, "no whole answer within 15 s"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_a_worker_answers_is_not_trusted(tailrace, tmp_path, name):
    answer, complaint = ANSWERS[name]
    planned = tmp_path / "new.yaml"
    planned.write_bytes(BODY)
    recording = tmp_path / "a.otlp"
    assert tailrace("generate", "-o", recording, "--traces", "20").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                if answer is None:
                    connection.recv(1)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = tailrace("plan", planned, recording, "--against", address)
        thread.join(10)
    if complaint is None:
        assert result.returncode == 0, result.stdout
    else:
        assert result.returncode in (1, 2) and complaint in result.stdout, result.stdout
        assert "\x1b" not in result.stdout


def test_the_story_of_a_trace(broker, run, read, tailrace, write):
    topology = TailSampling("explain", dropped="ledger", limits="limits: {spans_per_trace: 10}\n")
    broker.create(topology.spans, partitions=3)
    # Outputs may have more partitions than their input: records are in its partition all the same.
    broker.create(*topology.outputs, partitions=5)
    worker = run(topology)
    maker = Maker(seed=17)
    (kept,) = produce(broker, topology, maker, 1, error=True)
    dropped, late, recalled = produce(broker, topology, maker, 3)
    truncated = maker.trace_id()
    parent = maker.span(truncated)
    spans = [parent] + [maker.span(truncated, parent) for _ in range(30)]
    for some in (spans[:15], spans[15:]):
        broker.produce(topology.spans, traces_data(some).SerializeToString(), truncated.encode())
    broker.flush()
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions([kept, dropped, late, recalled, truncated], worker.require_running)
    error = maker.span(recalled, maker.span(recalled), name="late", error=True)
    harmless = maker.span(late, maker.span(late), name="harmless")
    for trace, span in ((recalled, error), (late, harmless)):
        broker.produce(topology.spans, traces_data([span]).SerializeToString(), trace.encode())
    broker.flush()
    outcomes.reader.until(lambda: outcomes.recalled == {recalled}, "the recall", worker.require_running)

    def story(trace: str, *options: str) -> dict:
        result = tailrace("explain", trace, "--topology", write(topology), "--json", *options)
        assert result.returncode == 0, result.stdout
        found = json.loads(result.stdout)
        assert found["trace_id"] == trace and not found["notes"], found["notes"]
        return found

    def kinds(found: dict) -> list[str]:
        return [event["kind"] for event in found["events"] if event["kind"] != "arrived"]

    def text(found: dict, kind: str) -> str:
        return next(event["text"] for event in found["events"] if event["kind"] == kind)

    found = story(kept)
    assert found["verdict"] == "keep" and kinds(found) == ["kept_early", "kept"]
    assert found["span_count"] == 4 and found["reasons"] == ["errors"]
    assert sum(span["is_error_origin"] for span in found["spans"]) == 1
    assert {each["name"]: each["answer"] for each in found["policies"]} == {"errors": "matches", "slow": "does_not_match"}
    found = story(dropped)
    assert found["verdict"] == "drop" and kinds(found) == ["dropped"] and not found["reasons"]
    assert "no policy matched" in text(found, "dropped")
    assert {each["answer"] for each in found["policies"]} == {"does_not_match"}
    found = story(late, "--all-partitions")
    assert found["verdict"] == "drop" and kinds(found)[:2] == ["dropped", "late"] and not found["is_recalled"]
    assert text(found, "late").startswith("after the verdict: 1 span of")
    assert len(found["spans"]) == 5
    found = story(recalled, "--from", "-1h")
    assert found["verdict"] == "keep" and found["is_recalled"] and found["reasons"] == ["errors"]
    assert kinds(found) == ["dropped", "late", "late_record", "recalled"]
    assert "a recall is requested" in text(found, "late_record")
    found = story(truncated)
    assert found["verdict"] == "keep" and found["truncated_spans"] > 0
    assert kinds(found)[-1] == "kept" and "trace_limit" in found["reasons"]
    assert "spans left out" in text(found, "kept")
    text_of = tailrace("explain", recalled, "--topology", write(topology)).stdout
    assert f"trace      {recalled}: recalled and kept by errors" in text_of and "the error began here" in text_of
    unknown = tailrace("explain", maker.trace_id(), "--topology", write(topology))
    assert unknown.returncode == 1 and "nothing is known of trace" in unknown.stdout
    assert "try --all-partitions" in unknown.stdout and "earlier --from" not in unknown.stdout
    unknown = tailrace("explain", maker.trace_id(), "--topology", write(topology), "--from", "-1m")
    assert unknown.returncode == 1 and "an earlier --from" in unknown.stdout
    assert worker.stop() == 0
