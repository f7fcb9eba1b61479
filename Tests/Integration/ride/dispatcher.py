"""Kafka in, HTTP out: has each order charged.

The Kafka instrumentation is not used here: its consumer begins a new trace for each record, with a link to
the producer's. To stay in the order's trace takes its context from the record's headers.
"""

import json
import os

import requests
from confluent_kafka import Consumer
from opentelemetry import propagate
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.trace import SpanKind

from ride import telemetry

tracer = telemetry.start()
RequestsInstrumentor().instrument()

topic = os.environ["ORDERS"]
consumer = Consumer(
    {
        "bootstrap.servers": os.environ["KAFKA"],
        "group.id": f"{topic}.dispatcher",
        "auto.offset.reset": "earliest",
    }
)
consumer.subscribe([topic])
while True:
    message = consumer.poll(0.5)
    if message is None or message.error():
        continue
    context = propagate.extract({name: value.decode() for name, value in message.headers() or ()})
    attributes = {"messaging.system": "kafka", "messaging.destination.name": topic}
    with tracer.start_as_current_span(f"{topic} process", context, SpanKind.CONSUMER, attributes):
        order = json.loads(message.value())
        requests.post(f"{os.environ['BILLING']}/charges", json=order, timeout=30).raise_for_status()
