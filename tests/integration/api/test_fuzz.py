"""A fuzzer that knows nothing of Hantar but its OpenAPI document."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from service.ingress.api_page import DOCUMENT_PATH
from service.store.pool import Pool
from tests.system import Hantar, run_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 1
EXAMPLES = 5
LIMIT_SECONDS = 240
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Hantar without a quota, whose webhooks may only reach this machine."""
    open_quota = {"rate_per_second": 10_000, "rate_burst": 10_000}
    async for running in run_app(dsn, pool, webhook_allow="127.0.0.0/8", **open_quota):
        yield running


async def test_nothing_is_answered_that_is_not_documented(hantar: Hantar, tmp_path: Path) -> None:
    """No server error, no undocumented status, no answer that does not fit its schema."""
    account = await hantar.account()
    fuzzer = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "run"),
        *(hantar.api + DOCUMENT_PATH, "--url", f"{hantar.api}/api/v1"),
        *("-H", f"Authorization: Bearer {account.key}"),
        *("--seed", str(SEED), "--max-examples", str(EXAMPLES)),
        *("--phases", "examples,fuzzing", "--checks", ",".join(CHECKS)),
        *("--request-timeout", "10", "--no-color"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            told, _ = await fuzzer.communicate()
    finally:
        if fuzzer.returncode is None:
            fuzzer.kill()
    assert fuzzer.returncode == 0, told.decode()
