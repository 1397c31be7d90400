"""An import is worked off exactly once, whoever dies on the way."""

from __future__ import annotations

from tests.acceptance.imports import import_through_kills
from tests.acceptance.installation import Installation


async def test_an_import_survives_two_kills_of_its_worker(installation: Installation) -> None:
    await import_through_kills(installation, 4000)
