"""The receiver of schemas/examples, in Node with the official library, takes every webhook."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.store.pool import Pool
from tests.integration.test_webhooks import deliveries, listen, send
from tests.servers.node_folder import free_ports
from tests.servers.node_packages import NODE_FOLDERS, find_node, node_modules
from tests.system import Hantar, eventually, run_app

FOLDER = NODE_FOLDERS["webhook_example"]
START_SECONDS = 30


@dataclass
class Example:
    """The receiver's place, and what it took and refused over all its lives."""

    folder: Path
    port: int
    taken: list[Any]
    refused: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @asynccontextmanager
    async def running(self, secret: str) -> AsyncIterator[None]:
        """One life of it, which knows this secret alone."""
        process = await asyncio.create_subprocess_exec(
            find_node(),
            "receiver.js",
            cwd=self.folder,
            env={"PATH": os.defpath, "WEBHOOK_SECRET": secret, "PORT": str(self.port)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                first = await process.stderr.readline()
            assert first.startswith(b"listening"), first
            reading = [
                asyncio.create_task(_read(process.stdout, self.take)),
                asyncio.create_task(_read(process.stderr, self.refused.append)),
            ]
            yield
        finally:
            process.terminate()
            await process.wait()
        await asyncio.gather(*reading)

    def take(self, line: str) -> None:
        self.taken.append(json.loads(line))

    def seqs(self) -> dict[int, list[int]]:
        """The numbers of the changes taken of each message."""
        found: dict[int, list[int]] = defaultdict(list)
        for document in self.taken:
            for event in document["data"].get("events", ()):
                found[event["message_id"]].append(event["seq"])
        return {id_: sorted(seqs) for id_, seqs in found.items()}


async def _read(stream: asyncio.StreamReader, take: Any) -> None:
    while line := await stream.readline():
        take(line.decode())


@pytest.fixture
def webhook_example(tmp_path: Path) -> Example:
    shutil.copy(FOLDER / "receiver.js", tmp_path)
    shutil.copy(FOLDER / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules(FOLDER))
    return Example(tmp_path, free_ports(1)[0], [], [])


@pytest.fixture
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    running = asynccontextmanager(run_app)
    async with running(dsn, pool, webhook_allow="127.0.0.0/8") as made:
        yield made


async def test_every_webhook_is_verified_over_a_rotation_and_an_outage(
    hantar: Hantar, webhook_example: Example
) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, webhook_example.url, events=["message.*"])
    path = f"/webhook-endpoints/{endpoint['id']}"

    async def told() -> bool:
        rows = await hantar.pool.fetch("SELECT id, seq FROM messages WHERE status = 'delivered'")
        whole = {row["id"]: list(range(1, row["seq"] + 1)) for row in rows}
        return len(whole) == len(ids) and webhook_example.seqs() == whole

    async def failing() -> Any:
        shown = (await hantar.get(path, account)).json["data"]
        return shown["failing_since"]

    async with webhook_example.running(endpoint["secret"]):
        ids = await send(hantar, account, 20)
        await eventually(told)
        rotated = await hantar.post(f"{path}/rotate-secret", account, {"overlap_seconds": 3600})
        # Both secrets sign, so that who has not changed it yet still verifies.
        ids += await send(hantar, account, 20)
        await eventually(told)
    ids += await send(hantar, account, 20)
    await eventually(failing)
    async with webhook_example.running(rotated.json["data"]["secret"]):
        ids += await send(hantar, account, 20)
        await eventually(told, within_seconds=60)
        assert webhook_example.refused == []
        # The receiver says it took them before Hantar has noted that.
        await eventually(lambda: _none_pending(hantar, account, endpoint))
    assert len({document["id"] for document in webhook_example.taken}) == len(webhook_example.taken)


async def _none_pending(hantar: Hantar, account: Any, endpoint: Any) -> bool:
    return not await deliveries(hantar, account, endpoint, "pending")


async def test_what_was_not_signed_with_its_secret_is_refused(
    hantar: Hantar, webhook_example: Example
) -> None:
    """So that the example's word counts."""
    account = await hantar.account()
    await listen(hantar, account, webhook_example.url, events=["message.*"])
    async with webhook_example.running("whsec_" + "A" * 43 + "="):
        await send(hantar, account)

        async def refused() -> bool:
            return bool(webhook_example.refused)

        await eventually(refused)
        assert webhook_example.taken == []
