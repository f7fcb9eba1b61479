"""A worker whose topology file changes while it runs."""

import os
import signal
from dataclasses import replace
from pathlib import Path

from children import TAILRACE, wait_until
from otlp import Maker
from outcomes import Outcomes
from test_console import Console, produce
from topologies import ERRORS, EVERYTHING, TailSampling


def version_of(console: Console) -> str:
    ((labels, one),) = console.metrics().samples("tailrace_config_info")
    assert one == 1
    return labels["version"]


def publish(path: Path, text: str, number: int) -> None:
    """Changes a file as Kubernetes does in a mounted ConfigMap: by retargeting a link."""
    target = path.with_suffix(f".{number}")
    target.write_text(text)
    link = path.with_suffix(".new")
    link.symlink_to(target)
    os.replace(link, path)


def test_policies_change_without_a_restart(broker, children, session_children, tailrace, read):
    # Half a minute of window: traces open when the policies change are decided by the new ones.
    topology = TailSampling("reload", policies=(ERRORS,), decision_wait="30s", decision_wait_after_root="5s", lanes=2)
    broker.create(topology.spans, *topology.outputs, partitions=2)
    path = session_children.directory / "reload.yaml"
    publish(path, topology.text, 1)
    worker = children.start("reload", [TAILRACE, "run", path], {"BROKER": broker.address})
    console = Console(worker)
    wait_until(lambda: console.is_ready, "readiness")
    first = version_of(console)
    assert f"# version {first}\n" in tailrace("check", path).stdout

    maker = Maker(seed=71)
    before = produce(broker, topology, maker, 6)
    broker.flush()
    wait_until(lambda: console.metrics().value("tailrace_open_traces") == len(before), "open traces")
    checkout = '{name: third, type: string_attribute, string_attribute: {key: http.route, values: ["/third"]}}'
    publish(path, replace(topology, policies=(ERRORS, checkout)).text, 2)
    wait_until(lambda: version_of(console) != first, "another version")
    second = version_of(console)
    worker.wait_for(lambda: f"configuration applied version={second}" in worker.output, "a line of the log")
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    outcomes.await_decisions(before, worker.require_running)
    for decision in outcomes.final.values():
        assert (decision["policy"], decision["config"]) == ("third", second)
    assert {each: len(spans) for each, spans in outcomes.kept.items()} == dict.fromkeys(before, 4)

    # An error changes nothing and is reported with its place, at once on SIGHUP.
    publish(path, topology.text.replace("type: status_code", "type: status_node"), 3)
    os.kill(worker.process.pid, signal.SIGHUP)
    worker.wait_for(lambda: "the changed topology file is refused" in worker.output, "a refusal")
    assert f"{path}:" in worker.output and "status_node" in worker.output
    page = console.metrics()
    assert page.value("tailrace_config_refused") == 1
    assert page.by("tailrace_config_reloads_total", "result")["taken"] == 1
    assert version_of(console) == second
    assert "# the changed file was refused" in console.get("/configz")[1]

    # Settings that need a restart are named and wait; the rest is applied.
    others = replace(topology, policies=(EVERYTHING,), decision_wait="20s", limits="log: {level: debug}\n")
    publish(path, others.text, 4)
    os.kill(worker.process.pid, signal.SIGHUP)
    worker.wait_for(lambda: "changes that need a restart: windows" in worker.output, "what waits")
    page = console.metrics()
    assert (page.value("tailrace_config_refused"), page.value("tailrace_config_waiting_settings")) == (0, 1)
    third = version_of(console)
    text = console.get("/configz")[1]
    assert f"# version {third}\n# changed in the file, waiting for a restart: windows\n" in text
    assert "decision_wait: 30s" in text and "level: debug" in text
    # The log level is applied too: at this level lanes log that they have the new configuration.
    wait_until(lambda: worker.output.count("debug configuration applied lane=") >= 2, "lines for debugging")
    after = produce(broker, topology, maker, 4)
    broker.flush()
    outcomes.await_decisions([*before, *after], worker.require_running)
    assert {outcomes.final[each]["config"] for each in after} == {third}
    assert worker.stop() == 0


def test_a_missing_file_is_no_reason_to_end(broker, run, write):
    topology = TailSampling("reload-missing")
    broker.create(topology.spans, *topology.outputs, partitions=1)
    worker = run(topology)
    console = Console(worker)
    write(topology).unlink()
    os.kill(worker.process.pid, signal.SIGHUP)
    worker.wait_for(lambda: "the file can't be read" in worker.output, "a refusal")
    assert console.metrics().value("tailrace_config_refused") == 1
    write(topology)
    wait_until(lambda: console.metrics().value("tailrace_config_refused") == 0, "the file to be taken again")
    assert worker.stop() == 0
