"""Kafka in, in batches: counts orders.

The instrumentation makes one span for each batch, in a trace of its own, with a link to each
order's producer.
"""

import os

import confluent_kafka
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor

from ride import telemetry

telemetry.start()
ConfluentKafkaInstrumentor().instrument()

topic = os.environ["ORDERS"]
consumer = confluent_kafka.Consumer(
    {
        "bootstrap.servers": os.environ["KAFKA"],
        "group.id": f"{topic}.reports",
        "auto.offset.reset": "earliest",
    }
)
consumer.subscribe([topic])
while True:
    batch = [message for message in consumer.consume(50, 2) if not message.error()]
    if batch:
        print(f"{len(batch)} orders", flush=True)
