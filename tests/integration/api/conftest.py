"""One running Hantar per module, and an account per test; no test may leave an error in the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser
from structlog.testing import capture_logs
from structlog.typing import EventDict

from service.embedded import EmbeddedPostgres
from service.store.pool import Pool, open_pool
from tests.database import database as database
from tests.servers.chromium import running_chromium
from tests.system import Account, Hantar, run_app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dsn(postgres_server: EmbeddedPostgres, template_database: str) -> AsyncIterator[str]:
    """A migrated database of the module's own."""
    async for address in database(postgres_server.dsn, template_database):
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """Connections to the module's database."""
    opened = await open_pool(dsn, name="test", size=10)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Hantar in one process, shared by the tests of the module."""
    async for running in run_app(dsn, pool):
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def account(hantar: Hantar) -> Account:
    """An account of the test's own, with a key, a device and a thousand credits."""
    return await hantar.account()


@pytest.fixture(autouse=True)
def events(caplog: pytest.LogCaptureFixture) -> Iterator[list[EventDict]]:
    """What is logged during the test; errors and tracebacks fail it."""
    with capture_logs() as captured:
        yield captured
    for event in captured:
        sys.stdout.write(f"{event}\n")  # it is read for canaries
    errors = [event for event in captured if event["log_level"] in ("error", "critical")]
    assert errors == []
    records = caplog.get_records("call")
    assert [record for record in records if record.levelno >= logging.ERROR] == []


@pytest_asyncio.fixture(loop_scope="module")
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A real Chromium of the test's own, on the module's loop."""
    async with running_chromium(tmp_path) as running:
        yield running
