"""The dashboards as files: as their code says, complete, and about metrics that there are."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from deploy.grafana.__main__ import BOARDS
from deploy.grafana.overview import OVERVIEW
from deploy.grafana.panels import COLUMNS, Board, rendered
from tests.sre.boards import FOLDER, boards, queries
from tests.sre.drawing import LINES
from tests.sre.prometheus import alerts, expressions
from tests.sre.report import verified

TELEMETRY = Path(__file__).parents[2] / "service/telemetry"
UNITS = {"short", "none", "s", "dtdurations", "bytes", "ops", "mps", "reqps", "percentunit"}
SUFFIX = re.compile(r"_(total|bucket|sum|count)$")
NAME = re.compile(r"\b(hantar_\w+)")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_committed_file_is_what_the_code_makes(board: Board) -> None:
    assert (FOLDER / f"{board.uid}.json").read_text() == rendered(board), "run make dashboards"


def test_no_file_is_left_over() -> None:
    assert set(boards()) == {f"{board.uid}.json" for board in BOARDS}


@pytest.mark.parametrize("name", sorted(boards()))
def test_every_panel_explains_itself_and_has_its_place(name: str) -> None:
    board = boards()[name]
    panels = board["panels"]
    drawn = [panel for panel in panels if panel["type"] != "row"]
    assert board["uid"] == name.removesuffix(".json")
    assert [each["name"] for each in board["templating"]["list"]][:2] == ["datasource", "runbooks"]
    assert len({panel["id"] for panel in drawn}) == len(drawn)
    for panel in drawn:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        for link in panel.get("links", ()):
            assert Path(link["url"]).stem in alerts(), link
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_the_overview_fits_a_screen_and_each_alert_turns_one_of_its_rows_red() -> None:
    panels = boards()["hantar-overview.json"]["panels"]
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) <= LINES
    lit = [alert for row in OVERVIEW.rows for alert in row.alerts]
    assert sorted(lit) == sorted(alerts())


def names(texts: list[str]) -> set[str]:
    return {SUFFIX.sub("", name) for text in texts for name in NAME.findall(text)}


def test_every_metric_is_looked_at_and_every_one_looked_at_is_there() -> None:
    defined = [(TELEMETRY / file).read_text() for file in ("metrics.py", "samples.py")]
    known = {name for text in defined for name in re.findall(r'"(hantar_\w+)"', text)}
    used = names([*(query.expression for query in queries()), *expressions().values()])
    assert known - used == set()
    assert used - known == set()
    verified(
        "Verified",
        f"- {len(known)} metrics: a panel or rule looks at each, and none looks for another",
    )
