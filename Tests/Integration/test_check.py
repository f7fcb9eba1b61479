"""`check` reports what keeps a topology from starting, and `run` does not start in spite of it."""

import re

import pytest

from children import free_ports
from topologies import Repartition, TailSampling

CONFIGURATION_ERROR, OTHER_FAILURE = 2, 1


@pytest.fixture
def complete(broker) -> TailSampling:
    """A topology that creates nothing, and whose topics all exist."""
    topology = TailSampling("check", create=False)
    if topology.spans not in broker.partition_counts():
        broker.create(topology.spans, *topology.outputs, partitions=3)
    return topology


def test_a_good_topology_passes(complete, tailrace, write):
    for topology in (complete, Repartition("check-repartition", output="check-keyed")):
        result = tailrace("check", write(topology))
        assert result.returncode == 0, result.stdout
    result = tailrace("check", write(complete), "--connect")
    assert result.returncode == 0, result.stdout


def test_topics_that_would_be_created_are_no_problem_and_are_not_created(broker, tailrace, write):
    broker.create("check-creates.spans", partitions=3)
    topology = TailSampling("check-creates")
    result = tailrace("check", write(topology), "--connect")
    assert result.returncode == 0, result.stdout
    assert not set(topology.outputs) & broker.partition_counts().keys()


def test_the_broker_is_down(complete, tailrace, write):
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    result = tailrace("check", write(complete), "--connect", address=address)
    assert result.returncode == OTHER_FAILURE, result.stdout
    assert address in result.stdout


def test_a_topic_is_missing(broker, tailrace, write):
    topology = TailSampling("check-missing", create=False)
    broker.create(topology.spans, topology.verdicts, topology.sampled, topology.dead_letters, partitions=3)
    for command in (["check", write(topology), "--connect"], ["run", write(topology)]):
        result = tailrace(*command)
        assert result.returncode == OTHER_FAILURE, result.stdout
        assert topology.decisions in result.stdout
    assert topology.decisions not in broker.partition_counts(), "asking for a topic must not create it"


def test_partition_counts_differ(broker, tailrace, write):
    topology = TailSampling("check-unequal")
    broker.create(topology.spans, topology.verdicts, topology.sampled, topology.dead_letters, partitions=3)
    broker.create(topology.decisions, partitions=2)
    for command in (["check", write(topology), "--connect"], ["run", write(topology)]):
        result = tailrace(*command)
        assert result.returncode == OTHER_FAILURE, result.stdout
        lines = [line for line in result.stdout.splitlines() if topology.decisions in line]
        counts = [set(re.findall(r"\b\d\b", line)) for line in lines if topology.spans in line]
        assert any({"2", "3"} <= each for each in counts), result.stdout


def test_outputs_may_have_more_partitions(broker, tailrace, write):
    topology = TailSampling("check-more", create=False)
    broker.create(topology.spans, partitions=2)
    broker.create(*topology.outputs, partitions=3)
    result = tailrace("check", write(topology), "--connect")
    assert result.returncode == 0, result.stdout


def test_a_mistake_in_the_file(complete, tailrace, write):
    path = write(complete)
    lines = path.read_text().replace("late_window", "late_windows").splitlines()
    path.write_text("\n".join(lines))
    number = next(number for number, line in enumerate(lines, 1) if "late_windows" in line)
    for command in (["check", path], ["run", path]):
        result = tailrace(*command)
        assert result.returncode == CONFIGURATION_ERROR, result.stdout
        assert f"{path}:{number}:" in result.stdout and "late_window" in result.stdout


def test_a_variable_that_is_not_set(complete, tailrace, write):
    path = write(complete)
    path.write_text(path.read_text().replace("${BROKER}", "${NO_SUCH_VARIABLE}"))
    result = tailrace("check", path)
    assert result.returncode == CONFIGURATION_ERROR, result.stdout
    assert "NO_SUCH_VARIABLE" in result.stdout


@pytest.mark.parametrize("command", ["check", "run"])
def test_unknown_librdkafka_properties_are_configuration_errors(broker, tailrace, write, command):
    properties = {"ssl.keystore.locatoin": "x", "security.protocol": "sals_ssl", "sasl.password": "pass-word"}
    path = write(TailSampling("check-properties", kafka=properties))
    lines = path.read_text().splitlines()
    result = tailrace(command, path)
    assert result.returncode == CONFIGURATION_ERROR
    for wrong, what in ("ssl.keystore.locatoin", "'ssl.keystore.location'"), ("security.protocol", "'sasl_ssl'"):
        number = next(number for number, line in enumerate(lines, 1) if wrong in line)
        assert re.search(rf"{path}:{number}:\d+: .*{wrong}.*did you mean {what}", result.stdout), result.stdout
    assert "pass-word" not in result.stdout


@pytest.mark.parametrize("command", [["check", "--resolve"], ["check", "--connect"], ["run"]], ids=" ".join)
def test_contradictory_properties_are_configuration_errors(broker, tailrace, write, command):
    # Each is valid by itself; librdkafka finds the contradiction when the client is made.
    properties = {"security.protocol": "SSL", "ssl.ca.location": "/does/not/exist"}
    path = write(TailSampling("check-together", kafka=properties))
    assert tailrace("check", path).returncode == 0, "no file is opened unless somebody asks"
    result = tailrace(*command, path)
    assert result.returncode == CONFIGURATION_ERROR
    assert "kafka: " in result.stdout and "/does/not/exist" in result.stdout
    assert "no answer" not in result.stdout
