"""Plots the figures of `tailrace report` and `tailrace bench-scaling`: plot.py FIGURES.csv PLOT.svg

The header of the figures tells the two apart. The same figures give the same file, byte for byte.
"""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
# Text stays text, and ids depend only on what they name.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tailrace", "font.size": 9})

from matplotlib import pyplot, ticker  # noqa: E402

Table = dict[str, list[str]]

# Colours that the colour-blind can tell apart. Source: Okabe and Ito, "Color Universal Design", 2008.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]

POINTS_MAX = 960
"""The most points of a line over the day. More would be too fine to see."""


def read(path: Path) -> Table:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def numbers(table: Table, column: str) -> list[float]:
    return [float(field) for field in table[column]]


def thin(values: list[float]) -> list[float]:
    """Means of a few values each, where there are more than can be seen."""
    step = max(1, len(values) // POINTS_MAX)
    return [sum(values[start : start + step]) / step for start in range(0, len(values) - step + 1, step)]


def finish(axes: pyplot.Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
    axes.grid(axis="y", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def draw_day(table: Table) -> pyplot.Figure:
    """Four panels over the hours of a day: load, what was kept, the rates, who was seen."""
    hours = numbers(table, "hour")
    budget = numbers(table, "spans/s of budget")[0]
    rates = {name.removeprefix("rate of "): name for name in table if name.startswith("rate of ")}
    panels = [
        ("Spans per second arriving", {"all": "spans/s arriving"}),
        (
            "Spans kept per second",
            {
                "all kept": "spans/s kept",
                "for their own sake": "spans/s kept for their own sake",
                "budget": "spans/s of budget",
            },
        ),
        ("Rates", rates),
        (
            "Services in the last ten minutes",
            {"with traffic": "services with traffic", "none of it kept": "services with none of it kept"},
        ),
    ]
    figure, rows = pyplot.subplots(len(panels), sharex=True, figsize=(10, 10), layout="constrained")
    for axes, (title, lines) in zip(rows, panels, strict=True):
        for colour, (name, column) in zip(COLOURS, lines.items(), strict=False):
            axes.plot(thin(hours), thin(numbers(table, column)), color=colour, linewidth=1, label=name)
        # Room above for the events' names.
        axes.margins(x=0, y=0.2)
        if title == "Rates":
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        for hour, event in zip(hours, table["event"], strict=True):
            if event:
                axes.axvline(hour, color="#999999", linestyle=":")
                axes.annotate(event, (hour, 1), (3, -9), xycoords=("data", "axes fraction"), textcoords="offset points")
        finish(axes, title)
    rows[1].axhspan(0.9 * budget, 1.1 * budget, color="#e8f0e8", zorder=0)
    rows[-1].set_xlabel("hours")
    figure.suptitle("Adaptive rates over a day")
    return figure


def draw_scaling(table: Table) -> pyplot.Figure:
    """A line for each quantity that grew: the cost of a span relative to the first point."""
    figure, axes = pyplot.subplots(figsize=(10, 4), layout="constrained")
    points = list(zip(table["quantity"], numbers(table, "value"), numbers(table, "relative cost"), strict=True))
    for colour, quantity in zip(COLOURS, dict.fromkeys(table["quantity"]), strict=False):
        values, costs = zip(*((value, cost) for name, value, cost in points if name == quantity), strict=True)
        axes.plot(values, costs, color=colour, marker=".", linewidth=1.4, label=quantity)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("spans, traces, services or policies")
    finish(axes, "What a span costs the core as the work grows, against the first point")
    return figure


def main(figures: Path, plot: Path) -> None:
    table = read(figures)
    figure = draw_scaling(table) if "quantity" in table else draw_day(table)
    figure.savefig(plot, metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: plot.py FIGURES.csv PLOT.svg")
    main(*map(Path, sys.argv[1:]))
