"""Measures how long a worker takes to read a partition's verdicts back, by the form in which they were written.

    python bench_recovery.py [--traces-per-second N] [--seconds N]

A partition has been committed with ten minutes of verdicts before: 97 of 100 traces are dropped. They are in
`decisions`, in full or compact records, or in pages of the ledger, one for each second. A worker of the suite's broker
is assigned it; the time is what it logs.
"""

import argparse
import os
import random
import re
import shutil
import struct
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from children import TAILRACE, Child, Children, accepts_connections, free_ports
from otlp import Maker, traces_data
from parts import program
from topics import Broker
from topologies import TailSampling

KEPT_SHARE = 0.03
ROOT = '"root":{{"service":"frontend","operation":"GET /items"}}'
COMPACT = (
    '{{"trace_id":"{id}","verdict":"drop","final":true,"span_count":50,"error_count":0,"byte_count":19000,'
    + ROOT
    + ',"earliest_start":"{time}","trigger":"root","late":false,"truncated_spans":0,"partition":0,'
    '"first_offset":{offset},"last_offset":{offset},"decided_at":"{time}","config":"c550a3c6"}}'
)
FULL = (
    '{{"trace_id":"{id}","verdict":"{verdict}","final":true,"policy":null,"reasons":[],"probability":0,"threshold":null,'
    '"adjusted_count":0,"span_count":50,"error_count":0,"byte_count":19000,'
    '"services":["checkout","email","recommendation","payment","search","inventory","pricing"],'
    + ROOT
    + ',"start_time":"{time}","duration_ns":110450395,"error_origin":null,"trigger":"root","late":false,'
    '"truncated_spans":0,"too_large_spans":0,"partition":0,"first_offset":{offset},"last_offset":{offset},'
    '"decided_at":"{time}","config":"c550a3c6"}}'
)


def varint(number: int) -> bytes:
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


def signed(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else -number * 2 - 1)


def page(traces: list[tuple[bytes, int, int]]) -> bytes:
    """A page of the ledger with these traces: ids, offsets, and milliseconds since 1970."""
    _, last_offset, last_time = traces[0]
    head = b"TRL\x01" + struct.pack("<I", len(traces)) + varint(0) + varint(8) + b"c550a3c6"
    data = [head, signed(last_time * 1_000_000), signed(last_offset)]
    for trace, offset, milliseconds in traces:
        numbers = signed(offset - last_offset) + varint(5000) + signed(milliseconds - last_time)
        data.append(trace + b"\x01" + numbers + varint(4768) + varint(50))
        last_offset, last_time = offset, milliseconds
    return b"".join(data)


def fill(broker: Broker, topology: TailSampling, form: str, options: argparse.Namespace, end: int) -> None:
    """Writes the verdicts up to `end`, in milliseconds since 1970."""
    draw = random.Random(5)
    for second in range(options.seconds):
        dropped = []
        for number in range(options.traces_per_second):
            trace = draw.randbytes(16)
            milliseconds = end - 1000 * (options.seconds - second) + 1000 * number // options.traces_per_second
            offset = 13 * (second * options.traces_per_second + number)
            kept = number < KEPT_SHARE * options.traces_per_second
            if form == "ledger" and not kept:
                dropped.append((trace, offset, milliseconds))
                continue
            moment = datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            text = (FULL if kept or form == "full" else COMPACT).format(
                id=trace.hex(), verdict="keep" if kept else "drop", offset=offset,
                time=f"{moment}.{milliseconds % 1000:03}000000Z",
            )  # fmt: skip
            broker.produce(topology.decisions, text.encode(), trace.hex().encode(), 0)
        if dropped:
            broker.produce(topology.verdicts, page(dropped), None, 0)
        if second % 10 == 9:
            broker.flush()
    broker.flush()


def run(children: Children, name: str, topology: Path, broker: Broker) -> Child:
    return children.start(name, [TAILRACE, "run", topology], {**os.environ, "BROKER": broker.address})


def measure(broker: Broker, children: Children, form: str, options: argparse.Namespace) -> None:
    topology = TailSampling(f"recovery-{form}", dropped=form, limits="limits: {memory: 2GiB}\n")
    broker.create(topology.spans, *topology.outputs, partitions=1)
    maker = Maker(seed=1)
    trace = maker.trace_id()
    broker.produce(topology.spans, traces_data(maker.trace(trace)).SerializeToString(), trace.encode())
    broker.flush()
    now = int(time.time() * 1000)
    fill(broker, topology, form, options, now)
    path = children.directory / f"{form}.yaml"
    path.write_text(topology.text)
    # The last owner reads the one record and commits while its window is open.
    last = run(children, f"{form}-last", path, broker)
    last.wait_for(lambda: "assigned" in last.output, "partitions")
    time.sleep(1)
    assert last.stop() == 0
    worker = run(children, form, path, broker)
    worker.wait_for(lambda: " recovered " in worker.output, "recovery", 300)
    found = re.search(r"assigned .*verdicts=(\d+)", worker.output), re.search(r"recovered .*seconds=([\d.]+)", worker.output)
    assert found[0] and found[1], worker.tail
    assert worker.stop() == 0
    print(f"{form:8} {int(found[0][1]):9} verdicts in {found[1][1]} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--traces-per-second", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="tailrace-recovery-"))
    children = Children(directory)
    try:
        (port,) = free_ports(1)
        command = [program("noida_db", "noida-db"), "start", "--only", "kafka"]
        command += ["--data-dir", directory / "broker", "--kafka-port", str(port)]
        children.start("broker", command).wait_for(lambda: accepts_connections(port), "to listen")
        broker = Broker(f"127.0.0.1:{port}")
        for form in ("full", "compact", "ledger"):
            measure(broker, children, form, options)
        return 0
    finally:
        children.kill_since(0)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
