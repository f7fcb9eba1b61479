"""Traffic onto a topic: it waits for the topic, keeps its pace, and ends on a signal."""

import re
import signal
import time

from children import TAILRACE, wait_until
from otlp import spans_in

SUMMARY = re.compile(r"(\d+) traces, (\d+) spans in (\d+) records, (\d+) bytes in ([\d.]+) s, ([\d.]+) traces/s")


def generate(children, broker, topic, *options):
    command = [TAILRACE, "generate", "--topic", topic, "--brokers", broker.address, *options]
    return children.start(f"generate-{topic}", command)


def test_the_topic_is_waited_for(broker, children, read):
    generator = generate(children, broker, "generate-late", "--traces", "20", "--wait", "60s")
    # If brokers create topics on request, there is nothing to wait for.
    wait_until(lambda: "does not exist" in generator.output or generator.process.poll() == 0, "the generator's word")
    if "generate-late" not in broker.partition_counts():
        generator.require_running()
        broker.create("generate-late", partitions=2)
    assert generator.process.wait(60) == 0, generator.output
    spans = int(re.search(r"20 traces, (\d+) spans", generator.output)[1])
    reader = read("generate-late")
    records = reader.records["generate-late"]
    reader.until(lambda: len(list(spans_in(record.value for record in records))) == spans, "the spans", lambda: None)


def test_live_traffic_keeps_its_pace(broker, children):
    broker.create("generate-live", partitions=2)
    began = time.monotonic()
    generator = generate(children, broker, "generate-live", "--live", "--rate", "40", "--traces", "120")
    wait_until(lambda: generator.process.poll() is not None or time.monotonic() - began > 2, "two seconds")
    generator.require_running()
    # The last traces have late records, which are not waited for.
    wait_until(lambda: time.monotonic() - began > 5, "five seconds")
    if generator.process.poll() is None:
        generator.process.send_signal(signal.SIGINT)
    assert generator.process.wait(30) == 0, generator.output
    traces, *_, seconds, rate = SUMMARY.search(generator.output).groups()
    assert int(traces) == 120
    assert float(seconds) >= 2.5 and float(rate) <= 50


def test_a_signal_ends_live_traffic_well(broker, children, read):
    broker.create("generate-stopped", partitions=2)
    generator = generate(children, broker, "generate-stopped", "--live", "--rate", "100")
    reader = read("generate-stopped")
    records = reader.records["generate-stopped"]
    reader.until(lambda: len(records) > 100, "traffic", generator.require_running)
    generator.process.send_signal(signal.SIGINT)
    assert generator.process.wait(30) == 0, generator.output
    traces, spans, count, *_ = map(float, SUMMARY.search(generator.output).groups())
    reader.until(lambda: len(records) >= count, "the rest", lambda: None)
    found = list(spans_in(record.value for record in records))
    assert len(found) == spans and len({span.trace_id for span in found}) == traces, "every trace is whole"
