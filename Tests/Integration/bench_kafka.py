"""Fills a topic of the suite's broker with generated traffic, and runs `tailrace bench-kafka` on it.

    python bench_kafka.py [--traces N] [--partitions N] [arguments of tailrace bench-kafka]

With --live among the arguments, the topic starts empty. This broker answers a fetch without data at once, where others
wait for some, so librdkafka's threads never rest: look at the lanes' threads, or measure on another broker.

The broker answers a fetch with a whole partition, so there are many partitions of less than 50 MB. One of its threads
writes all data to disk again and again, a whole core's work that no other broker has: it only gets idle time.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from children import TAILRACE, Children, accepts_connections, free_ports
from parts import program
from topics import Broker


def leave_idle_time_to_saving(broker: int) -> None:
    """Gives the broker's saving thread only idle time."""
    saving = []
    for thread in Path(f"/proc/{broker}/task").iterdir():
        # Others come and go.
        with contextlib.suppress(OSError):
            if (thread / "comm").read_text().strip() == "autosave":
                saving.append(int(thread.name))
    for thread in saving:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    print(f"{len(saving)} saving thread of the broker has idle time only", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--traces", type=int, default=64_000)
    parser.add_argument("--partitions", type=int, default=32)
    options, rest = parser.parse_known_args()
    directory = Path(tempfile.mkdtemp(prefix="tailrace-bench-"))
    children = Children(directory)
    try:
        (port,) = free_ports(1)
        command = [program("noida_db", "noida-db"), "start", "--only", "kafka"]
        command += ["--data-dir", directory / "broker", "--kafka-port", str(port)]
        server = children.start("broker", command)
        server.wait_for(lambda: accepts_connections(port), "to listen")
        broker = Broker(f"127.0.0.1:{port}")
        broker.create("bench.spans", partitions=options.partitions)
        target = ["--topic", "bench.spans", "--brokers", broker.address]
        leave_idle_time_to_saving(server.process.pid)
        # Live traffic is published by the benchmark itself.
        if not any(each.startswith("--live") for each in rest):
            subprocess.run([TAILRACE, "generate", *target, "--traces", str(options.traces)], check=True)
        return subprocess.run([TAILRACE, "bench-kafka", *target, *rest], check=False).returncode
    finally:
        children.kill_since(0)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
