"""Shadow policies of a running worker: they are counted and named, come and go without a restart, and decide nothing."""

import os
import signal
from dataclasses import replace

from children import wait_until
from otlp import Maker
from outcomes import Outcomes
from test_console import Console, produce
from test_reload import version_of
from topologies import ERRORS, EVERYTHING, TailSampling

THIRD = '{name: third, type: string_attribute, string_attribute: {key: http.route, values: ["/third"]}}'
NO_ERRORS = f"{{name: no-errors, type: drop, drop: {{drop_sub_policy: [{ERRORS}]}}}}"


def test_they_decide_nothing(broker, run, write, read):
    # The ledger has an entry for each dropped trace, except where a shadow policy would keep it.
    topology = TailSampling("shadow", policies=(ERRORS,), dropped="ledger", lanes=2)
    broker.create(topology.spans, *topology.outputs, partitions=2)
    worker = run(topology)
    console = Console(worker)
    outcomes = Outcomes(topology, read(topology.spans, *topology.outputs))
    maker = Maker(seed=72)
    before = produce(broker, topology, maker, 5)
    broker.flush()
    outcomes.await_decisions(before, worker.require_running)
    assert not [each for _, each in outcomes.decisions if "shadow" in each]
    assert len(outcomes.accounted) == sum(each["verdict"] == "drop" for each in outcomes.final.values()) > 0

    first = version_of(console)
    write(replace(topology, shadow=(THIRD, NO_ERRORS)))
    os.kill(worker.process.pid, signal.SIGHUP)
    wait_until(lambda: version_of(console) != first, "another version")
    assert "shadow:\n  - name: third" in console.get("/configz")[1]
    third = produce(broker, topology, maker, 8)
    failed = produce(broker, topology, maker, 4, error=True)
    broker.flush()
    outcomes.await_decisions([*third, *failed], worker.require_running)
    final = outcomes.final
    assert [final[each]["verdict"] for each in third] == ["drop"] * len(third)
    assert [final[each]["verdict"] for each in failed] == ["keep"] * len(failed)
    assert {tuple(final[each]["shadow"]) for each in third} == {("third",)}
    assert {tuple(final[each]["shadow"]) for each in failed} == {("no-errors",)}
    assert set(outcomes.kept) == {each for each, verdict in final.items() if verdict["verdict"] == "keep"}

    page = console.metrics()
    changed = {
        (labels["policy"], labels["would"]): value
        for labels, value in page.samples("tailrace_shadow_changed_traces_total")
    }
    assert changed == {
        ("third", "keep"): len(third),
        ("third", "drop"): 0,
        ("no-errors", "keep"): 0,
        ("no-errors", "drop"): len(failed),
    }

    # Promoted, it decides.
    second = version_of(console)
    write(replace(topology, policies=(ERRORS, THIRD), shadow=(EVERYTHING,)))
    os.kill(worker.process.pid, signal.SIGHUP)
    wait_until(lambda: version_of(console) != second, "a third version")
    after = produce(broker, topology, maker, 4)
    broker.flush()
    outcomes.await_decisions(after, worker.require_running)
    assert {outcomes.final[each]["verdict"] for each in after} == {"keep"}
    assert worker.stop() == 0
