"""Plots of figures that the program has written."""

import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
TAILRACE = Path(os.environ.get("TAILRACE") or HERE.parents[1] / ".build/release/tailrace").absolute()


def run(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def texts(figures: Path) -> set[str]:
    """Draws the figures twice. The plots must be the same."""
    plots = [figures.with_suffix(f".{number}.svg") for number in (1, 2)]
    for plot in plots:
        run(sys.executable, "-B", HERE / "plot.py", figures, plot)
    assert plots[0].read_bytes() == plots[1].read_bytes()
    root = xml.etree.ElementTree.parse(plots[0]).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}


def test_a_simulated_day_is_drawn(tmp_path: Path) -> None:
    figures = tmp_path / "day.csv"
    run(TAILRACE, "report", "--intervals", 240, "--services", 40, "--output", figures)
    assert texts(figures) >= {
        "Spans per second arriving", "Spans kept per second", "budget", "Rates", "service-0",
        "Services in the last ten minutes", "new service", "outage", "tenfold load of one", "hours",
    }  # fmt: skip


def test_the_scaling_benchmark_is_drawn(tmp_path: Path) -> None:
    figures = tmp_path / "points.csv"
    run(TAILRACE, "bench-scaling", "--quick", "--passes", 1, "--csv", figures)
    quantities = {"spans per trace", "open traces", "services", "policies", "spans per record"}
    assert texts(figures) >= quantities


def test_a_wrong_command_line_is_refused() -> None:
    done = subprocess.run([sys.executable, "-B", HERE / "plot.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("usage: plot.py")
