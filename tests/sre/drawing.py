"""Draws dashboards from their JSON and live queries, a screen a picture: not Grafana, but the same
panels, places, legends and figures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests.sre.boards import asked
from tests.sre.prometheus import Prometheus

#: A screen of 1600 by 1000 dots: Grafana's grid of 24 columns, and so many of its lines.
DOTS = 100
WIDTH, HEIGHT = 16.0, 10.0
COLUMNS, LINES = 24, 27
HEAD = 0.28
#: One column and one line of the grid, in inches.
COLUMN, LINE = WIDTH / COLUMNS, (HEIGHT - HEAD) / LINES
MOST_SERIES, MOST_LEGENDS, LEGEND_CHARS = 30, 7, 22
RED, GREEN = "#d44a3a", "#56a64b"

mpl.use("Agg")


@dataclass(frozen=True, slots=True)
class Span:
    """What is drawn: from, to, and when the failure began, if there was one."""

    start: float
    end: float
    failed: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line, and what is written beside it."""

    name: str
    points: dict[float, float]

    @property
    def last(self) -> float:
        return next(reversed(self.points.values()))


async def pictures(
    prometheus: Prometheus, board: dict[str, Any], span: Span, window: str, folder: Path
) -> None:
    """Write a picture for each screen of the dashboard."""
    screens = list(_screens(board["panels"]))
    for number, panels in enumerate(screens, 1):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        pages = f", {number} of {len(screens)}" if len(screens) > 1 else ""
        said = (
            f"{board['title']}{pages}. Drawn from its JSON and live queries, not by Grafana; "
            "below each panel: seconds"
        )
        figure.text(0.004, 1 - 0.18 / HEIGHT, said, fontsize=9, weight="bold")
        top = panels[0]["gridPos"]["y"]
        for panel in panels:
            await _panel(figure, panel, top, prometheus, span, window)
        folder.mkdir(parents=True, exist_ok=True)
        file = f"{board['uid']}{'' if len(screens) == 1 else f'-{number}'}.png"
        figure.savefig(folder / file, dpi=DOTS)


def _screens(panels: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The panels that fit a screen, not parted from their heading."""
    sections: list[list[dict[str, Any]]] = [[]]
    for panel in panels:
        if panel["type"] == "row":
            sections.append([])
        sections[-1].append(panel)
    screen: list[dict[str, Any]] = []
    for section in filter(None, sections):
        bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in section)
        if screen and bottom - screen[0]["gridPos"]["y"] > LINES:
            yield screen
            screen = []
        screen += section
    yield screen


async def _panel(
    figure: Figure,
    panel: dict[str, Any],
    top: int,
    prometheus: Prometheus,
    span: Span,
    window: str,
) -> None:
    place = panel["gridPos"]
    left, width, height = place["x"] * COLUMN, place["w"] * COLUMN, place["h"] * LINE
    bottom = HEIGHT - HEAD - (place["y"] - top) * LINE - height
    if panel["type"] == "row":
        figure.text(0.006, (bottom + 0.1) / HEIGHT, panel["title"], fontsize=10, weight="bold")
        return
    series = await _series(prometheus, panel, span, window)
    frame = figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))
    frame.set_axis_off()
    frame.set(xlim=(0, width), ylim=(0, height))
    shown = (0.03, 0.03, width - 0.06, height - 0.06)
    color = _color(panel, series)
    if panel["type"] == "stat":
        lit = panel["options"].get("colorMode") == "background"
        _box(frame, shown, color if lit else "none")
        _stat(frame, panel, series, "white" if lit else color, height)
        return
    _box(frame, shown, "none")
    frame.text(0.1, height - 0.2, panel["title"], fontsize=8.5)
    if not series:
        none = panel["fieldConfig"]["defaults"].get("noValue", "No data")
        frame.text(width / 2, height / 2 - 0.1, none, fontsize=10, ha="center", color="#666666")
        return
    plot = (left + 0.5, bottom + 0.24, width - 2.05, height - 0.52)
    axes = figure.add_axes((plot[0] / WIDTH, plot[1] / HEIGHT, plot[2] / WIDTH, plot[3] / HEIGHT))
    _lines(axes, panel, series, span)


def _box(frame: Axes, shown: tuple[float, float, float, float], color: str) -> None:
    x, y, width, height = shown
    frame.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor="#cccccc"))


async def _series(
    prometheus: Prometheus, panel: dict[str, Any], span: Span, window: str
) -> list[Series]:
    """What the queries of a panel show, the largest at last first."""
    found = []
    for target in panel["targets"]:
        form = target["legendFormat"]
        for each in await prometheus.range(
            asked(target["expr"], window=window), span.start, span.end, 1
        ):
            name = re.sub(r"\{\{(\w+)\}\}", lambda at, e=each: e["metric"].get(at[1], ""), form)  # type: ignore[misc]
            values = {float(at) - span.start: float(value) for at, value in each["values"]}
            points = {at: value for at, value in values.items() if math.isfinite(value)}
            if points:
                found.append(Series(name.strip(), points))
    now = max((max(each.points) for each in found), default=0.0)
    return sorted(found, key=lambda each: (now not in each.points, -each.last, each.name))


def _color(panel: dict[str, Any], series: Sequence[Series]) -> str:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    limit = steps[1]["value"] if len(steps) > 1 else math.inf
    return RED if series and series[0].last >= limit else GREEN


def _stat(
    frame: Axes, panel: dict[str, Any], series: Sequence[Series], color: str, height: float
) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    light = panel["options"].get("colorMode") == "background"
    frame.text(
        *(0.1, height - 0.21, panel["title"]),
        fontsize=10 if light else 8.5,
        color="white" if light else "black",
        weight="bold" if light else "normal",
    )
    # A light shows what fires now, not what did.
    current = [each for each in series if max(each.points) > max(series[0].points) - 2]
    shown = [(said(each.last, unit), each.name) for each in current[:5]] or [("No data", "")]
    if not light:
        frame.text(0.15, 0.28, shown[0][0], fontsize=20, color=color, weight="bold")
        return
    if shown[0][1] == "fine":
        frame.text(0.15, 0.42, "✓ fine", fontsize=18, color=color)
        return
    size = 8.5
    for number, (value, name) in enumerate(shown):
        frame.text(
            0.12, height - 0.5 - number * size / 44, f"{value}  {name}", fontsize=size, color=color
        )


def _lines(axes: Axes, panel: dict[str, Any], series: Sequence[Series], span: Span) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#eeeeee")
    axes.set_axisbelow(True)
    drawn = series[:MOST_SERIES]
    labels = [_label(said(each.last, defaults["unit"]), each.name) for each in drawn]
    if defaults["custom"].get("stacking", {}).get("mode") == "normal":
        moments = sorted({at for each in drawn for at in each.points})
        stacked = [[each.points.get(at, 0.0) for at in moments] for each in drawn]
        axes.stackplot(moments, stacked, labels=labels, alpha=0.7)
    else:
        for each, label in zip(drawn, labels, strict=True):
            axes.plot(*zip(*_with_gaps(each.points), strict=True), linewidth=1.4, label=label)
    top = axes.get_ylim()[1]
    axes.set(xlim=(0, span.end - span.start), ylim=(0, top if _highest(drawn) else 1))
    steps = defaults["thresholds"]["steps"]
    if len(steps) > 1:
        axes.axhline(steps[1]["value"], color=RED, linewidth=1)
    if span.failed is not None:
        axes.axvline(span.failed - span.start, color="#555555", linewidth=1, linestyle=":")
    axes.yaxis.set_major_formatter(lambda value, _: said(value, defaults["unit"]))
    axes.locator_params(axis="y", nbins=4)
    handles, names = axes.get_legend_handles_labels()
    legend = axes.legend(
        handles[:MOST_LEGENDS],
        names[:MOST_LEGENDS],
        loc="upper left",
        bbox_to_anchor=(1.0, 1.12),
        fontsize=7.5,
        handlelength=0.8,
        labelspacing=0.2,
    )
    legend.set_frame_on(False)


def _highest(series: Sequence[Series]) -> float:
    return max(max(each.points.values()) for each in series)


def _with_gaps(points: dict[float, float]) -> Iterator[tuple[float, float]]:
    """The points, and none in between where some are missing."""
    before = math.inf
    for at, value in points.items():
        if at - before > 1.5:
            yield at - 0.5, math.nan
        yield at, value
        before = at


def _label(value: str, name: str) -> str:
    room = LEGEND_CHARS - len(value)
    return f"{value}  {name if len(name) <= room else f'…{name[1 - room :]}'}"


def said(value: float, unit: str) -> str:
    """A figure as a person reads it."""
    if unit in ("s", "dtdurations"):
        if value and abs(value) < 1:
            return f"{value * 1000:.3g} ms"
        return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    scale = 1024 if unit == "bytes" else 1000
    for letter in ("", "k", "M", "G"):
        if abs(value) < scale:
            end = "B" if unit == "bytes" else ""
            rate = "/s" if unit in ("mps", "ops", "reqps") else ""
            return f"{value:.3g} {letter}{end}".rstrip() + rate
        value /= scale
    return f"{value:.3g} T"
