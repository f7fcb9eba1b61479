"""SQS in, a database out: stores invoices, each with a job for the night.

The job's row has the context of the trace that it belongs to, for whoever starts it.
"""

import json
import os
import sqlite3

import botocore.session
from opentelemetry import propagate
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.trace import SpanKind

from ride import telemetry

tracer = telemetry.start()
BotocoreInstrumentor().instrument()
SQLite3Instrumentor().instrument()

queue = os.environ["INVOICES"]
sqs = botocore.session.get_session().create_client("sqs")
database = sqlite3.connect(os.environ["DATABASE"])


def store(invoice: dict) -> None:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    # The instrumentation sees what cursors do, not what a connection does on its own.
    cursor = database.cursor()
    cursor.execute("INSERT INTO invoices VALUES (?, ?)", (invoice["number"], invoice["amount"]))
    cursor.execute("INSERT INTO jobs VALUES (?, ?)", (invoice["number"], carrier["traceparent"]))
    database.commit()


while True:
    # A long poll, as usual: it may last for 20 s, and is a trace of its own.
    answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20, MessageAttributeNames=["All"])
    for message in answer.get("Messages", ()):
        carrier = {name: each["StringValue"] for name, each in message.get("MessageAttributes", {}).items()}
        attributes = {"messaging.system": "aws.sqs", "messaging.destination.name": queue.rpartition("/")[2]}
        context = propagate.extract(carrier)
        with tracer.start_as_current_span("invoices process", context, SpanKind.CONSUMER, attributes):
            store(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
