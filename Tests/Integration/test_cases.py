"""Small inputs with known answers, which exist next to the project on some machines."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from children import TAILRACE

CASES = Path(__file__).parents[3] / "shared" / "cases"


def test_small_inputs_have_the_right_answers(tmp_path):
    script = CASES / "check.py"
    if not script.exists():
        pytest.skip(f"{CASES} is not there: its cases are not tried")
    done = subprocess.run([sys.executable, script, TAILRACE], capture_output=True, text=True, timeout=300, check=False)
    print(done.stdout, done.stderr)
    said = re.match(r"\d+ of \d+ cases right(?:: wrong are (.*))?$", done.stdout.strip())
    assert said, done.stdout
    wrong = set(said[1].split(", ")) if said[1] else set()
    # Its script expects two spans of every trace, but a trace that only moves the clock has one.
    assert wrong <= {"redelivered"}
    decisions = tmp_path / "decisions"
    case = CASES / "redelivered"
    subprocess.run(
        [TAILRACE, "replay", case / "in.otlp", "--topology", case / "topology.yaml", "--decisions", decisions,
         "--sampled", tmp_path / "sampled"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    finals = [json.loads(line) for line in decisions.read_text().splitlines()]
    counts = {record["root"]["operation"]: (record["verdict"], record["span_count"]) for record in finals}
    assert counts == {"op": ("drop", 2), "tick": ("drop", 1)}
