"""What a span costs the core: instructions and allocations, counted under callgrind. Neither depends on how busy
the machine is. Small traces are counted too: most real ones are small, and a trace has a cost of its own.

Two runs that differ only in the number of measured passes are compared, so start-up, generating the records and
warming up cancel out. `costs.json` holds the last counts for each architecture; after a change that is meant to change
costs, `make costs COSTS=write` updates them, and the difference is part of the change.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REFERENCE = HERE / "costs.json"
TAILRACE = Path(os.environ.get("TAILRACE") or HERE.parents[1] / ".build/release/tailrace").absolute()

PASSES = (1, 3)
PARTS = {
    "scan": ["--only", "scan"],
    **{
        f"core, {spans} spans a trace": ["--only", "core", "--spans-per-trace", str(spans)]
        for spans in (5, 10, 20, 50)
    },
}
ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"}

TOLERANCE = 0.08
"""Another compiler release changes a count by a few per cent; anything worth noticing changes it by more."""
ALLOCATIONS_TOLERANCE = 0.01
"""Allowed additional allocations per span: a hundredth is a reserve that grew, one is an array per span."""


def count(binary: Path, part: str, passes: int, out: Path) -> tuple[int, int, int]:
    """Instructions and allocations of a whole run, and the spans of one of its passes."""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", binary, "bench", *PARTS[part], "--json"]
    command += ["--passes", passes, "--open-traces", 1000, "--spans-per-pass", 20_000]
    # With random hashing, dictionaries would differ between runs.
    environment = {**os.environ, "SWIFT_DETERMINISTIC_HASHING": "1"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return *totals(out), json.loads(done.stdout)["spans_per_pass"]


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
    """Costs per span, by part."""
    folder = tmp_path_factory.mktemp("callgrind")
    binary = folder / "tailrace"
    # valgrind does not read the newest debug information, and needs none here.
    subprocess.run(["objcopy", "--strip-debug", TAILRACE, binary], check=True)
    runs = [(part, passes) for part in PARTS for passes in PASSES]
    outs = [folder / f"callgrind.{number}" for number in range(len(runs))]
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = dict(zip(runs, pool.map(lambda run, out: count(binary, *run, out), runs, outs)))
    costs = {}
    for part in PARTS:
        few, many = (found[part, passes] for passes in PASSES)
        spans = few[2] * (PASSES[1] - PASSES[0])
        costs[part] = {
            "instructions": round((many[0] - few[0]) / spans, 1),
            "allocations": round((many[1] - few[1]) / spans, 4),
        }
    return costs


def test_a_span_costs_no_more_than_it_did(counted) -> None:
    assert shutil.which("valgrind"), "no valgrind: make setup"
    references = json.loads(REFERENCE.read_text())
    machine = platform.machine()
    print(f"costs of a span on {machine}: {counted}")
    if os.environ.get("COSTS") == "write":
        REFERENCE.write_text(json.dumps(references | {machine: counted}, indent=2) + "\n")
        return
    if machine not in references:
        pytest.skip(f"nothing was counted on {machine} yet: make costs COSTS=write")
    assert counted.keys() == references[machine].keys(), "other parts are counted: make costs COSTS=write"
    for part, reference in references[machine].items():
        now, before = counted[part]["instructions"], reference["instructions"]
        assert now <= before * (1 + TOLERANCE), f"{part}: {now} instructions a span, {before} before"
        assert now >= before * (1 - TOLERANCE), f"{part}: {now} instead of {before}: make costs COSTS=write"
        more = counted[part]["allocations"] - reference["allocations"]
        assert more <= ALLOCATIONS_TOLERANCE, f"{part}: {more:.3f} allocations a span more than before"


def test_the_scanner_allocates_nothing(counted) -> None:
    assert counted["scan"]["allocations"] < 0.001
