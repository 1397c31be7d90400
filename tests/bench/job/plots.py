"""The plots of deploy/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

#: The same file for the same figures: no date, no random ids.
mpl.rcParams.update({"svg.hashsalt": "hantar", "font.size": 9})


def draw(
    folder: Path, found: Mapping[str, Any], drivers: Sequence[str], names: Sequence[str]
) -> None:
    """Write every plot anew."""
    folder.mkdir(exist_ok=True)
    _save(_cpu(found, drivers, names), folder / "cpu.svg")
    _save(_waits(found), folder / "waits.svg")
    _save(_dispatchers(found), folder / "dispatchers.svg")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def _cpu(found: Mapping[str, Any], drivers: Sequence[str], names: Sequence[str]) -> Figure:
    figure = Figure(figsize=(7, 2.6))
    axes = figure.subplots()
    left = [0.0] * len(drivers)
    for name in names:
        widths = [
            statistics.median(
                each["cpu_ms"][name] for each in found["rounds"] if each["driver"] == driver
            )
            for driver in drivers
        ]
        axes.barh(drivers, widths, left=left, label=name)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("CPU-ms a message, medians")
    axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.25), frameon=False)
    return figure


def _waits(found: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(7, 2.8))
    for axes, kind, title in zip(
        figure.subplots(1, 2),
        ("bulks", "singles"),
        ("answer to a bulk of 1000", "high send to its driver call"),
        strict=True,
    ):
        for when in ("idle", "flood"):
            values = sorted(1000 * value for value in found[when][kind])
            axes.plot(values, [(n + 1) / len(values) for n in range(len(values))], label=when)
        axes.set_xscale("log")
        axes.set_xlabel("ms")
        axes.set_title(title)
        axes.legend(frameon=False)
    return figure


def _dispatchers(found: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(4, 2.4))
    axes = figure.subplots()
    for count, rates in found["dispatchers"].items():
        axes.plot([int(count)] * len(rates), rates, "o", color="C0")
    axes.set_xticks([1, 2])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("dispatchers")
    axes.set_ylabel("messages/s through meta")
    return figure
