"""HTTP in, SQS out: charges an order, and sends its invoice to a queue."""

import json
import os

import botocore.session
from flask import Flask, request
from opentelemetry import propagate
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.trace import Span

from ride import telemetry


def put_context(span: Span, service: str, operation: str, parameters: dict) -> None:
    """Writes the call's context to the message's attributes.

    The instrumentation itself writes X-Ray's header to the HTTP request, where only AWS can read it.
    """
    if operation == "SendMessage":
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in carrier.items()}
        parameters["MessageAttributes"] = {**parameters.get("MessageAttributes", {}), **attributes}


telemetry.start()
BotocoreInstrumentor().instrument(request_hook=put_context)

app = Flask("billing")
FlaskInstrumentor().instrument_app(app)
sqs = botocore.session.get_session().create_client("sqs")


@app.post("/charges")
def charge():
    order = request.get_json()
    invoice = {"number": order["number"], "amount": order["amount"]}
    sqs.send_message(QueueUrl=os.environ["INVOICES"], MessageBody=json.dumps(invoice))
    return {"charged": order["amount"]}, 201


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
