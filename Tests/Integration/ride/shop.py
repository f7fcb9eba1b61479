"""HTTP in, Kafka out: takes orders, and publishes each to a topic."""

import json
import os

import confluent_kafka
from flask import Flask, request
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.propagators import TraceResponsePropagator, set_global_response_propagator

from ride import telemetry

telemetry.start()
# Replaces confluent_kafka.Producer by one that makes a span, and writes its context to the record's headers.
ConfluentKafkaInstrumentor().instrument()
# Customers learn their trace's id from the response's header `traceresponse`.
set_global_response_propagator(TraceResponsePropagator())

app = Flask("shop")
FlaskInstrumentor().instrument_app(app)
producer = confluent_kafka.Producer({"bootstrap.servers": os.environ["KAFKA"]})


@app.post("/orders")
def take_order():
    order = request.get_json()
    producer.produce(os.environ["ORDERS"], json.dumps(order).encode())
    producer.flush(30)
    return {"order": order["number"]}, 202


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
