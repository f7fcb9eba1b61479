"""A real Prometheus scrapes a real worker: every query of the dashboard and of the rules is answered."""

import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from children import REPOSITORY, accepts_connections, free_ports, wait_until
from metrics import Families
from otlp import Maker, traces_data
from outcomes import Outcomes
from test_console import Console
from topologies import ERRORS, EVERYTHING, SLOW, Export, Repartition, TailSampling

DASHBOARD = REPOSITORY / "Deploy/grafana/tailrace.json"
RULES = REPOSITORY / "Deploy/prometheus/rules.yaml"

BASELINE = """\
baseline: {budget: {traces_percentage: 10}, interval: 1s}
"""


class Prometheus:
    """A separate server, which scrapes some addresses every second."""

    def __init__(self, children, targets: list[str]):
        program = shutil.which("prometheus")
        assert program, "no prometheus: run `make setup`"
        (port,) = free_ports(1)
        directory: Path = children.directory / f"prometheus-{port}"
        directory.mkdir()
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "tailrace", "static_configs": [{"targets": targets}]}],
        }
        # JSON is also YAML.
        (directory / "prometheus.yml").write_text(json.dumps(configuration))
        self.address = f"127.0.0.1:{port}"
        command = [program, f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}"]
        self.server = children.start("prometheus", [*command, f"--web.listen-address={self.address}"])
        self.server.wait_for(lambda: accepts_connections(port) and self.is_ready, "readiness")

    @property
    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=10) as response:
                return response.status == 200
        except urllib.error.HTTPError:
            return False

    def get(self, path: str, **parameters: str):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict]:
        return self.get("query", query=expression)["result"]


def queries() -> list[tuple[str, str]]:
    """Every query of the dashboard, by panel, with Grafana's variables filled in."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")
            assert "$" not in expression, expression
            found.append((panel["title"], expression))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    return found


def test_every_query_has_an_answer(broker, run, children, read):
    topology = TailSampling(
        "prometheus", policies=(ERRORS, SLOW), shadow=(EVERYTHING,), baseline=BASELINE, decision_wait="2s", logs_wait="3s"
    )
    broker.create(topology.spans, topology.logs, *topology.outputs, topology.sampled_logs, partitions=2)
    broker.create(topology.stats, partitions=1)
    worker = run(topology)
    console = Console(worker)
    prometheus = Prometheus(children, [console.address])
    wait_until(lambda: prometheus.query("tailrace_build_info"), "a scrape before any traffic")
    maker = Maker(seed=71)
    ids = [maker.trace_id() for _ in range(60)]
    for number, each in enumerate(ids):
        for span in maker.trace(each, error=number % 10 == 0):
            broker.produce(topology.spans, traces_data([span]).SerializeToString(), each.encode())
    broker.produce(topology.spans, b"\xff", b"broken")
    broker.flush()
    Outcomes(topology, read(topology.spans, *topology.outputs)).await_decisions(ids, worker.require_running)
    wait_until(lambda: console.metrics().samples("tailrace_kafka_round_trip_seconds"), "statistics of clients")
    # A first worker recovers nothing.
    unanswered = [(title, query) for title, query in queries() if "recovery_duration" not in query]

    def all_answered() -> bool:
        unanswered[:] = [(title, query) for title, query in unanswered if not prometheus.query(query)]
        return not unanswered

    try:
        wait_until(all_answered, "an answer to every query")
    except AssertionError as error:
        raise AssertionError(f"without an answer: {unanswered}") from error
    groups = prometheus.get("rules")["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule["health"] == "ok", rule
    recorded = [rule["name"] for group in groups for rule in group["rules"] if rule["type"] == "recording"]
    wait_until(lambda: all(prometheus.query(name) for name in recorded), f"all of {recorded}")
    targets = prometheus.get("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    firing = {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}
    assert firing <= {"TailraceDeadLetters", "TailraceUnkeyedInput", "TailraceRecoveryTakesLong"}
    prometheus.server.stop()
    assert worker.stop() == 0


def test_every_metric_is_documented_and_there(broker, run):
    sampling = TailSampling("prometheus-names", baseline=BASELINE)
    repartition = Repartition("prometheus-names-repartition", output=sampling.spans)
    broker.create(sampling.spans, *sampling.outputs, repartition.raw_spans, repartition.dead_letters, partitions=1)
    export = Export("prometheus-names-export", endpoint="http://127.0.0.1:1")
    broker.create(sampling.stats, export.sampled, export.dead_letters, partitions=1)
    found = set()
    for topology in (sampling, repartition, export):
        worker = run(topology)
        found |= Families(Console(worker).get("/metrics")[1]).types.keys()
        assert worker.stop() == 0
    documented = re.findall(r"`((?:tailrace|process)_[a-z0-9_]+)`", (REPOSITORY / "docs/metrics.md").read_text())
    assert sorted(documented) == sorted(set(documented)), "each is documented once"
    assert set(documented) == found
