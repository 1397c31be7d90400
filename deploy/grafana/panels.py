"""What a dashboard is made of, and how it becomes Grafana's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import dashboard, stat, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)

#: Columns of Grafana's grid; each row of panels fills them.
COLUMNS = 24
#: Of rows: of panels under a heading, beside a light, and of mere figures. One screen has some 26.
HEIGHT, LIT_HEIGHT, STAT_HEIGHT = 5, 4, 3
LIGHT_WIDTH = 4
FINE = "fine"
TAG = "hantar"

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: queries with their legends, what it means, and where to read on."""

    title: str
    meaning: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: Literal["lines", "stack", "stat", "light"] = "lines"
    #: from this value on it is drawn red
    limit: float | None = None
    #: the alert whose runbook says what to do
    alert: str | None = None
    #: what is written where there is no series; None: that is a fault
    none: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels beside each other under a heading, in the order in which one looks.

    With alerts the heading is a light at its left instead: red with the names of those that fire.
    """

    title: str
    panels: Sequence[Panel]
    alerts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    meaning: str
    rows: Sequence[Row]


#: Of group commits those that are statements.
STATEMENTS = 'group!="callbacks"'


def of(metric: str, *matchers: str) -> str:
    """The series of a metric that the dashboard's variables choose."""
    chosen = ",".join(('job=~"$job"', 'instance=~"$instance"', *matchers))
    return f"{metric}{{{chosen}}}"


def rate(metric: str, by: str, *matchers: str) -> str:
    """How much a counter grows in a second, by these labels."""
    return f"sum by ({by}) (rate({of(metric, *matchers)}[$__rate_interval]))"


def quantile(part: float, metric: str, by: str = "", *matchers: str) -> str:
    """What so many of a histogram's observations do not exceed, by these labels."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({part}, {rate(f'{metric}_bucket', labels, *matchers)})"


def mean(metric: str, by: str, *matchers: str) -> str:
    """The mean of a histogram's observations, by these labels."""
    return f"{rate(f'{metric}_sum', by, *matchers)} / {rate(f'{metric}_count', by, *matchers)}"


def last(metric: str, by: str, *matchers: str) -> str:
    """A gauge of the whole installation, which any one process tells."""
    return f"max by ({by}) ({of(metric, *matchers)})" if by else f"max({of(metric, *matchers)})"


def total(metric: str, by: str, *matchers: str) -> str:
    """A gauge that each process tells for itself, added."""
    return f"sum by ({by}) ({of(metric, *matchers)})" if by else f"sum({of(metric, *matchers)})"


def some(expression: str) -> str:
    """What is not zero: of the many things that may be amiss, those that are."""
    return f"{expression} > 0"


def rendered(board: Board) -> str:
    """The JSON that Grafana imports."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.meaning)
        .tags([TAG])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Hantar")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(
            dashboard.TextBoxVariable("runbooks")
            .label("Runbooks at")
            .default_value("https://example.com/runbooks")
        )
        .with_variable(_variable("job", "label_values(hantar_build_info, job)"))
        .with_variable(
            _variable("instance", 'label_values(hantar_build_info{job=~"$job"}, instance)')
        )
    )
    number = 0
    for place, panel in _places(board):
        if isinstance(panel, str):
            made = made.with_row(dashboard.Row(panel).grid_pos(place))
            continue
        number += 1
        made = made.with_panel(_DRAWN[panel.kind](panel).id(number).grid_pos(place))
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(made.build())}\n"


def _places(board: Board) -> Iterator[tuple[GridPos, Panel | str]]:
    """Every panel and heading, and where it stands."""
    y = 0
    for row in board.rows:
        left = LIGHT_WIDTH if row.alerts else 0
        if row.alerts:
            yield _at(0, y, left, LIT_HEIGHT), _light(row)
        elif row.title:
            yield _at(0, y, COLUMNS, 1), row.title
            y += 1
        for line in _lines(row.panels):
            width = (COLUMNS - left) // len(line)
            height = LIT_HEIGHT if row.alerts else HEIGHT
            height = STAT_HEIGHT if all(panel.kind == "stat" for panel in line) else height
            for number, panel in enumerate(line):
                yield _at(left + number * width, y, width, height), panel
            y += height


def _light(row: Row) -> Panel:
    """Which of these alerts fire, and since when."""
    chosen = f'{{alertname=~"{"|".join(row.alerts)}"'
    since = f"time() - ALERTS_FOR_STATE{chosen}}}"
    firing = f'({since}) and ignoring (alertstate) ALERTS{chosen},alertstate="firing"}}'
    fine = f'label_replace(vector(0), "alertname", "{FINE}", "", "")'
    query = f"max by (alertname) ({firing}) or on () {fine}"
    meaning = (
        "The alerts that fire, and for how long their cause has lasted; a click opens what to do."
    )
    return Panel(row.title, meaning, [(query, "{{alertname}}")], "dtdurations", "light", limit=1)


def _lines(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    """At most six small or four large ones beside each other, the lines about equally full."""
    most = 6 if all(panel.kind == "stat" for panel in panels) else 4
    count = -(-len(panels) // most)
    each = -(-len(panels) // count)
    return [panels[start : start + each] for start in range(0, len(panels), each)]


def _at(x: int, y: int, width: int, height: int) -> GridPos:
    return GridPos(x=x, y=y, w=width, h=height)


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(_SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
        .multi(True)
    )


def _timeseries(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .fill_opacity(25 if panel.kind == "stack" else 5)
        .line_width(1)
        .min(0)
        .legend(
            VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.RIGHT)
            .calcs(["lastNotNull"])
            .sort_by("Last *")
            .sort_desc(True)
            .show_legend(True)
        )
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if panel.kind == "stack":
        made = made.stacking(StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if panel.limit is not None:
        made = made.thresholds_style(
            GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE)
        )
    return _common(made, panel)  # type: ignore[return-value]


def _stat(panel: Panel) -> stat.Panel:
    made = stat.Panel().reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return _common(made, panel)  # type: ignore[return-value]


def _lit(panel: Panel) -> stat.Panel:
    to_do = dashboard.DashboardLink("What to do").type(DashboardLinkType.LINK).target_blank(True)
    return (
        _stat(panel)
        .text_mode(BigValueTextMode.VALUE_AND_NAME)
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .mappings([ValueMap(options={"0": ValueMappingResult(text="✓")})])
        .data_links([to_do.url("${runbooks}/${__field.labels.alertname}.md")])
    )


_DRAWN: Mapping[str, Callable[[Panel], timeseries.Panel | stat.Panel]] = {
    "lines": _timeseries,
    "stack": _timeseries,
    "stat": _stat,
    "light": _lit,
}


def _common(made: timeseries.Panel | stat.Panel, panel: Panel) -> timeseries.Panel | stat.Panel:
    made = made.title(panel.title).description(panel.meaning).unit(panel.unit).datasource(_SOURCE)
    if panel.none is not None:
        made = made.no_value(panel.none)
    steps = [Threshold(value=None, color="green")]
    if panel.limit is not None:
        steps.append(Threshold(value=panel.limit, color="red"))
    made = made.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.alert is not None:
        link = dashboard.DashboardLink(f"What to do: {panel.alert}").type(DashboardLinkType.LINK)
        made = made.links([link.url(f"${{runbooks}}/{panel.alert}.md").target_blank(True)])
    for place, (expression, legend) in enumerate(panel.queries):
        made = made.with_target(
            Dataquery().ref_id(chr(ord("A") + place)).expr(expression).legend_format(legend).range()
        )
    return made
