"""Measures how long an error takes from its producer to a read_committed reader of `decisions` and `sampled`.

    python bench_latency.py [--seconds N] [--traces-per-second N] [--errors SHARE] [--commit-interval TIME]

A worker with transactions runs on the suite's broker. Each record is a span; a trace has four, one every 50 ms,
and an error trace fails in its second. The clock starts when that span is handed to the producer.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from children import TAILRACE, Children, accepts_connections, free_ports
from otlp import Maker, spans_in, traces_data
from parts import program
from topics import Broker
from topologies import ERRORS, TailSampling


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def produce(broker: Broker, topic: str, options: argparse.Namespace, written: dict[str, float]) -> None:
    maker = Maker(seed=11)
    due = []
    for number in range(int(options.seconds * options.traces_per_second)):
        trace = maker.trace_id()
        is_error = int((number + 1) * options.errors) > int(number * options.errors)
        spans = maker.trace(trace, error=is_error)
        # The failing one is the second.
        spans.sort(key=lambda span: span.status.code != 2)
        spans[0], spans[1] = spans[1], spans[0]
        for place, span in enumerate(spans):
            due.append((number / options.traces_per_second + 0.05 * place, trace, is_error and place == 1, span))
    due.sort(key=lambda each: each[0])
    began = time.monotonic()
    for at, trace, is_the_error, span in due:
        time.sleep(max(0, began + at - time.monotonic()))
        record = traces_data([span]).SerializeToString()
        if is_the_error:
            written[trace] = time.monotonic()
        broker.produce(topic, record, trace.encode())
    broker.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--traces-per-second", type=float, default=200)
    parser.add_argument("--errors", type=float, default=0.05)
    parser.add_argument("--commit-interval", default="1s")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="tailrace-latency-"))
    children = Children(directory)
    try:
        (port,) = free_ports(1)
        command = [program("noida_db", "noida-db"), "start", "--only", "kafka"]
        command += ["--data-dir", directory / "broker", "--kafka-port", str(port)]
        children.start("broker", command).wait_for(lambda: accepts_connections(port), "to listen")
        broker = Broker(f"127.0.0.1:{port}")
        topology = TailSampling("latency", policies=(ERRORS,))
        broker.create(topology.spans, *topology.outputs, partitions=4)
        path = directory / "latency.yaml"
        path.write_text(topology.text.replace("commit_interval: 200ms", f"commit_interval: {options.commit_interval}"))
        worker = children.start("worker", [TAILRACE, "run", path], {**os.environ, "BROKER": broker.address})
        worker.wait_for(lambda: "assigned" in worker.output, "partitions")
        reader = broker.read(topology.decisions, topology.sampled)
        reader.quiet(1)
        written: dict[str, float] = {}
        load = threading.Thread(target=produce, args=(broker, topology.spans, options, written))
        load.start()
        decided: dict[str, float] = {}
        kept: dict[str, float] = {}
        taken = {topology.decisions: 0, topology.sampled: 0}
        end = time.monotonic() + options.seconds + 30
        while (load.is_alive() or min(len(decided), len(kept)) < len(written)) and time.monotonic() < end:
            reader.poll()
            now = time.monotonic()
            for record in reader.records[topology.decisions][taken[topology.decisions] :]:
                if (decision := json.loads(record.value))["verdict"] == "keep":
                    decided.setdefault(decision["trace_id"], now)
            for record in reader.records[topology.sampled][taken[topology.sampled] :]:
                for span in spans_in([record.value]):
                    kept.setdefault(span.trace_id, now)
            taken = {topic: len(records) for topic, records in reader.records.items()}
        load.join()
        print(f"{len(written)} error traces of {options.traces_per_second:.0f} traces/s, commits every {options.commit_interval}")
        for name, seen in ((topology.decisions, decided), (topology.sampled, kept)):
            times = [seen[trace] - at for trace, at in written.items() if trace in seen]
            missing = len(written) - len(times)
            print(
                f"{name.removeprefix('latency.'):10} p50 {1000 * percentile(times, 0.5):5.0f} ms, "
                f"p99 {1000 * percentile(times, 0.99):5.0f} ms, most {1000 * max(times):5.0f} ms, {missing} missing"
            )
            if missing:
                return 1
        return 0
    finally:
        children.kill_since(0)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
