"""Writes the JSON of every dashboard."""

from __future__ import annotations

from pathlib import Path

from deploy.grafana.bulk import BULK
from deploy.grafana.dispatch import DISPATCH
from deploy.grafana.infrastructure import INFRASTRUCTURE
from deploy.grafana.overview import OVERVIEW
from deploy.grafana.panels import rendered

BOARDS = (OVERVIEW, DISPATCH, BULK, INFRASTRUCTURE)
FOLDER = Path(__file__).parent / "dashboards"


def main() -> None:
    """Each to its file."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(rendered(board))


if __name__ == "__main__":
    main()
