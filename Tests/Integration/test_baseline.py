"""Adaptive baselines over two workers: counts go through `stats`, and rates follow the fleet's traffic."""

import json
import time

import pytest
from otlp import Maker, traces_data
from outcomes import Outcomes
from topologies import ERRORS, TailSampling

SECONDS = 16
LARGE_PER_SECOND = 60

BASELINE = """\
baseline:
  budget: {traces_percentage: 10}
  interval: 1s
  floor: 0
"""


@pytest.mark.parametrize(
    ("name", "key"), [("services", "service"), ("routes", "[service.name, http.route]")]
)
def test_rates_follow_the_fleets_traffic(broker, start, read, name, key):
    topology = TailSampling(
        f"baseline-{name}",
        policies=(ERRORS,),
        decision_wait="2s",
        decision_wait_after_root="0s",
        baseline=f"{BASELINE}  key: {key}\n",
    )
    broker.create(topology.spans, *topology.outputs, partitions=4)
    workers = [start(topology.for_worker(name)) for name in ("one", "two")]
    for worker in workers:
        worker.wait_for(lambda: "assigned" in worker.output, "partitions")  # noqa: B023
    maker = Maker(seed=21)
    ids = {"large": [], "small": []}
    began = time.monotonic()
    for tenth in range(SECONDS * 10):
        for number in range(LARGE_PER_SECOND // 10 + (tenth % 10 == 0)):
            kind = "small" if number == LARGE_PER_SECOND // 10 else "large"
            trace = maker.trace_id()
            # Two services, or two routes of one service.
            span = maker.span(trace, name=kind)
            record = traces_data([span], service=kind if name == "services" else "shop").SerializeToString()
            broker.produce(topology.spans, record, trace.encode(), int(trace[:8], 16) % 4)
            ids[kind].append(trace)
        time.sleep(max(0, began + tenth / 10 - time.monotonic()))
    broker.flush()
    reader = read(topology.spans, topology.stats, *topology.outputs)
    outcomes = Outcomes(topology, reader)

    def require_running() -> None:
        for worker in workers:
            worker.require_running()

    outcomes.await_decisions(ids["large"] + ids["small"], require_running)
    for worker in workers:
        assert worker.stop() == 0

    final = outcomes.final
    assert {decision["policy"] for decision in final.values() if decision["verdict"] == "keep"} == {"baseline"}
    # Each partition writes its counts, keyed by its number and the interval's place.
    keys = {record.key.decode() for record in reader.records[topology.stats]}
    assert {key.split("/")[0] for key in keys} == {"0", "1", "2", "3"}
    assert topology.stats in broker.partition_counts()
    counted = b"".join(record.value for record in reader.records[topology.stats] if record.value)
    expected = [b"large", b"small"] if name == "services" else [b"shop\x1f/large", b"shop\x1f/small"]
    assert all(each in counted for each in expected)
    # Once the fleet knows its traffic, the small kind is kept whole, at the large one's expense.
    later = {kind: each[len(each) // 2 :] for kind, each in ids.items()}
    kept = {
        kind: sum(final[each]["verdict"] == "keep" for each in each_ids) / len(each_ids)
        for kind, each_ids in later.items()
    }
    assert kept["small"] > 0.7, kept
    assert kept["large"] < 0.2, kept
    weights = [
        json.loads(record.value)["adjusted_count"]
        for record in reader.records[topology.decisions]
        if final[record.key.decode()]["verdict"] == "keep"
    ]
    # Scaled up, kept traces add up to all of them: some 90 kept, with weights of about ten each.
    assert 0.5 * len(final) < sum(weights) < 1.6 * len(final), (sum(weights), len(final))
