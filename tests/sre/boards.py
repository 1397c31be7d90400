"""The committed dashboards, as their readers see them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "deploy/grafana/dashboards"
_LEGEND = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel."""

    panel: str
    letter: str
    expression: str
    #: what its legend shows
    labels: frozenset[str]

    @property
    def where(self) -> str:
        """The place of it alone."""
        return f"{self.panel} {self.letter}"

    def asked(self, *, window: str) -> str:
        """The expression with the variables as Grafana fills them in for "all"."""
        return asked(self.expression, window=window)


def asked(expression: str, *, window: str) -> str:
    """The expression with the variables as Grafana fills them in for "all"."""
    filled = expression.replace("$__rate_interval", window)
    return filled.replace("$job", ".*").replace("$instance", ".*")


def boards() -> dict[str, dict[str, Any]]:
    """The JSON of each, by its file."""
    return {file.name: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}


def queries() -> Iterator[Query]:
    """Every query of every panel."""
    for board in boards().values():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                # Titles repeat in other rows; numbers do not.
                name = f"{board['title']}, {panel['title']} ({panel['id']})"
                labels = frozenset(_LEGEND.findall(target["legendFormat"]))
                yield Query(name, target["refId"], target["expr"], labels)
