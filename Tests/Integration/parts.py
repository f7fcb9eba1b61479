"""The real parts that are not ours: a broker and a collector, each from its Python package."""

import os
from importlib.resources import files
from pathlib import Path

from children import Child, Children, accepts_connections, free_ports
from topics import Broker


def program(package: str, name: str) -> Path:
    """The program in a Python package."""
    path = Path(str(files(package) / name))
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return path


def start_broker(children: Children) -> tuple[Child, Broker]:
    """Starts noida-db, with its data among the children's files."""
    (port,) = free_ports(1)
    command = [program("noida_db", "noida-db"), "start", "--only", "kafka"]
    command += ["--data-dir", children.directory / "broker", "--kafka-port", str(port)]
    server = children.start("broker", command)
    server.wait_for(lambda: accepts_connections(port), "to listen")
    return server, Broker(f"127.0.0.1:{port}")


def start_collector(children: Children, broker: Broker, topic: str) -> tuple[str, str]:
    """Starts rotel, which exports to a topic; returns its addresses for OTLP over gRPC and over HTTP."""
    exporter = ["kafka", "--kafka-exporter-brokers", broker.address]
    exporter += ["--kafka-exporter-traces-topic", topic, "--kafka-exporter-format", "protobuf"]
    return _start_rotel(children, [*exporter, "--kafka-exporter-acks", "all"])


def start_sink(children: Children) -> str:
    """Starts rotel, which forgets what it receives; returns its address for OTLP over HTTP."""
    return _start_rotel(children, ["blackhole"])[1]


def _start_rotel(children: Children, exporter: list[str]) -> tuple[str, str]:
    grpc, http = (f"127.0.0.1:{port}" for port in free_ports(2))
    command = [program("rotel", "rotel-agent"), "start", "--exporter", *exporter]
    command += ["--otlp-grpc-endpoint", grpc, "--otlp-http-endpoint", http, "--batch-timeout", "100ms"]
    name = f"rotel-{len(children.all)}"
    command += ["--pid-file", children.directory / f"{name}.pid"]
    command += ["--log-file", children.directory / f"{name}.log"]
    agent = children.start("rotel", command)
    for address in (grpc, http):
        port = int(address.rpartition(":")[2])
        agent.wait_for(lambda: accepts_connections(port), f"to listen on {address}")  # noqa: B023
    return grpc, http
