"""An order's journey through five services, two queues, a database and a cron job: docs/ride.md.

Each of `shop`, `dispatcher`, `billing`, `worker`, `nightly` and `reports` is a program, instrumented with
OpenTelemetry's own packages. `driver` runs them between a broker, a collector and Tailrace, for the test
(`test_ride.py`) and for the demo (`make ride`).
"""
