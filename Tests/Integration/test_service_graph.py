"""The console's service graph against a real broker: weights, variance, errors, the past left out, hostile names."""

from children import wait_until
from metrics import Families, promtool
from test_console import Console
from test_explorer import HOSTILE, Maker, explore, has_traces  # noqa: F401
from topologies import ERRORS, TailSampling, baseline


def calls(name, page):
    found = page.samples(f"traces_service_graph_{name}")
    return {(labels["client"], labels["server"], labels["failed"]): value for labels, value in found}


def test_the_service_graph_is_scaled_up(broker, run, explore):  # noqa: F811
    topology = TailSampling("explorer-graph", policies=(ERRORS, baseline(25)))
    broker.create(topology.spans, *topology.outputs, partitions=3)
    worker = run(topology)
    maker = Maker(23)
    for _ in range(5):
        maker.trace(broker, topology.spans, front="past", error=True)
    broker.flush()
    has_traces(explore(topology), 5)
    explorer = explore(topology)
    wait_until(lambda: explorer.get("/readyz")[0] == 200, "the end of the past")

    def page():
        status, body, headers = explorer.get("/metrics/service-graph")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert promtool("check", "metrics", text=body.decode()) == ""
        return Families(body.decode())

    assert len(page().types) == 7 and not calls("request_total", page())
    for _ in range(80):
        maker.trace(broker, topology.spans)
    for _ in range(10):
        maker.trace(broker, topology.spans, error=True)
    for name in HOSTILE:
        maker.trace(broker, topology.spans, front=name, error=True)
    broker.flush()

    def kept():
        decided = Console(worker).metrics().counts("tailrace_decided_traces_total", "verdict", "trigger")
        are_all = decided.total() == len(maker.traces)
        return sum(count for (verdict, _), count in decided.items() if verdict == "keep") if are_all else None

    has_traces(explorer, wait_until(kept, "all verdicts"))

    def samples():
        return {(each["from"], each["to"]): each for each in explorer.json("/v1/map")["calls"]}

    def settled():
        found = calls("request_total", page())
        ends = samples().get(("front", "back"))
        both = found.get(("front", "back", "true"), 0) + found.get(("front", "back", "false"), 0)
        known = ("front", "past")
        hostile = [key for key in found if key[2] == "true" and key[1] == "back" and key[0] not in known]
        return ends and ends["samples"] > 15 and both == ends["calls"] and len(hostile) == len(HOSTILE)

    wait_until(settled, "the graph to be the map's")
    last = page()
    total, variance = calls("request_total", last), calls("request_variance_total", last)
    assert total["front", "back", "true"] == 10 == calls("request_failed_total", last)["front", "back", "true"]
    assert variance["front", "back", "true"] == 0
    chosen = samples()["front", "back"]["samples"] - 10
    assert total["front", "back", "false"] == 4 * chosen and variance["front", "back", "false"] == 12 * chosen
    assert calls("request_server_seconds_count", last)["front", "back", "false"] == 4 * chosen
    assert not any(client == "past" for client, _, _ in total)
    assert total["user", "front", "true" if ("user", "front", "true") in total else "false"] > 0
    assert worker.stop() == 0 and explorer.child.stop() == 0
