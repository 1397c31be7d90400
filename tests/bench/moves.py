"""Twenty campaigns of 5,000, paused, resumed and cancelled at random: `make bench-moves`.

Every seed is a campaign of its own, so that one that fails can be played again alone: SEED=n.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator

import pytest

from service.store.pool import Pool
from tests.integration.campaign_moves import SETTINGS, play
from tests.system import Hantar, run_app

RECIPIENTS = 5000
CAMPAIGNS = 20
SEEDS = [int(os.environ["SEED"])] if os.environ.get("SEED") else list(range(1, CAMPAIGNS + 1))


@pytest.fixture
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Whoever is called twice is found out."""
    async for running in run_app(dsn, pool, **SETTINGS):
        yield running


async def test_nobody_gets_it_twice_or_after_a_cancel(hantar: Hantar) -> None:
    for seed in SEEDS:
        began = time.monotonic()
        played = await play(hantar, RECIPIENTS, seed, cancel=seed % 2 == 0)
        sys.stderr.write(
            f"seed {seed}: {played.status} after {dict(played.moves)}, "
            f"{played.reached} of {RECIPIENTS} reached once, {time.monotonic() - began:.1f} s\n"
        )
    assert await hantar.drifting() == []
