"""What a span costs the core: instructions and allocations, counted under callgrind. Neither depends on how busy
the machine is. Small traces are counted too: most real ones are small, and a trace has a cost of its own.

Two runs that differ only in the number of measured passes are compared, so start-up, generating the records and
warming up cancel out. Of the core, only what feeds it is counted, not how the benchmark renames its traces between two
rounds. By the passes that are compared its tables have stopped growing: the late window is the shortest there is.

A decision record costs what a sampler that writes one for each dropped trace takes more than one that writes none.

`costs.json` holds the last counts for each architecture; after a change that is meant to change costs,
`make costs COSTS=write` updates them, and the difference is part of the change.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
REFERENCE = HERE / "costs.json"
TAILRACE = Path(os.environ.get("TAILRACE") or HERE.parents[1] / ".build/release/tailrace").absolute()

PASSES = (8, 10)
TOPOLOGY = """
kind: tail-sampling
topics: {{decisions: {{dropped: {dropped}}}}}
windows: {{decision_wait: 30s, late_window: 30s}}
{more}
"""


class Part(NamedTuple):
    arguments: list[str]
    dropped: str = "ledger"
    """What is written about a dropped trace."""
    counted: str = ""
    """The functions inside which is counted, as valgrind takes it; empty for everything."""
    more: str = ""
    """Further sections of the topology."""


def core(spans: int, *more: str, dropped: str = "ledger") -> Part:
    return Part(["--only", "core", "--spans-per-trace", str(spans), *more], dropped, "*8CoreFeed*3run*VF")


def counting(spans: int) -> Part:
    return core(spans)._replace(more="metrics: {}")


PARTS = {"scan": Part(["--only", "scan"])} | {f"core, {spans} spans a trace": core(spans) for spans in (5, 10, 20, 50)}
PARTS |= {f"core with metrics, {spans} spans a trace": counting(spans) for spans in (5, 50)}
SINGLE, JAEGER = "core, one span a record", "core, one span a record in Jaeger's protobuf"
PARTS |= {SINGLE: core(10, "--spans-per-record", "1"), JAEGER: core(10, "--spans-per-record", "1", "--jaeger")}
DECISION = "decision in full"
RECORDS = {dropped: core(5, dropped=dropped) for dropped in ("full", "none")}
ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"}

TOLERANCE = 0.08
"""Another compiler release changes a count by a few per cent; anything worth noticing changes it by more."""
ALLOCATIONS_TOLERANCE = 0.01
"""Allowed additional allocations per span: a hundredth is a reserve that grew, one is an array per span."""


class Count(NamedTuple):
    instructions: int
    allocations: int
    spans: int
    """The spans of one pass."""
    dropped: int
    """The traces dropped in all measured passes."""


def count(binary: Path, part: Part, passes: int, folder: Path) -> Count:
    """Counts a whole run."""
    folder.mkdir()
    topology, out = folder / "topology.yaml", folder / "callgrind"
    topology.write_text(TOPOLOGY.format(dropped=part.dropped, more=part.more))
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    if part.counted:
        command.append(f"--toggle-collect={part.counted}")
    command += [binary, "bench", *part.arguments, "--json", "--topology", topology, "--passes", passes]
    command += ["--open-traces", 1000, "--spans-per-pass", 20_000]
    # With random hashing, dictionaries would differ between runs.
    environment = {**os.environ, "SWIFT_DETERMINISTIC_HASHING": "1"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return Count(*totals(out), report["spans_per_pass"], report.get("core", {}).get("traces_dropped", 0))


def totals(out: Path) -> tuple[int, int]:
    """The sums of a callgrind file: instructions, and calls of an allocator."""
    names: dict[str, str] = {}
    callee, allocations, instructions = "", 0, None
    with out.open() as lines:
        for line in lines:
            if match := re.match(r"(c?fn)=(\(\d+\))(?: (.*))?$", line):
                name = names.setdefault(match[2], match[3] or "")
                if match[1] == "cfn":
                    callee = name
            elif line.startswith("calls=") and callee in ALLOCATORS:
                allocations += int(line.removeprefix("calls=").split()[0])
            elif line.startswith(("totals:", "summary:")):
                instructions = int(line.split()[1])
    assert instructions, "callgrind has counted nothing"
    return instructions, allocations


@pytest.fixture(scope="session")
def counted(tmp_path_factory) -> dict[str, dict[str, float]]:
    """Costs per span, by part, and those of a decision record."""
    folder = tmp_path_factory.mktemp("callgrind")
    binary = folder / "tailrace"
    # valgrind does not read the newest debug information, and needs none here.
    subprocess.run(["objcopy", "--strip-debug", TAILRACE, binary], check=True)
    runs = [(part, passes) for part in (*PARTS.values(), *RECORDS.values()) for passes in PASSES]
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = [pool.submit(count, binary, *run, folder / str(number)) for number, run in enumerate(runs)]
    found = iter(future.result() for future in futures)
    costs = {}
    for part in PARTS:
        few, many = next(found), next(found)
        spans = few.spans * (PASSES[1] - PASSES[0])
        costs[part] = {
            "instructions": round((many.instructions - few.instructions) / spans, 1),
            "allocations": round((many.allocations - few.allocations) / spans, 4),
        }
    (full_few, full_many), (none_few, none_many) = (next(found), next(found)), (next(found), next(found))
    records = full_many.dropped - full_few.dropped
    assert records == none_many.dropped - none_few.dropped > 0
    costs[DECISION] = {
        what: round(
            (getattr(full_many, what) - getattr(full_few, what) - getattr(none_many, what) + getattr(none_few, what))
            / records,
            digits,
        )
        for what, digits in (("instructions", 1), ("allocations", 4))
    }
    return costs


def test_nothing_costs_more_than_it_did(counted) -> None:
    assert shutil.which("valgrind"), "no valgrind: make setup"
    references = json.loads(REFERENCE.read_text())
    machine = platform.machine()
    print(f"costs on {machine}: {counted}")
    if os.environ.get("COSTS") == "write":
        REFERENCE.write_text(json.dumps(references | {machine: counted}, indent=2) + "\n")
        return
    if machine not in references:
        pytest.skip(f"nothing was counted on {machine} yet: make costs COSTS=write")
    assert counted.keys() == references[machine].keys(), "other parts are counted: make costs COSTS=write"
    for part, reference in references[machine].items():
        now, before = counted[part]["instructions"], reference["instructions"]
        assert now <= before * (1 + TOLERANCE), f"{part}: {now} instructions, {before} before"
        assert now >= before * (1 - TOLERANCE), f"{part}: {now} instead of {before}: make costs COSTS=write"
        more = counted[part]["allocations"] - reference["allocations"]
        assert more <= ALLOCATIONS_TOLERANCE, f"{part}: {more:.3f} allocations more than before"


def test_the_scanner_allocates_nothing(counted) -> None:
    assert counted["scan"]["allocations"] < 0.001


def test_a_decision_costs_what_its_bytes_weigh(counted) -> None:
    assert counted[DECISION]["instructions"] <= 1700
    assert counted[DECISION]["allocations"] < 0.001


@pytest.mark.parametrize("spans", [5, 50])
def test_metrics_cost_a_tenth_of_the_core(counted, spans) -> None:
    """That was the budget; the rest is for other compilers."""
    without = counted[f"core, {spans} spans a trace"]["instructions"]
    assert counted[f"core with metrics, {spans} spans a trace"]["instructions"] <= 1.11 * without


def test_spans_in_jaegers_protobuf_cost_less_than_three_in_otlp(counted) -> None:
    assert counted[JAEGER]["instructions"] < 3 * counted[SINGLE]["instructions"]
