"""Runs the services between a broker, a collector and Tailrace, and plays customers and cron."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import botocore.session

from children import DEADLINE, TAILRACE, Child, Children, accepts_connections, free_ports, wait_until
from otlp import is_baseline
from outcomes import Outcomes
from parts import start_collector, start_sink
from topics import Broker
from topologies import ERRORS, Repartition, TailSampling, baseline

INTEGRATION = Path(__file__).resolve().parents[1]
PARTITIONS = 3
BASELINE_PERCENT = 10
SLOW_SECONDS = 3
# A long poll of a queue is a root of up to 20 s: only requests can be slow.
SLOW_REQUESTS = f"""{{name: slow-requests, type: ottl_condition, ottl_condition: {{error_mode: ignore, span: [
      'IsRootSpan() and kind == SPAN_KIND_SERVER and duration >= Duration("{SLOW_SECONDS}s")']}}}}"""

USUAL, TOO_MUCH = 25, 5000
"""Amounts; the ledger's limit is 1,000."""
SCHEMA = """
    CREATE TABLE invoices (number INTEGER PRIMARY KEY, amount INTEGER);
    CREATE TABLE jobs (number INTEGER PRIMARY KEY, traceparent TEXT);
    CREATE TABLE ledger (number INTEGER PRIMARY KEY, amount INTEGER CHECK (amount <= 1000));
"""


@dataclass(frozen=True)
class Order:
    number: int
    amount: int
    trace_id: str


@dataclass
class Story:
    """What happened."""

    orders: list[Order] = field(default_factory=list)
    booked: Order | None = None
    """An order whose nightly job went well,"""
    failed: Order | None = None
    """and the one whose last hop failed, after its trace had been dropped."""


class Ride:
    """The whole scenario. `last_hop` is how many seconds after an order its nightly job starts.

    A trace is decided after 7/8 of that: 35 s, the default, if the last hop is 40 s after the first.
    """

    def __init__(self, children: Children, broker: Broker, name: str, last_hop: float):
        self.children, self.broker, self.last_hop = children, broker, last_hop
        self._first = len(children.all)
        self.sampling = TailSampling(
            name,
            policies=(ERRORS, SLOW_REQUESTS, baseline(BASELINE_PERCENT)),
            decision_wait=f"{round(last_hop * 875)}ms",
            decision_wait_after_root=f"{round(last_hop * 125)}ms",
            lone_roots_wait="true",
            dropped="ledger",
        )
        self.repartition = Repartition(f"{name}-repartition", output=self.sampling.spans)
        self._topology = children.directory / f"{name}.yaml"
        self._database = children.directory / f"{name}.sqlite"
        self._environment = {
            "KAFKA": broker.address,
            "ORDERS": f"{name}.orders",
            "DATABASE": str(self._database),
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "PYTHONPATH": str(INTEGRATION),
            "PYTHONDONTWRITEBYTECODE": "1",
            # Those of the queue's stand-in.
            "AWS_ACCESS_KEY_ID": "ride",
            "AWS_SECRET_ACCESS_KEY": "ride",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
        self._numbers = 0

    def start(self) -> None:
        self.broker.create(self.repartition.raw_spans, partitions=PARTITIONS)
        self.broker.create(self._environment["ORDERS"], partitions=1)
        for topology in (self.repartition, self.sampling):
            self._start_tailrace(topology)
        _, http = start_collector(self.children, self.broker, self.repartition.raw_spans)
        self._environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{http}"
        self._start_queue()
        with closing(sqlite3.connect(self._database)) as database:
            database.executescript(SCHEMA)
        self._environment["BILLING"] = self._start_server("billing")
        self._shop = self._start_server("shop")
        self.start_service("dispatcher")
        self.start_service("worker")
        self.outcomes = Outcomes(
            self.sampling,
            self.broker.read(self.repartition.raw_spans, *self.sampling.outputs),
        )

    def _start_tailrace(self, topology: TailSampling | Repartition) -> None:
        path = self.children.directory / f"{topology.label}.yaml"
        path.write_text(topology.text)
        worker = self.children.start(topology.label, [TAILRACE, "run", path], {"BROKER": self.broker.address})
        worker.wait_for(lambda: "assigned" in worker.output, "a line that says that partitions were assigned")

    def _start_queue(self) -> None:
        (port,) = free_ports(1)
        command = [sys.executable, "-B", "-m", "moto.server", "-p", str(port)]
        server = self.children.start("sqs", command)
        server.wait_for(lambda: accepts_connections(port), "to listen")
        self._environment["AWS_ENDPOINT_URL_SQS"] = f"http://127.0.0.1:{port}"
        sqs = botocore.session.get_session().create_client(
            "sqs",
            self._environment["AWS_DEFAULT_REGION"],
            endpoint_url=self._environment["AWS_ENDPOINT_URL_SQS"],
            aws_access_key_id=self._environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self._environment["AWS_SECRET_ACCESS_KEY"],
        )
        self._environment["INVOICES"] = sqs.create_queue(QueueName="invoices")["QueueUrl"]

    def start_service(self, name: str, *arguments: str, **environment: str) -> Child:
        """Starts one of this package's programs."""
        command = [sys.executable, "-B", "-m", f"ride.{name}", *arguments]
        own = {"OTEL_SERVICE_NAME": name, **environment}
        return self.children.start(name, command, {**self._environment, **own})

    def _start_server(self, name: str) -> str:
        (port,) = free_ports(1)
        server = self.start_service(name, PORT=str(port))
        server.wait_for(lambda: accepts_connections(port), "to listen")
        return f"http://127.0.0.1:{port}"

    def order(self, amount: int = USUAL) -> Order:
        """Orders as a customer does, without a trace context."""
        self._numbers += 1
        number = self._numbers
        body = json.dumps({"number": number, "amount": amount}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._shop}/orders", body, headers)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return Order(number, amount, response.headers["traceresponse"].split("-")[1])

    def traceparent(self, order: Order) -> str | None:
        """The context in the metadata of the order's job, once the worker has stored it."""
        query = "SELECT traceparent FROM jobs WHERE number = ?"
        with closing(sqlite3.connect(self._database)) as database:
            row = database.execute(query, (order.number,)).fetchone()
        return row and row[0]

    def run_job(self, order: Order) -> int:
        """Starts the order's nightly job, as cron does, and returns its exit code."""
        job = self.start_service("nightly", str(order.number), TRACEPARENT=self.traceparent(order) or "")
        return job.process.wait(DEADLINE)

    def require_running(self) -> None:
        # Those before belong to others, such as earlier tests.
        for child in self.children.all[self._first :]:
            if child.name != "nightly":
                child.require_running()

    def explain(self, order: Order, *options: str) -> str:
        """What `tailrace explain` says of the order's trace."""
        command = [TAILRACE, "explain", order.trace_id, "--topology", self._topology, *options]
        environment = {**os.environ, "BROKER": self.broker.address}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=True
        ).stdout

    def start_console(self) -> tuple[Child, str]:
        """Starts `tailrace console` on the topology; returns its address too."""
        command = [TAILRACE, "console", self._topology, "--port", "0"]
        console = self.children.start("console", command, {"BROKER": self.broker.address})
        found = console.wait_for(
            lambda: re.search(r"console at (http://\S+?)/?\s", console.output), "the console's address"
        )
        return console, found.group(1)

    def overhead(self) -> dict[str, float]:
        """Microseconds that instrumentation costs for each span: see `overhead`."""
        sink = f"http://{start_sink(self.children)}"
        child = self.start_service("overhead", OTEL_EXPORTER_OTLP_ENDPOINT=sink)
        assert child.process.wait(DEADLINE) == 0, child.tail
        return json.loads(child.output.splitlines()[-1])


def play(ride: Ride, say: Callable[[str], None]) -> Story:
    """Orders, of which one fails in its last hop; returns when its trace is kept."""
    story = Story()
    with ThreadPoolExecutor(4) as customers:
        story.orders += customers.map(lambda _: ride.order(), range(12))
    say(f"{len(story.orders)} usual orders were taken")
    # One that the baseline would keep anyway shows nothing.
    while not story.failed:
        order = ride.order(TOO_MUCH)
        story.orders.append(order)
        story.failed = None if is_baseline(order.trace_id, "", BASELINE_PERCENT) else order
    began, order = time.monotonic(), story.failed
    say(f"order {order.number} of {TOO_MUCH}, more than the ledger takes: trace {order.trace_id}")

    wait_until(lambda: ride.require_running() or all(map(ride.traceparent, story.orders)), "the orders' jobs")
    say("all are invoiced, in the worker's database")
    ride.start_service("reports")
    quiet = time.monotonic()

    def is_dropped() -> bool:
        ride.require_running()
        ride.outcomes.reader.poll()
        return any(each["trace_id"] == order.trace_id for each in ride.outcomes.accounted)

    wait_until(is_dropped, "the verdict", DEADLINE + ride.last_hop)
    say(f"Tailrace dropped order {order.number}'s trace: until now nothing speaks for it")
    # The next order ends a poll of the queue that is long enough to be slow, were it a request.
    time.sleep(max(0.0, quiet + SLOW_SECONDS + 2 - time.monotonic()))
    story.orders.append(ride.order())
    time.sleep(max(0.0, began + ride.last_hop - time.monotonic()))
    story.booked = story.orders[0]
    for each, code in ((story.booked, 0), (order, 1)):
        context = f"TRACEPARENT={ride.traceparent(each)}"
        say(f"cron starts order {each.number}'s nightly job with {context}")
        assert ride.run_job(each) == code, f"order {each.number}'s job should have ended with {code}"
    say(f"order {order.number}'s job failed, {time.monotonic() - began:.0f} s after the order")
    ride.outcomes.reader.until(
        lambda: order.trace_id in ride.outcomes.recalled, "the recall", ride.require_running
    )
    ride.outcomes.reader.quiet(0.5)
    say("Tailrace recalled its trace: it was read again from Kafka, and kept whole")
    return story
