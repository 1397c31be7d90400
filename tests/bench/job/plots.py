"""The plots of deploy/performance.md."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.job.figures import ROLES, SERVERS, Figures, cpu, everything, ms, of

#: The same file for the same figures: no date, no random ids; text as text, which is shorter.
mpl.rcParams.update({"svg.hashsalt": "hantar", "svg.fonttype": "none", "font.size": 9})


def draw(folder: Path, results: Figures) -> None:
    """Write every plot anew that there are figures for."""
    folder.mkdir(parents=True, exist_ok=True)
    if found := results["bench"]:
        _save(_cpu(found), folder / "cpu.svg")
        _save(_waits(found), folder / "waits.svg")
    if found := results["rivals"]:
        _save(_rivals(found), folder / "rivals.svg")
    if found := results["growth"]:
        _save(_growth(found), folder / "growth.svg")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def _cpu(found: Figures) -> Figure:
    figure = Figure(figsize=(7, 2.6))
    axes = figure.subplots()
    drivers = list(dict.fromkeys(each["driver"] for each in found["rounds"]))
    left = [0.0] * len(drivers)
    for name in (*ROLES, *SERVERS, "nginx"):
        widths = [of(found, driver, cpu([name])) for driver in drivers]
        axes.barh(drivers, widths, left=left, label=name)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("CPU-ms a message, medians")
    axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.25), frameon=False)
    return figure


def _waits(found: Figures) -> Figure:
    figure = Figure(figsize=(7, 2.8))
    for axes, kind, title in zip(
        figure.subplots(1, 2),
        ("bulks", "singles"),
        ("answer to a bulk of 1000", "high send to its driver call"),
        strict=True,
    ):
        for when in ("idle", "flood"):
            values = sorted(ms(found[when][kind]))
            axes.plot(values, [(n + 1) / len(values) for n in range(len(values))], label=when)
        axes.set_xscale("log")
        axes.set_xlabel("ms")
        axes.set_title(title)
        axes.legend(frameon=False)
    return figure


def _rivals(found: Figures) -> Figure:
    figure = Figure(figsize=(7, 2.6))
    names = list(dict.fromkeys(each["driver"] for each in found["rounds"]))
    labels = [f"Hantar, {name}" if name in ("simulator", "meta") else name for name in names]
    for axes, read, title in zip(
        figure.subplots(1, 2, sharey=True),
        (lambda one: float(one["rate"]), everything),
        ("messages/s", "CPU-ms a message, servers included"),
        strict=True,
    ):
        axes.barh(labels, [of(found, name, read) for name in names])
        axes.set_xlabel(title)
    axes.invert_yaxis()
    return figure


def _growth(found: Figures) -> Figure:
    figure = Figure(figsize=(7, 2.4))
    for axes, kind, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("rows", "backlog"),
        ("rows in messages", "waiting on the device"),
        strict=True,
    ):
        sizes = list(found[kind])
        for n, size in enumerate(sizes):
            costs = found[kind][size]
            ratios = [a / b for a, b in zip(costs["large"], costs["small"], strict=True)]
            axes.plot([n] * len(ratios), ratios, "o", color="C0")
        axes.axhline(1.15, color="C1", linestyle="--")
        axes.set_xticks(range(len(sizes)), [f"{int(size):,}" for size in sizes])
        axes.set_xlabel(title)
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("CPU a message,\ngrown / small")
    return figure
