"""A worker with ten times more input than fits stays within its limit, as counted by the kernel."""

import os
import time
from pathlib import Path

from otlp import Maker, traces_data
from test_console import Console
from topologies import TailSampling

LIMIT = 64 << 20
OFFERED = 10 * LIMIT
AHEAD = 4 << 20
"""Allowed unread bytes in the topic: this broker answers a fetch with all of them."""
BURST = 20
"""Records sent at once, of 100 KB each."""


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def test_resident_memory_stays_within_the_limit(broker, run):
    # Nothing is decided by time: everything the worker releases, it releases for lack of memory.
    topology = TailSampling(
        "memory",
        decision_wait="10m",
        limits="limits: {memory: 64MiB, bytes_per_trace: 4MiB}\n",
        kafka={"queued.max.messages.kbytes": "8192", "queued.min.messages": "100"},
    )
    broker.create(topology.spans, *topology.outputs, partitions=2)
    worker = run(topology)
    console = Console(worker)
    before = resident(worker.process.pid)
    maker = Maker(seed=7)
    offered, traces, worst = 0, 0, 0
    template = maker.trace(maker.trace_id())[1]
    deadline = time.monotonic() + 240
    while offered < OFFERED:
        read = console.metrics().sum("tailrace_read_bytes_total")
        worst = max(worst, resident(worker.process.pid))
        worker.require_running()
        assert time.monotonic() < deadline, f"{read} of {offered} bytes read"
        if offered - read > AHEAD:
            time.sleep(0.02)
            continue
        for _ in range(BURST):
            trace = maker.trace_id()
            template.trace_id = bytes.fromhex(trace)
            # A quarter of it compresses.
            filling = os.urandom(37_500).hex()[:50_000] + 50_000 * "x"
            template.name = filling
            record = traces_data([template]).SerializeToString()
            broker.produce(topology.spans, record, trace.encode(), traces % 2)
            offered += len(record)
            traces += 1
        broker.flush()
    metrics = console.metrics()
    held = metrics.sum("tailrace_open_traces")
    # On top of the limit come the data of two fetches, one of them being read, and what the allocator keeps.
    room = LIMIT + 2 * (AHEAD + BURST * 100_000) + (16 << 20)
    assert worst - before < room, f"{(worst - before) >> 20} MiB more than before the first record"
    assert held < traces / 5, "far more was offered than fits"
    assert worker.stop() == 0
