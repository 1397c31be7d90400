"""Draws the dashboards from their JSON and live queries: not Grafana, but the same figures."""

from __future__ import annotations

import asyncio
import math
import re
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.core.sealing import new_key
from tests.acceptance.installation import Installation
from tests.servers.rabbitmq import RabbitNode
from tests.sre.boards import boards
from tests.sre.load import calling, everything, listening
from tests.sre.prometheus import RULE_FILES, Prometheus, running_prometheus, scaled
from tests.sre.test_live import FACTOR, ROLES, WINDOW

PICTURES = Path(__file__).parents[2] / "deploy/grafana/pictures"
LOAD_SECONDS = 45
#: Series drawn of one panel, and shown in its legend.
MOST_SERIES, MOST_LEGENDS = 12, 4
#: Of Grafana's grid: 24 columns are 16 inches at 100 dots each, and so high is one line.
COLUMN_INCHES, LINE_INCHES = 16 / 24, 0.24

mpl.use("Agg")


async def test_draw_every_dashboard(
    installation: Installation, rabbit_node: RabbitNode, tmp_path: Path
) -> None:
    (tmp_path / "secret.key").write_text(f"{new_key()}\n")
    installation.processes.environment |= {
        "HANTAR_WEBHOOK_ALLOW": "127.0.0.0/8",
        "HANTAR_SECRET_KEY_FILE": str(tmp_path / "secret.key"),
    }
    running = await installation.run(*ROLES)
    ops = [(await process.ready())[1].removeprefix("http://") for process in running]
    rules = {file: scaled(file, FACTOR, {}) for file in RULE_FILES}
    targets = {"hantar": ops, "rabbitmq": [rabbit_node.metrics]}
    async with (
        listening() as endpoint,
        calling(installation, running[0]) as caller,
        running_prometheus(tmp_path / "prometheus", targets, rules=rules) as prometheus,
    ):
        await asyncio.sleep(3)
        began = time.time()
        await everything(caller, installation.processes.environment["HANTAR_AMQP_URL"], endpoint)
        for part in range(LOAD_SECONDS // 3):
            await caller.bulk(100, first=1000 + 100 * part)
            await asyncio.sleep(3)
        PICTURES.mkdir(exist_ok=True)
        for name, board in boards().items():
            figure = await drawn(prometheus, board, began - 3, time.time())
            figure.savefig(PICTURES / name.replace(".json", ".png"), dpi=100)


async def drawn(prometheus: Prometheus, board: dict[str, Any], start: float, end: float) -> Figure:
    """The whole dashboard, its panels where the grid has them."""
    lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    height = lines * LINE_INCHES + 0.4
    figure = Figure(figsize=(16, height))
    said = f"{board['title']}: drawn by tests/sre/pictures.py from its JSON, not by Grafana"
    figure.text(0.005, 1 - 0.25 / height, said, fontsize=10, weight="bold")
    for panel in board["panels"]:
        place = panel["gridPos"]
        top = 1 - (0.4 + place["y"] * LINE_INCHES) / height
        if panel["type"] == "row":
            figure.text(0.005, top - 0.2 / height, panel["title"], fontsize=10, color="#444444")
            continue
        axes = figure.add_axes(
            (
                (place["x"] * COLUMN_INCHES + 0.55) / 16,
                top - (place["h"] * LINE_INCHES - 0.3) / height,
                (place["w"] * COLUMN_INCHES - 0.75) / 16,
                (place["h"] * LINE_INCHES - 0.62) / height,
            )
        )
        series: list[tuple[str, list[Any]]] = []
        for target in panel["targets"]:
            asked = target["expr"].replace("$__rate_interval", WINDOW)
            asked = asked.replace("$job", ".*").replace("$instance", ".*")
            found = await prometheus.range(asked, start, end, 1)
            form = target["legendFormat"]
            series += [(legend(form, each["metric"]), each["values"]) for each in found]
        draw(axes, panel, series, start)
    return figure


def legend(form: str, labels: dict[str, str]) -> str:
    """The legend of one series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), form)


def draw(
    axes: Axes, panel: dict[str, Any], series: list[tuple[str, list[Any]]], start: float
) -> None:
    """One panel, over the seconds since the load began."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    title = panel["title"] if unit in ("short", "none") else f"{panel['title']} ({unit})"
    axes.set_title(title, fontsize=8, loc="left")
    axes.tick_params(labelsize=6)
    series.sort(key=lambda each: -max(_value(value) for _, value in each[1]))
    if panel["type"] == "stat":
        axes.set_axis_off()
        shown = f"{_value(series[0][1][-1][1]):.4g}" if series else "no data"
        axes.text(0.0, 0.2, shown, fontsize=16, transform=axes.transAxes)
        return
    for name, values in series[:MOST_SERIES]:
        seconds = [float(at) - start for at, _ in values]
        axes.plot(seconds, [_value(value) for _, value in values], linewidth=1, label=name)
    axes.set_ylim(bottom=0)
    if series:
        handles, names = axes.get_legend_handles_labels()
        axes.legend(handles[:MOST_LEGENDS], names[:MOST_LEGENDS], fontsize=5, loc="upper left")


def _value(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else 0.0
