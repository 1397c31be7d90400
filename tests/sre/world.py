"""An installation with a Prometheus that looks at it; its windows are shorter by one factor."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import yarl

from service.core.sealing import new_key
from service.settings import ROLES
from tests.acceptance.installation import Installation
from tests.acceptance.processes import Process
from tests.integration.meta.business import SECRET
from tests.servers.cloud_api import CloudApi, Number
from tests.servers.fake_bridge import FakeBridge, fake_bridge
from tests.servers.rabbitmq import RabbitNode
from tests.sre.load import NOBODY_LISTENS, Caller, calling
from tests.sre.prometheus import RULE_FILES, Prometheus, running_prometheus, scaled

FACTOR = 30.0
LIMITS = {"hantar:limit:outbox_oldest_seconds": 6.0, "hantar:limit:webhooks_oldest_seconds": 15.0}
HEAL_SECONDS = 90.0
#: What has happened stays in their windows, whatever it was.
LINGERING = frozenset(
    {
        "HantarBudgetBurnsFast",
        "HantarBudgetBurnsSlowly",
        "HantarLeasesTakenOver",
        "HantarMessagesUnpointed",
        "HantarCommandsDead",
    }
)


@pytest.fixture
async def vhost(rabbit_node: RabbitNode) -> AsyncIterator[str]:
    """A vhost that nobody listens in on: the broker is killed here."""
    name = f"sre-{uuid.uuid4()}"
    yield await rabbit_node.create_vhost(name)
    await rabbit_node.delete_vhost(name)


@dataclass
class World:
    """What the failures are done to."""

    installation: Installation
    cloud: CloudApi
    bridge: FakeBridge
    rabbit: RabbitNode
    caller: Caller
    prometheus: Prometheus
    running: dict[str, Process]
    sent: int = field(default=0)

    @property
    def amqp_url(self) -> str:
        return self.installation.processes.environment["HANTAR_AMQP_URL"]


def _settings(cloud: CloudApi) -> Mapping[str, str]:
    """A mail server that is away, and a Cloud API."""
    return {
        "HANTAR_SIGNUP": "open",
        "HANTAR_SMTP_URL": NOBODY_LISTENS.replace("http", "smtp").rstrip("/"),
        "HANTAR_MAIL_FROM": "hantar@example.com",
        "HANTAR_PUBLIC_URL": "https://hantar.example.com",
        "HANTAR_META_BASE_URL": cloud.url,
    }


@asynccontextmanager
async def _running_cloud() -> AsyncIterator[CloudApi]:
    """A Cloud API with one number and no template."""
    number = Number("106540352242922", "102290129340398", "a-test-token", app_secret=SECRET)
    cloud = CloudApi(number)
    await cloud.start()
    try:
        yield cloud
    finally:
        await cloud.close()


@asynccontextmanager
async def running_world(
    installation: Installation, rabbit_node: RabbitNode, folder: Path
) -> AsyncIterator[World]:
    """A process of each role with a million credits, and a Prometheus that looks at them."""
    (folder / "secret.key").write_text(f"{new_key()}\n")
    async with _running_cloud() as cloud, fake_bridge() as bridge:
        installation.processes.environment |= {
            "HANTAR_WEBHOOK_ALLOW": "127.0.0.0/8",
            "HANTAR_SECRET_KEY_FILE": str(folder / "secret.key"),
            "HANTAR_WWEBJS_BRIDGE": str(bridge.socket),
            **_settings(cloud),
        }
        async with _watched(installation, rabbit_node, folder, cloud, bridge) as world:
            yield world


@asynccontextmanager
async def _watched(
    installation: Installation,
    rabbit_node: RabbitNode,
    folder: Path,
    cloud: CloudApi,
    bridge: FakeBridge,
) -> AsyncIterator[World]:
    started = dict(zip(ROLES, await installation.run(*ROLES), strict=True))
    ops = {
        role: (await process.ready())[1].removeprefix("http://")
        for role, process in started.items()
    }
    grant = await installation.processes.do(
        "credits", "grant", str(installation.account), "1000000"
    )
    assert grant.code == 0, grant
    async with (
        calling(installation, started["ingress"]) as caller,
        running_prometheus(
            folder / "prometheus",
            {"hantar": ops, "rabbitmq": {"rabbitmq": rabbit_node.metrics}},
            rules={file: scaled(file, FACTOR, LIMITS) for file in RULE_FILES},
        ) as prometheus,
    ):
        api, _ = await started["ingress"].ready()
        cloud.webhook_url = f"{api}/webhooks/meta"
        yield World(installation, cloud, bridge, rabbit_node, caller, prometheus, started)


@asynccontextmanager
async def under_load(world: World) -> AsyncIterator[None]:
    """Some twenty messages a second, whatever happens to them."""

    async def load() -> None:
        while True:
            with suppress(aiohttp.ClientError, AssertionError, TimeoutError):
                await world.caller.bulk(20, first=world.sent)
            world.sent += 20
            await asyncio.sleep(1)

    task = asyncio.create_task(load(), name="load")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def calm(world: World) -> None:
    """Return once no alert fires any more."""
    deadline = time.monotonic() + HEAL_SECONDS
    while firing := (await world.prometheus.firing()).keys() - LINGERING:
        assert time.monotonic() < deadline, f"still fires: {firing}"
        await asyncio.sleep(0.5)


async def unbind(world: World) -> None:
    """Take their bindings from the queues of all devices: nothing can be routed to them."""
    await _bindings(world, "DELETE")


async def bind(world: World) -> None:
    """Give them back."""
    await _bindings(world, "POST")


async def _bindings(world: World, method: str) -> None:
    vhost = yarl.URL(world.amqp_url).path[1:]
    for shard in world.installation.devices:
        for kind in ("express", "bulk"):
            name = f"dispatch.{shard:02d}.{kind}"
            path = f"/bindings/{vhost}/e/hantar.dispatch/q/{name}"
            body = {"routing_key": name} if method == "POST" else None
            await world.rabbit.manage(method, path if body else f"{path}/{name}", body)
