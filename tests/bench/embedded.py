"""100,000 contacts and a campaign to them on the embedded default: `make bench-embedded`.

Its one process is killed twice in each.
"""

from __future__ import annotations

import dataclasses
import sys

from service.ingress.csv_file import ROWS_LIMIT
from tests.acceptance.embedded import everything_through_kills
from tests.acceptance.processes import Processes

#: More than it has when it idles; a file of the largest size would take 50 MiB alone.
GROWTH_MEBIBYTES = 40.0


async def test_the_embedded_default_takes_the_largest_import_and_campaign(
    processes: Processes,
) -> None:
    figures = await everything_through_kills(processes, ROWS_LIMIT)
    for name, value in dataclasses.asdict(figures).items():
        shown = ", ".join(f"{each:.3f}" for each in (value if isinstance(value, list) else [value]))
        sys.stderr.write(f"{name} {shown}\n")
    peaks = [figures.import_mebibytes, figures.campaign_mebibytes, *figures.killed_mebibytes]
    assert max(peaks) < figures.idle_mebibytes + GROWTH_MEBIBYTES
