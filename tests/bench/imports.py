"""The largest import, its worker killed twice: `make bench-imports`."""

from __future__ import annotations

import dataclasses
import sys

from service.ingress.csv_file import ROWS_LIMIT
from tests.acceptance.imports import import_through_kills
from tests.acceptance.installation import Installation


async def test_the_largest_import_survives_two_kills(installation: Installation) -> None:
    figures = await import_through_kills(installation, ROWS_LIMIT)
    for name, value in dataclasses.asdict(figures).items():
        sys.stderr.write(f"{name} {value:.3f}\n")
