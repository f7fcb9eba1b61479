"""Serves the console's pages with made data behind the backend's API: `python mock.py --traces 2000`.

For work on the pages and for their tests: worlds of any size, hostile names, nothing kept, answers that fail
or take long. What it computes is plausible, not exact.
"""

import argparse
import json
import math
import random
import re
import threading
import time
from base64 import b64encode
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PAGES = Path(__file__).parents[2] / "Sources" / "CConsolePages" / "pages"
# The one script within the document.
INLINE = re.search(r"<script>(.*?)</script>", (PAGES / "index.html").read_text(), re.DOTALL)[1]
INLINE_HASH = f"sha256-{b64encode(sha256(INLINE.encode()).digest()).decode()}"
POLICY = (
    f"default-src 'none'; script-src 'self' '{INLINE_HASH}'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
HOUR = 3600 * 10**9
# A name of every kind that could do harm: markup, a bidirectional override, Hebrew and Arabic, line breaks,
# 64 KiB.
HOSTILE = [
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "javascript:window.hacked=1//\u202egnp.exe",
    "שירות-תשלומים",
    "خدمة الطلبات",
    "line\nbreak\tand\0null",
    "x" * 65_536,
    "__proto__",
    "",
]
CALLS = {
    "frontend": ["checkout", "catalogue", "recommendation"],
    "checkout": ["cart", "payment", "inventory", "pricing", "email"],
    "catalogue": ["inventory", "search"],
    "recommendation": ["catalogue"],
    "payment": ["fraud", "ledger"],
    "pricing": ["catalogue"],
    "inventory": ["warehouse"],
}
OPERATIONS = {
    "frontend": ["POST /checkout", "GET /items/{id}", "GET /basket"],
    "checkout": ["POST /orders", "GET /orders/{id}"],
    "catalogue": ["GET /products/{id}", "GET /products"],
    "recommendation": ["GET /recommendations"],
    "cart": ["GET /cart/{user}"],
    "payment": ["POST /charge"],
    "inventory": ["PUT /stock/{sku}", "GET /stock/{sku}"],
    "pricing": ["GET /quotes"],
    "email": ["POST /send"],
    "search": ["GET /search"],
    "fraud": ["POST /assess"],
    "ledger": ["POST /entries"],
    "warehouse": ["GET /shelves/{id}"],
    "database": ["SELECT orders", "UPDATE stock"],
    "cache": ["GET", "SET"],
}


@dataclass
class Scenario:
    traces: int = 200
    hostile: bool = False
    services: int = 0  # that many made ones in the map; 0: the usual ones
    failing: bool = False
    slow: float = 0.0
    progress: float = 1.0
    documents: dict[str, dict] = field(default_factory=dict)  # whole traces, by id, instead of made ones
    rows: list[dict] | None = None


class World:
    """Kept traces as rows; the spans of one are made when it is asked for."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = random.Random(7)
        self.names = (
            HOSTILE if scenario.hostile else sorted({*CALLS, *(b for a in CALLS.values() for b in a)})
        )
        self.now = time.time_ns()
        self.rows = (
            scenario.rows if scenario.rows is not None else [self.row(at) for at in range(scenario.traces)]
        )
        self.by_id = {row["trace_id"]: row for row in self.rows}
        self.from_ns = min((int(row["start_ns"]) for row in self.rows), default=self.now - HOUR)
        self.to_ns = max((int(row["start_ns"]) for row in self.rows), default=self.now)

    def row(self, at: int) -> dict:
        draw = self.random
        kind = draw.choices(["errors", "slow", "baseline"], [4, 3, 3])[0]
        if at < 3:
            kind = ["errors", "slow", "errors"][at]
        spans = {0: 38, 1: 5000}.get(at) or min(400, 3 + int(draw.expovariate(1 / 25)))
        milliseconds = draw.lognormvariate(4.2, 0.8) + (1800 if kind == "slow" else 0)
        service = draw.choice(
            self.names if self.scenario.hostile else ["frontend", "frontend", "checkout", "catalogue"]
        )
        start = self.now - int(at / max(1, self.scenario.traces) * HOUR) - draw.randrange(10**9)
        others = draw.sample(self.names, min(len(self.names), draw.randint(1, 6)))
        return {
            "trace_id": f"{at + 1:08x}{draw.getrandbits(96):024x}",
            "start_ns": str(start),
            "duration_ns": int(milliseconds * 1e6),
            # Some go on after their roots.
            "whole_duration_ns": int(milliseconds * 1e6) + (7 * 10**9 if at % 19 == 4 else 0),
            "service": service,
            "operation": draw.choice(HOSTILE if self.scenario.hostile else OPERATIONS[service]),
            "spans": spans,
            "errors": draw.randint(1, 4) if kind == "errors" else 0,
            "error": kind == "errors",
            "slow": kind == "slow",
            "reason": HOSTILE[at % len(HOSTILE)] if self.scenario.hostile else kind,
            "policy": HOSTILE[at % len(HOSTILE)] if self.scenario.hostile else kind,
            "adjusted_count": 99.9977 if kind == "baseline" else 1,
            "services": [{"name": name, "spans": draw.randint(1, 20)} for name in [service, *others][:10]],
            "late": at % 17 == 5,
            "recalled": at % 29 == 7,
            "truncated": at % 41 == 9,
        }

    def trace(self, trace_id: str) -> dict | None:
        if trace_id in self.scenario.documents:
            return self.scenario.documents[trace_id]
        if row := self.by_id.get(trace_id):
            return Maker(self, row).document()
        return None

    def chosen(self, query: dict[str, list[str]]) -> list[dict]:
        rows = self.rows
        for key in ("service", "operation", "reason", "policy"):
            if wanted := query.get(key):
                rows = [row for row in rows if row[key] in wanted]
        if "error" in query:
            rows = [row for row in rows if row["error"]]
        if low := query.get("min_duration"):
            rows = [row for row in rows if row["duration_ns"] >= duration(low[0])]
        if high := query.get("max_duration"):
            rows = [row for row in rows if row["duration_ns"] <= duration(high[0])]
        if query.get("from", ["-"])[0].isdigit():
            rows = [
                row for row in rows if int(query["from"][0]) <= int(row["start_ns"]) <= int(query["to"][0])
            ]
        if key := {"longest": "duration_ns", "longest_whole": "whole_duration_ns"}.get(query.get("sort", [""])[0]):
            rows = sorted(rows, key=lambda row: -row[key])
        return rows

    def traces(self, query: dict[str, list[str]]) -> dict:
        rows = self.chosen(query)
        limit = min(1500, int(query.get("limit", ["200"])[0]))
        return {"total": len(rows), "truncated": len(rows) > limit, "traces": rows[:limit]}

    def status(self) -> dict:
        progress = self.scenario.progress
        return {
            "version": "0.1.0",
            "group": "tailrace",
            "topics": {"spans": "spans", "decisions": "decisions", "sampled": "sampled"},
            "index": {
                "traces": len(self.rows),
                "spans": sum(row["spans"] for row in self.rows),
                "bytes": 61 * 2**20,
                "bytes_max": 256 * 2**20,
                "from_ns": str(self.from_ns),
                "to_ns": str(self.to_ns),
                "evicted": 0,
                "caught_up": progress >= 1,
                "progress": progress,
                "records_a_second": 4100.0,
            },
            "baseline_percentage": 1.0,
            "policies": ["errors", "slow", "baseline"],
            "errors": [],
        }

    def services(self) -> dict:
        found: dict[str, dict] = {}
        for row in self.rows:
            entry = found.setdefault(
                row["service"],
                {"name": row["service"], "traces": 0, "spans": 0, "errors": 0, "operations": []},
            )
            entry["traces"] += 1
            entry["spans"] += row["spans"]
            entry["errors"] += row["errors"]
            if row["operation"] not in entry["operations"]:
                entry["operations"].append(row["operation"])
        return {"services": sorted(found.values(), key=lambda one: one["name"]), "truncated": False}

    def overview(self, steps: int) -> dict:
        step = max(1, (self.to_ns - self.from_ns) // steps + 1)
        reasons: dict[tuple, dict] = {}
        services: dict[str, dict] = {}
        empty = lambda: [0] * steps  # noqa: E731
        total = {key: empty() for key in ("kept", "kept_weight", "kept_spans", "kept_bytes")}
        for row in self.rows:
            at = (int(row["start_ns"]) - self.from_ns) // step
            reason = reasons.setdefault(
                (row["reason"], row["policy"]),
                {
                    "reason": row["reason"],
                    "policy": row["policy"],
                    "kept": empty(),
                    "spans": empty(),
                    "bytes": empty(),
                },
            )
            size = row["spans"] * 410
            for key, value in (("kept", 1), ("spans", row["spans"]), ("bytes", size)):
                reason[key][at] += value
            for key, value in (
                ("kept", 1),
                ("kept_weight", row["adjusted_count"]),
                ("kept_spans", row["spans"]),
                ("kept_bytes", size),
            ):
                total[key][at] += value
            service = services.setdefault(
                row["service"],
                {
                    "service": row["service"],
                    "kept": 0,
                    "weight": 0,
                    "errors": 0,
                    "spans": 0,
                    "bytes": 0,
                    "rate": 0.01,
                },
            )
            for key, value in (
                ("kept", 1),
                ("weight", row["adjusted_count"]),
                ("errors", row["errors"]),
                ("spans", row["spans"]),
                ("bytes", size),
            ):
                service[key] += value
        draw = random.Random(3)
        dropped = [round(kept * 18 * draw.uniform(0.8, 1.2)) for kept in total["kept"]]
        return {
            "from_ns": str(self.from_ns),
            "to_ns": str(self.from_ns + step * steps),
            "step_ns": step,
            **total,
            "dropped": dropped,
            "in_traces": [a + b for a, b in zip(dropped, total["kept"], strict=True)],
            "in_spans": [a * 25 + b for a, b in zip(dropped, total["kept_spans"], strict=True)],
            "by_reason": list(reasons.values()),
            "by_service": list(services.values()),
            "budget": {
                "percentage_target": 5.0,
                "percentage_kept_traces": 5.31,
                "percentage_kept_spans": 6.2,
            },
            "lag": {
                "records": 218,
                "partitions": [{"partition": p, "committed": 9000 - p * 7, "end": 9100} for p in range(4)],
            },
            "recalls": {"requested": 12, "done": 11, "gone": 1},
            "memory": {"index_bytes": 61 * 2**20, "process_bytes": 142 * 2**20},
        }

    def latency(self, query: dict[str, list[str]]) -> dict:
        rows = self.chosen({key: query[key] for key in ("service", "operation") if key in query})
        buckets = defaultdict(lambda: [0.0, 0, 0])
        for row in rows:
            bucket = buckets[math.floor(math.log(max(1, row["duration_ns"]), 1.35))]
            bucket[0] += row["adjusted_count"]
            bucket[1] += 1
            bucket[2] += row["error"]
        ordered = sorted(row["duration_ns"] for row in rows) or [0]
        at = lambda part: ordered[min(len(ordered) - 1, int(len(ordered) * part))]  # noqa: E731
        return {
            "buckets": [
                {
                    "low_ns": int(1.35**key),
                    "high_ns": int(1.35 ** (key + 1)),
                    "weight": weight,
                    "samples": samples,
                    "errors": errors,
                }
                for key, (weight, samples, errors) in sorted(buckets.items())
            ],
            "dots": [
                {key: row[key] for key in ("trace_id", "start_ns", "duration_ns", "error", "reason")}
                for row in rows[:2000]
            ],
            "p50_ns": at(0.5),
            "p95_ns": at(0.95),
            "p99_ns": at(0.99),
        }

    def map(self) -> dict:
        if not self.rows:
            return {"services": [], "calls": [], "truncated": False}
        draw = random.Random(11)
        figures = lambda calls: {  # noqa: E731
            "calls": calls,
            "calls_low": calls * 0.9,
            "calls_high": calls * 1.12,
            "errors_share": draw.choice([0, 0, 0, 0.002, 0.04]),
            "p50_ns": draw.randint(10**6, 10**7),
            "p95_ns": draw.randint(10**7, 10**8),
            "p99_ns": draw.randint(10**8, 10**9),
            "samples": int(calls / 20) + 1,
        }
        if count := self.scenario.services:
            names = [f"service-{at:03}" for at in range(count)]
            # Tiers, each calling the next and sometimes one further down; a few calls go back.
            bounds = [int(count * part) for part in (0, 0.02, 0.12, 0.38, 0.7, 0.92, 1)]
            tiers = [names[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
            pairs = set()
            for at, tier in enumerate(tiers[:-1]):
                for name in tier:
                    for _ in range(draw.randint(1, 4)):
                        pairs.add(
                            (name, draw.choice(tiers[min(len(tiers) - 1, at + draw.choice([1, 1, 1, 2]))]))
                        )
                for name in tiers[at + 1]:
                    pairs.add((draw.choice(tier), name))
            pairs |= {(draw.choice(tiers[-2]), draw.choice(tiers[1])) for _ in range(8)}
        elif self.scenario.hostile:
            names = HOSTILE
            pairs = set(zip(HOSTILE, HOSTILE[1:] + HOSTILE[:1], strict=True)) | {(HOSTILE[0], HOSTILE[0])}
        else:
            names = self.names
            pairs = {(a, b) for a, targets in CALLS.items() for b in targets} | {("ledger", "payment")}
        return {
            "services": [{"name": name, **figures(draw.randint(100, 90_000))} for name in names],
            "calls": [{"from": a, "to": b, **figures(draw.randint(20, 60_000))} for a, b in sorted(pairs)],
            # One beside a call, one alone.
            "links": [{"from": names[a], "to": names[b], **figures(70)} for a, b in self.links(names, pairs)],
            "truncated": False,
        }

    def links(self, names: list[str], pairs: set[tuple]) -> list[tuple[int, int]]:
        if len(names) < 3:
            return []
        first, second = sorted(pairs)[0]
        return [(names.index(first), names.index(second)), (len(names) - 1, 0)]

    def explain(self, trace_id: str) -> dict | None:
        if not (document := self.trace(trace_id)):
            return None
        row = self.by_id.get(trace_id, {"reason": "errors", "policy": "errors", "adjusted_count": 1})
        spans = document["spans"]
        return {
            "trace_id": trace_id,
            "verdict": "keep",
            "reasons": [row["policy"]],
            "probability": 1 / row["adjusted_count"],
            "adjusted_count": row["adjusted_count"],
            "span_count": len(spans),
            "truncated_spans": 0,
            "is_recalled": False,
            "events": [
                {
                    "kind": "arrived",
                    "time": "2026-11-26T10:00:00.100000000Z",
                    "partition": 3,
                    "offset": 1207,
                    "text": f"the trace opened: 1 span of {spans[0]['service']}" if spans else "nothing",
                },
                {
                    "kind": "kept",
                    "time": "2026-11-26T10:00:05.310000000Z",
                    "partition": 3,
                    "offset": 1211,
                    "text": f"closed 5 s after the root, no parent missing: kept by {row['policy']}",
                },
            ],
            "policies": [
                {
                    "name": row["policy"],
                    "type": "status_code",
                    "answer": "matches",
                    "seen": "2 spans, 1 with ERROR",
                    "wanted": "a span with status ERROR",
                    "parts": [],
                },
                {
                    "name": "slow-checkout",
                    "type": "and",
                    "answer": "does_not_match",
                    "seen": "",
                    "wanted": "",
                    "parts": [
                        {
                            "name": "latency",
                            "type": "latency",
                            "answer": "does_not_match",
                            "seen": "a root of 250 ms",
                            "wanted": "at least 2 s",
                            "parts": [],
                        }
                    ],
                },
                {
                    "name": "baseline",
                    "type": "probabilistic",
                    "answer": "depends",
                    "seen": "randomness ce929d0e0e4736",
                    "wanted": "randomness of at least fd70a000000000",
                    "parts": [],
                },
            ],
            "spans": [
                {
                    "span_id": s["span_id"],
                    "parent_id": s["parent_span_id"],
                    "service": s["service"],
                    "name": s["operation"],
                    "start_ns": int(s["start_ns"]),
                    "after_ns": int(s["start_ns"]) - min(int(one["start_ns"]) for one in spans[:1]),
                    "duration_ns": s["duration_ns"],
                    "is_error": s["status"] == "error",
                    "is_error_origin": False,
                    "offset": 1207,
                }
                for s in spans[:300]
            ],
            "notes": [],
        }


def duration(text: str) -> float:
    """Nanoseconds of "100ms", "12ns" or "12"."""
    for unit, factor in (("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


class Maker:
    """Makes the spans of a row: calls within calls, a late clock, an error that climbs to the root."""

    def __init__(self, world: World, row: dict) -> None:
        self.world, self.row = world, row
        self.random = random.Random(row["trace_id"])
        self.spans: list[dict] = []
        self.resources: dict[str, int] = {}

    def span(
        self, parent: dict | None, service: str, operation: str, kind: str, start: float, length: float
    ) -> dict:
        span = {
            "span_id": f"{self.random.getrandbits(64):016x}",
            "parent_span_id": parent and parent["span_id"],
            "service": service,
            "operation": operation,
            "kind": kind,
            "start_ns": str(int(start)),
            "duration_ns": max(1, int(length)),
            "status": "unset",
            "status_message": "",
            "attributes": [
                ["http.request.method", operation.split(" ")[0], "string"],
                ["http.response.status_code", 200, "int"],
            ],
            "resource": self.resources.setdefault(service, len(self.resources)),
            "scope": "mock 1.0",
            "events": [],
            "links": [],
            "trace_state": "",
        }
        self.spans.append(span)
        return span

    def grow(self) -> None:
        hostile = self.world.scenario.hostile
        start, length = int(self.row["start_ns"]), self.row["duration_ns"]
        queue = [
            (
                self.span(None, self.row["service"], self.row["operation"], "server", start, length),
                start,
                length,
            )
        ]
        while len(self.spans) < self.row["spans"] and queue:
            parent, start, length = queue.pop(self.random.randrange(min(3, len(queue))))
            targets = CALLS.get(parent["service"], ["database", "cache"])
            children = self.random.randint(1, 4 if self.row["spans"] < 1000 else 9)
            at = start + length * 0.04
            for _ in range(children):
                share = length * 0.88 / children * self.random.uniform(0.6, 1)
                target = self.random.choice(HOSTILE if hostile else targets)
                name = self.random.choice(HOSTILE if hostile else OPERATIONS[target])
                client = self.span(parent, parent["service"], name, "client", at, share)
                # The clock of one service is late.
                skew = 0.3 * share if target in ("payment", HOSTILE[3]) else 0
                server = self.span(client, target, name, "server", at + share * 0.05 - skew, share * 0.9)
                queue.append((server, at + share * 0.05 - skew, share * 0.9))
                if self.random.random() < 0.75:
                    at += share
                if len(self.spans) >= self.row["spans"]:
                    break

    def document(self) -> dict:
        self.grow()
        by_id = {span["span_id"]: span for span in self.spans}
        if self.row["error"]:
            span = self.spans[-1]
            while span:
                span["status"] = "error"
                span["attributes"][1] = ["http.response.status_code", 504, "int"]
                span["status_message"] = "deadline exceeded" if span is self.spans[-1] else ""
                span = by_id.get(span["parent_span_id"])
            self.spans[-1]["events"] = [
                {
                    "time_ns": str(int(self.spans[-1]["start_ns"]) + 1000),
                    "name": "exception",
                    "attributes": [
                        ["exception.type", "TimeoutError", "string"],
                        [
                            "exception.stacktrace",
                            "TimeoutError: no answer within 2 s\n  at connect (client.py:88)",
                            "string",
                        ],
                    ],
                }
            ]
            self.spans[-1]["links"] = [
                {"trace_id": self.world.rows[0]["trace_id"], "span_id": "00000000000000aa", "attributes": []}
            ]
        if self.world.scenario.hostile:
            for text in HOSTILE:
                self.spans[0]["attributes"].append([text, text, "string"])
            self.spans[0]["links"] = [
                {
                    "trace_id": HOSTILE[0],
                    "span_id": HOSTILE[1],
                    "attributes": [[HOSTILE[0], HOSTILE[1], "string"]],
                }
            ]
            self.spans[0]["status_message"] = HOSTILE[6]
            self.spans[0]["events"] = [
                {
                    "time_ns": self.spans[0]["start_ns"],
                    "name": HOSTILE[0],
                    "attributes": [[HOSTILE[2], HOSTILE[1], "string"]],
                }
            ]
        policy = self.row["policy"]
        at = int(self.row["start_ns"]) + self.row["duration_ns"]
        record = {
            "verdict": "keep",
            "reason": policy,
            "policy": policy,
            "reasons": [policy],
            "spans": len(self.spans),
            "adjusted_count": self.row["adjusted_count"],
            "partition": 3,
            "offset": 812,
            "revised": False,
        }
        decisions = [{**record, "at_ns": str(at + 5 * 10**9), "final": True, "trigger": "root"}]
        if self.row["error"]:
            decisions.insert(0, {**record, "at_ns": str(at), "final": False, "trigger": "eager"})
        logs = None
        if self.row["error"]:
            logs = [
                {
                    "time_ns": self.spans[-1]["start_ns"],
                    "span_id": self.spans[-1]["span_id"],
                    "severity": "ERROR",
                    "body": HOSTILE[0] if self.world.scenario.hostile else "no answer from the ledger",
                    "attributes": [],
                }
            ]
        return {
            "trace_id": self.row["trace_id"],
            "spans": self.spans,
            "decisions": decisions,
            "logs": logs,
            "truncated": False,
            "resources": [
                [["service.name", name, "string"], ["host.name", f"node-{at}", "string"]]
                for name, at in self.resources.items()
            ],
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "MockServer"

    def log_message(self, *arguments: object) -> None:
        pass

    def send(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append(self.path)
        if parts.path == "/" or parts.path.startswith("/ui/"):
            file = PAGES / (parts.path.removeprefix("/ui/") if parts.path != "/" else "index.html")
            if "/" in parts.path.removeprefix("/ui/").strip("/") or not file.is_file():
                return self.send(404, b"not found", "text/plain")
            return self.send(200, file.read_bytes(), TYPES[file.suffix])
        scenario = self.server.world.scenario
        if scenario.slow:
            time.sleep(scenario.slow)
        if scenario.failing:
            return self.send(
                500, json.dumps({"error": "the broker <b>can't</b> be reached"}).encode(), "application/json"
            )
        if parts.path == "/v1/live":
            return self.live()
        document = self.document(parts.path, parse_qs(parts.query, keep_blank_values=True))
        if document is None:
            return self.send(404, b'{"error":"nothing is known of it"}', "application/json")
        return self.send(200, json.dumps(document).encode(), "application/json")

    def document(self, path: str, query: dict[str, list[str]]) -> dict | None:
        world = self.server.world
        if path.startswith("/v1/traces/"):
            return world.trace(unquote(path.removeprefix("/v1/traces/")))
        if path.startswith("/v1/explain/"):
            return world.explain(unquote(path.removeprefix("/v1/explain/")))
        routes = {
            "/v1/status": world.status,
            "/v1/services": world.services,
            "/v1/map": world.map,
            "/v1/overview": lambda: world.overview(int(query.get("steps", ["60"])[0])),
            "/v1/traces": lambda: world.traces(query),
            "/v1/latency": lambda: world.latency(query),
        }
        return routes[path]() if path in routes else None

    def live(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        world, at = self.server.world, 0
        self.event("status", world.status())
        while not self.server.is_stopping.wait(0.2 if at == 0 else 1):
            rows = [{**world.rows[(at + n) % len(world.rows)]} for n in range(3)] if world.rows else []
            self.event(
                "tick",
                {
                    "at_ns": str(time.time_ns()),
                    "kept": len(rows),
                    "errors": sum(r["error"] for r in rows),
                    "slow": sum(r["slow"] for r in rows),
                    "traces": rows,
                },
            )
            at += 3
        self.close_connection = True

    def event(self, kind: str, document: dict) -> None:
        self.wfile.write(f"event: {kind}\ndata: {json.dumps(document)}\n\n".encode())
        self.wfile.flush()


class MockServer(ThreadingHTTPServer):
    """A server in threads of this process: `with MockServer(Scenario()) as server: server.url`."""

    daemon_threads = True

    def __init__(self, scenario: Scenario, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.world = World(scenario)
        self.requests: list[str] = []
        self.is_stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "MockServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self.is_stopping.set()
        self.shutdown()
        self.server_close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8089)
    parser.add_argument("--traces", type=int, default=2000)
    parser.add_argument("--services", type=int, default=0, help="that many made ones in the map")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--failing", action="store_true")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--progress", type=float, default=1.0, help="how much of the index is read: 0 to 1")
    arguments = vars(parser.parse_args())
    port = arguments.pop("port")
    server = MockServer(Scenario(**arguments), port)
    print(server.url, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.is_stopping.set()


if __name__ == "__main__":
    main()
