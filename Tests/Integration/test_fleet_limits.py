"""A rate limit that two workers share: what all partitions keep together is the limit, however demand is spread."""

import time

from otlp import Maker, traces_data
from outcomes import Outcomes
from test_console import Console
from topologies import TailSampling

# Shares are settled after six intervals of five seconds: until then, part of the limit is reserved for partitions
# that have not begun.
SECONDS = 52
SETTLED = 36
# Of stream time in a second.
PACE = 2
LIMIT = 30
# Spans a second on each partition: 158 in all.
DEMAND = (120, 20, 10, 5, 2, 1, 0, 0)

POLICY = (
    "{name: limited, type: rate_limiting, "
    f"rate_limiting: {{spans_per_second: {LIMIT}, burst_capacity: {LIMIT}, scope: fleet}}}}"
)


def test_the_fleet_keeps_what_the_limit_says(broker, start, read):
    topology = TailSampling(
        "fleet-limits", policies=(POLICY,), decision_wait="2s", decision_wait_after_root="0s"
    )
    broker.create(topology.spans, *topology.outputs, partitions=len(DEMAND))
    workers = [start(topology.for_worker(name)) for name in ("one", "two")]
    for worker in workers:
        worker.wait_for(lambda: "assigned" in worker.output, "partitions")  # noqa: B023
    maker = Maker(seed=23)
    ids: list[tuple[int, str]] = []
    # Timestamps are the pattern's and not those of a busy machine: its pauses would be longer than a burst. They
    # begin in the past, so that none is ahead of the clock.
    now = time.time()
    began = now - SECONDS * (1 - 1 / PACE)
    for tenth in range(SECONDS * 10):
        for partition, rate in enumerate(DEMAND):
            for _ in range(rate * (tenth + 1) // 10 - rate * tenth // 10):
                trace = maker.trace_id()
                record = traces_data([maker.span(trace)]).SerializeToString()
                broker.produce(topology.spans, record, trace.encode(), partition, at=began + tenth / 10)
                ids.append((tenth, trace))
        time.sleep(max(0, now + (tenth + 1) / 10 / PACE - time.time()))
    broker.flush()
    # While demand is as it was: once it ends, one worker may know of it before the other.
    shares = [Console(worker).metrics().sum("tailrace_fleet_limit_share") for worker in workers]
    reader = read(topology.spans, topology.stats, *topology.outputs)
    outcomes = Outcomes(topology, reader)

    def require_running() -> None:
        for worker in workers:
            worker.require_running()

    outcomes.await_decisions([trace for _, trace in ids], require_running)
    for worker in workers:
        assert worker.stop() == 0

    # All shares together are the limit, and each worker has some of it.
    assert all(share > 0 for share in shares), shares
    assert 0.97 < sum(shares) < 1.03, shares
    keys = {record.key.decode() for record in reader.records[topology.stats]}
    # Partitions without a record have no clock, so they write nothing.
    assert {key.split("/")[1] for key in keys if key.startswith("limits/")} == {"0", "1", "2", "3", "4", "5"}
    final = outcomes.final
    # In the last second, windows end together as the clock goes on.
    settled = range(SETTLED * 10, (SECONDS - 1) * 10)
    kept = sum(final[trace]["verdict"] == "keep" for tenth, trace in ids if tenth in settled)
    expected = LIMIT * len(settled) / 10
    # With a limit for each partition it would be 68 a second, with equal shares 18, with two reserved 23.
    assert 0.92 * expected < kept < 1.08 * expected, (kept, expected)
