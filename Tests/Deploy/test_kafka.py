"""The topics, as created by Strimzi and by the script, and the Collectors on both sides."""

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests import DEPLOY, KUBERNETES, generated, read, render, run, seconds, tool

SCRIPT = DEPLOY / "kafka" / "create-topics.sh"
TOPICS = {each["metadata"]["name"]: each for each in read(DEPLOY / "kafka" / "topics.yaml")}
MIRRORED = ["decisions", "verdicts", "sampled"]
RECORD_BYTES = 65_536
"""By how much an output's largest record exceeds the input's: a tracestate may grow."""


class TestTopics:
    def test_they_are_topics_of_strimzi(self) -> None:
        for topic in TOPICS.values():
            assert (topic["apiVersion"], topic["kind"]) == ("kafka.strimzi.io/v1", "KafkaTopic")
            assert topic["spec"].keys() == {"partitions", "replicas", "config"}
            assert topic["metadata"]["labels"]["strimzi.io/cluster"] == "tracing"

    def test_they_are_those_of_the_topology(self) -> None:
        topology = yaml.safe_load((KUBERNETES / "base" / "topology.yaml").read_text())
        assert topology["topics"] == {"create": False}, "the names are the defaults"
        assert TOPICS.keys() == {"spans", *MIRRORED, "spans.dead-letters", "stats"}

    def test_outputs_mirror_the_input(self) -> None:
        spans = TOPICS["spans"]["spec"]
        assert spans["config"]["message.timestamp.type"] == "LogAppendTime"
        for name in MIRRORED:
            spec = TOPICS[name]["spec"]
            assert spec["partitions"] == spans["partitions"]
            assert spec["config"]["max.message.bytes"] == spans["config"]["max.message.bytes"] + RECORD_BYTES
        dead = TOPICS["spans.dead-letters"]["spec"]["config"]
        assert dead["max.message.bytes"] == (16 << 20) + RECORD_BYTES

    @pytest.mark.parametrize("topic", ["decisions", "verdicts"])
    @pytest.mark.parametrize("overlay", ["production", "stable-names"])
    def test_verdicts_are_kept_for_as_long_as_recovery_reads(self, overlay: str, topic: str) -> None:
        manifests = render(KUBERNETES / "overlays" / overlay)
        windows = yaml.safe_load(generated(manifests, "tailrace-topology")["topology.yaml"])["windows"]
        needed = 1000 * (seconds(windows["late_window"]) + seconds(windows["decision_wait"]))
        config = TOPICS[topic]["spec"]["config"]
        assert config["retention.ms"] >= needed
        assert config["cleanup.policy"] == "delete"
        assert config["retention.ms"] >= TOPICS["spans"]["spec"]["config"]["retention.ms"] > needed


class TestScript:
    def test_it_is_sound(self) -> None:
        assert SCRIPT.stat().st_mode & stat.S_IXUSR
        assert (done := run("bash", "-n", SCRIPT)).returncode == 0, done.stderr
        assert (done := run(tool("shellcheck"), SCRIPT)).returncode == 0, done.stdout

    def test_it_makes_the_topics_of_strimzi(self, tmp_path: Path) -> None:
        calls = self.run_with_a_stand_in(tmp_path, {"BOOTSTRAP": "kafka:9092"})
        made = {}
        for call in calls:
            assert call[:2] == ["--bootstrap-server", "kafka:9092"]
            if "--create" in call:
                assert "--if-not-exists" in call
                properties = [call[i + 1].partition("=") for i, word in enumerate(call) if word == "--config"]
                made[call[call.index("--topic") + 1]] = {
                    "partitions": int(call[call.index("--partitions") + 1]),
                    "replicas": int(call[call.index("--replication-factor") + 1]),
                    "config": {name: value for name, _, value in properties},
                }
        expected = {
            name: {**topic["spec"], "config": {k: str(v) for k, v in topic["spec"]["config"].items()}}
            for name, topic in TOPICS.items()
        }
        assert made == expected
        assert [call[-1] for call in calls if "--describe" in call] == list(TOPICS)

    def test_it_takes_its_settings(self, tmp_path: Path) -> None:
        settings = {
            "BOOTSTRAP": "kafka:9092", "PARTITIONS": "3", "REPLICAS": "1", "COMMAND_CONFIG": "a file"
        }  # fmt: skip
        for call in self.run_with_a_stand_in(tmp_path, settings):
            assert call[2:4] == ["--command-config", "a file"]
            if "--create" in call:
                assert call[call.index("--partitions") + 1] == "3"
                assert "min.insync.replicas=1" in call

    def test_it_stops_at_the_first_failure(self, tmp_path: Path) -> None:
        environment = {"PATH": "/usr/bin:/bin", "BOOTSTRAP": "kafka:9092", "KAFKA_TOPICS": "false"}
        assert run(SCRIPT, env=environment).returncode != 0
        assert "BOOTSTRAP" in run(SCRIPT, env={"PATH": "/usr/bin:/bin"}).stderr

    @staticmethod
    def run_with_a_stand_in(directory: Path, settings: dict[str, str]) -> list[list[str]]:
        """The arguments of each call of the tool, which a script replaces."""
        log, stand_in = directory / "calls", directory / "kafka-topics.sh"
        stand_in.write_text(f'#!/bin/sh\nfor word; do printf "%s\\t" "$word"; done >> {log}\necho >> {log}\n')
        stand_in.chmod(0o755)
        done = run(SCRIPT, env={"PATH": f"{directory}:/usr/bin:/bin", **settings})
        assert done.returncode == 0, done.stderr
        return [line.rstrip("\t").split("\t") for line in log.read_text().splitlines()]


class TestCollectors:
    @pytest.mark.parametrize("name", ["producer", "consumer"])
    def test_pipelines_name_existing_components(self, name: str) -> None:
        collector = self.read(name)
        assert collector.keys() == {"receivers", "processors", "exporters", "service"}
        (pipeline,) = collector["service"]["pipelines"].values()
        for kind, used in pipeline.items():
            assert used and set(used) <= collector[kind].keys()

    def test_spans_are_keyed_by_trace(self) -> None:
        kafka = self.read("producer")["exporters"]["kafka"]
        assert kafka["partition_traces_by_id"] is True
        assert kafka["traces"] == {"topic": "spans", "encoding": "otlp_proto"}
        assert kafka["producer"]["required_acks"] == "all"
        assert kafka["producer"]["allow_auto_topic_creation"] is False
        limit = TOPICS["spans"]["spec"]["config"]["max.message.bytes"]
        assert kafka["producer"]["max_message_bytes"] < limit

    def test_kept_spans_are_read_and_not_lost(self) -> None:
        collector = self.read("consumer")
        kafka = collector["receivers"]["kafka"]
        assert kafka["traces"] == {"topics": ["sampled"], "encoding": "otlp_proto"}
        assert kafka["message_marking"]["after"] is True
        assert kafka["error_backoff"]["enabled"] is True
        for exporter in collector["exporters"].values():
            assert exporter["sending_queue"]["enabled"] is False

    @staticmethod
    def read(name: str) -> dict[str, Any]:
        (document,) = read(DEPLOY / "collector" / f"{name}.yaml")
        return document
