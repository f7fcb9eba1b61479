"""The benchmark of a worker that follows live traffic: it measures what it promises. Speed is not tested."""

import json


def test_live_traffic_is_followed_and_read_again(broker, tailrace):
    broker.create("bench-live", partitions=2)
    options = ["--live", "2000", "--seconds", "3", "--rounds", "1", "--spans-per-trace", "5", "--json"]
    run = tailrace("bench-kafka", "--topic", "bench-live", "--brokers", broker.address, *options)
    assert run.returncode == 0, run.stdout
    report = json.loads(run.stdout)
    assert 1 <= report["spans_per_record"] <= 5 <= report["spans_per_trace"] + 2
    # So small a backlog may be read before the measurement has begun.
    assert all(value >= 0 for way in ("live", "backlog") for value in report[way].values()), report
    live = report["live"]
    assert live["records_per_round"] > 0
    # It can't be faster than the traffic; and it follows it.
    assert 1000 < live["spans_per_second"] < 4000
    assert live["rounds_per_second"] > 1 and live["wake_ups_per_second"] > 1
    assert 0.3 < live["commits_per_second"] < 3
    parts = live["lane_cpu_seconds_per_million_spans"] + live["client_cpu_seconds_per_million_spans"]
    assert 0 < parts <= live["cpu_seconds_per_million_spans"] * 1.1
