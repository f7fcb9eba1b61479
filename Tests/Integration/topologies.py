"""The topology files of the tests, with their topic names, groups and policies."""

from dataclasses import dataclass, field, replace
from typing import Self

SLOW_MILLISECONDS = 300

ERRORS = "{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}"
SLOW = f"{{name: slow, type: latency, latency: {{threshold_ms: {SLOW_MILLISECONDS}}}}}"
EVERYTHING = "{name: everything, type: always_sample}"


def baseline(percentage: float) -> str:
    return f"{{name: baseline, type: probabilistic, probabilistic: {{sampling_percentage: {percentage}}}}}"


@dataclass
class Topology:
    """Common to all kinds of topology."""

    name: str
    lanes: int = 1
    create: bool = True
    encoding: str = "otlp_proto"
    delivery: str = "exactly_once"
    stop_timeout: str = "25s"
    kafka: dict[str, str] = field(default_factory=dict)
    worker: str = ""
    """Which worker it is for, if several with different properties share the topology."""

    def for_worker(self, worker: str, *, lasting: bool = False, **kafka: str) -> Self:
        """The same for one of several workers of this host.

        Each has its own transactional id. A `lasting` one keeps it when it returns, so that a killed worker ends
        its own transaction.
        """
        has_id = lasting and self.delivery == "exactly_once"
        own = {"transactional.id": f"{self.group}-{worker}"} if has_id else {}
        return replace(self, worker=worker, kafka={**self.kafka, **own, **kafka})

    @property
    def label(self) -> str:
        """The name of the topology's file and of its workers' logs."""
        return f"{self.name}-{self.worker}" if self.worker else self.name

    def head(self, kind: str) -> str:
        # The suite's broker answers a fetch with a whole partition, so the limits are high.
        properties = {
            "bootstrap.servers": "${BROKER}",
            "message.max.bytes": "33554432",
            "fetch.message.max.bytes": "33554432",
            "fetch.max.bytes": "134217728",
            "receive.message.max.bytes": "2147483647",
            **self.kafka,
        }
        kafka = "\n".join(f"  {name}: {value}" for name, value in properties.items())
        return f"""\
kind: {kind}
group: {self.group}
lanes: {self.lanes}
delivery: {self.delivery}
commit_interval: 200ms
stop_timeout: {self.stop_timeout}
console: {{port: 0}}
kafka:
{kafka}
"""

    @property
    def group(self) -> str:
        return f"{self.name}.group"

    @property
    def spans(self) -> str:
        return f"{self.name}.spans"

    @property
    def dead_letters(self) -> str:
        return f"{self.name}.dead-letters"


@dataclass
class Repartition(Topology):
    output: str = ""
    """The topic of keyed spans."""

    @property
    def raw_spans(self) -> str:
        return f"{self.name}.raw-spans"

    @property
    def text(self) -> str:
        return f"""\
{self.head("repartition")}
topics:
  create: {str(self.create).lower()}
  replication_factor: 1
  raw_spans: {{name: {self.raw_spans}, encoding: {self.encoding}}}
  spans: {{name: {self.output}}}
  dead_letters: {{name: {self.dead_letters}}}
"""


@dataclass
class TailSampling(Topology):
    policies: tuple[str, ...] = (ERRORS, SLOW)
    decision_wait: str = "4s"
    decision_wait_after_root: str = "2s"
    lone_roots_wait: str = "false"
    """Not the default: many tests make traces of one span and wait for their decisions."""
    dropped: str = "compact"
    """Not the default: many tests look at the records of dropped traces."""
    baseline: str = ""
    """The section of the adaptive baseline, if there is one."""
    shadow: tuple[str, ...] = ()
    """Policies that decide nothing."""
    limits: str = ""
    """The section of limits, if there is one."""
    late_window: str = "10m"
    recall_window: str = "1h"
    buffer: str = "memory"
    recall_bytes_per_second: str = "32MiB"
    input: str = ""
    """The topic of spans, if it is not the topology's own."""
    logs_wait: str = ""
    """How long logs wait; empty if none follow."""
    metrics: str = ""
    """The section of metrics, if all spans are counted."""
    follow: str = ""
    """The section of links, if verdicts spread along them."""

    @property
    def spans(self) -> str:
        return self.input or super().spans

    @property
    def decisions(self) -> str:
        return f"{self.name}.decisions"

    @property
    def verdicts(self) -> str:
        return f"{self.name}.verdicts"

    @property
    def sampled(self) -> str:
        return f"{self.name}.sampled"

    @property
    def stats(self) -> str:
        return f"{self.name}.stats"

    @property
    def logs(self) -> str:
        return f"{self.name}.logs"

    @property
    def sampled_logs(self) -> str:
        return f"{self.name}.sampled-logs"

    @property
    def counts(self) -> str:
        """The topic of metrics."""
        return f"{self.name}.metrics"

    @property
    def links(self) -> str:
        return f"{self.name}.links"

    @property
    def outputs(self) -> tuple[str, str, str, str]:
        return self.decisions, self.verdicts, self.sampled, self.dead_letters

    @property
    def text(self) -> str:
        policies = "".join(f"\n  - {policy}" for policy in self.policies)
        logs_topics = f"""\
  logs: {{name: {self.logs}}}
  sampled_logs: {{name: {self.sampled_logs}}}
""" if self.logs_wait else ""
        metrics_topic = f"  metrics: {{name: {self.counts}}}\n" if self.metrics else ""
        metrics = f"metrics: {self.metrics}\n" if self.metrics else ""
        links_topic = f"  links: {{name: {self.links}}}\n" if self.follow else ""
        links = f"links: {self.follow}\n" if self.follow else ""
        shadow = "shadow:" + "".join(f"\n  - {policy}" for policy in self.shadow) + "\n" if self.shadow else ""
        logs = f"logs: {{wait: {self.logs_wait}}}\n" if self.logs_wait else ""
        return f"""\
{self.head("tail-sampling")}
topics:
  create: {str(self.create).lower()}
  replication_factor: 1
  spans: {{name: {self.spans}, encoding: {self.encoding}}}
  decisions: {{name: {self.decisions}, encoding: json, dropped: {self.dropped}}}
  verdicts: {{name: {self.verdicts}}}
  sampled: {{name: {self.sampled}}}
  dead_letters: {{name: {self.dead_letters}}}
  stats: {{name: {self.stats}}}
{metrics_topic}{links_topic}{logs_topics}windows:
  decision_wait: {self.decision_wait}
  decision_wait_after_root: {self.decision_wait_after_root}
  lone_roots_wait: {self.lone_roots_wait}
  late_window: {self.late_window}
  recall_window: {self.recall_window}
  buffer: {self.buffer}
recall: {{bytes_per_second: {self.recall_bytes_per_second}}}
{logs}{metrics}{links}{self.baseline}{self.limits}{shadow}policies:{policies}
"""


@dataclass
class Export(Topology):
    endpoint: str = ""
    """The base of the store's URL."""
    section: str = "otlp_http"
    extra: str = ""
    """More settings of the store."""

    @property
    def sampled(self) -> str:
        return f"{self.name}.sampled"

    @property
    def text(self) -> str:
        extra = f", {self.extra}" if self.extra else ""
        return f"""\
{self.head("export")}
topics:
  create: {str(self.create).lower()}
  replication_factor: 1
  sampled: {{name: {self.sampled}}}
  dead_letters: {{name: {self.dead_letters}}}
{self.section}: {{endpoint: "{self.endpoint}"{extra}}}
"""
