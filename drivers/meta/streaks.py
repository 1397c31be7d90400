"""Templates whose values are refused one after the other: then it is not for one person's sake."""

from __future__ import annotations

from dataclasses import replace

from drivers.driver import Failed, Outcome, Scope, Sent
from drivers.meta.errors import TEMPLATE_VARIABLES
from drivers.meta.standings import Named

#: So many refusals in a row stop a campaign; a few persons without a name do not.
MOST_IN_A_ROW = 10
#: Templates by device that are remembered; those longest in it are forgotten first.
REMEMBERED_LIMIT = 1000


class Streaks:
    """Turns the last of a row of such refusals into one of the template itself."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, Named], int] = {}

    def judge(self, device_id: int, named: Named, outcome: Outcome) -> Outcome:
        """What has come of a message with this template, in the order of the answers."""
        if isinstance(outcome, Sent):
            self._rows.pop((device_id, named), None)
        if not (isinstance(outcome, Failed) and outcome.code == TEMPLATE_VARIABLES):
            return outcome
        # Begun anew after the last one: whoever resumes the campaign may have mended it.
        row = self._rows.pop((device_id, named), 0) + 1
        if row >= MOST_IN_A_ROW:
            return replace(outcome, scope=Scope.TEMPLATE)
        self._rows[device_id, named] = row
        if len(self._rows) > REMEMBERED_LIMIT:
            del self._rows[next(iter(self._rows))]
        return outcome
