"""Ten real failures under load: the right alert fires, in its time, and only those that should.

Windows, waits and some limits are shorter here by one factor; everything else is as deployed.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
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
from tests.servers.rabbitmq import RabbitNode
from tests.sre.load import NOBODY_LISTENS, Caller, calling
from tests.sre.prometheus import RULE_FILES, Prometheus, running_prometheus, scaled

FACTOR = 30.0
LIMITS = {"hantar:limit:outbox_oldest_seconds": 6.0, "hantar:limit:webhooks_oldest_seconds": 15.0}
#: From the failure to its alert; the longest wait of a rule is 20 s here.
FIRE_SECONDS = 60.0
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
SLOW = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER UPDATE ON messages FOR EACH STATEMENT EXECUTE FUNCTION dawdle();
"""
NOT_SLOW = "DROP TRIGGER slow ON messages; DROP FUNCTION dawdle"
MUTE = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER mute BEFORE INSERT ON simulator_owed FOR EACH ROW EXECUTE FUNCTION lose();
"""
NOT_MUTE = "DROP TRIGGER mute ON simulator_owed; DROP FUNCTION lose"


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
    rabbit: RabbitNode
    caller: Caller
    prometheus: Prometheus
    running: dict[str, Process]
    sent: int = field(default=0)

    @property
    def amqp_url(self) -> str:
        return self.installation.processes.environment["HANTAR_AMQP_URL"]


@dataclass(frozen=True, slots=True)
class Failure:
    """How it is made and mended, the alert it is for, and those that may come along."""

    name: str
    alert: str
    make: Callable[[World], Awaitable[None]]
    mend: Callable[[World], Awaitable[None]]
    along: frozenset[str] = frozenset()


async def kill_dispatcher(world: World) -> None:
    world.running["dispatcher"].kill()


async def start_dispatcher(world: World) -> None:
    ops = world.running["dispatcher"].events("started")[0]["ops"].removeprefix("http://")
    process = world.installation.processes.start(
        "run", "--roles", "dispatcher", "--ops-listen", ops
    )
    await process.ready()
    world.running["dispatcher"] = process


async def kill_broker(world: World) -> None:
    world.rabbit.kill()


async def start_broker(world: World) -> None:
    world.rabbit.launch()
    await asyncio.to_thread(world.rabbit.await_ready)


async def raise_alarm(world: World) -> None:
    await world.rabbit.control("set_vm_memory_high_watermark", "absolute", "1MB")


async def end_alarm(world: World) -> None:
    await world.rabbit.control("set_vm_memory_high_watermark", "absolute", "1GB")


def sql(statement: str) -> Callable[[World], Awaitable[None]]:
    async def run(world: World) -> None:
        await world.installation.pool.execute(statement)

    return run


def simulate(text: str) -> Callable[[World], Awaitable[None]]:
    async def send(world: World) -> None:
        for n in range(30 if "throttled" in text else 1):
            await world.caller.post(
                "/messages/send",
                {
                    "phone": f"+6012{7000000 + n}",
                    "body": text,
                    "device": world.installation.devices[0],
                },
            )

    return send


async def resume_devices(world: World) -> None:
    stopped = await world.installation.pool.fetch("SELECT id FROM devices WHERE state = 'error'")
    for row in stopped:
        await world.caller.post(f"/devices/{row['id']}/resume", {})


async def end_throttling(world: World) -> None:
    await world.installation.pool.execute(
        "UPDATE messages SET status = 'cancelled'"
        " WHERE body LIKE '#simulate%' AND status = 'queued'"
    )


async def add_dead_endpoint(world: World) -> None:
    await world.caller.post("/webhook-endpoints", {"url": NOBODY_LISTENS, "events": ["*"]})


async def unbind(world: World) -> None:
    await _bindings(world, "DELETE")


async def bind(world: World) -> None:
    await _bindings(world, "POST")


async def _bindings(world: World, method: str) -> None:
    vhost = yarl.URL(world.amqp_url).path[1:]
    for shard in world.installation.devices:
        for kind in ("express", "bulk"):
            name = f"dispatch.{shard:02d}.{kind}"
            path = f"/bindings/{vhost}/e/hantar.dispatch/q/{name}"
            body = {"routing_key": name} if method == "POST" else None
            await world.rabbit.manage(method, path if body else f"{path}/{name}", body)


FAILURES = [
    Failure(
        "dispatcher dead",
        "HantarShardsUnserved",
        kill_dispatcher,
        start_dispatcher,
        frozenset({"HantarProcessDown"}),
    ),
    Failure(
        "broker down",
        "HantarBrokerUnreachable",
        kill_broker,
        start_broker,
        frozenset(
            {
                "HantarOutboxStuck",
                "HantarConsumersMissing",
                "HantarPublishesFail",
                "HantarNotReady",
                "HantarShardsUnserved",
            }
        ),
    ),
    Failure(
        "memory alarm",
        "HantarBrokerAlarm",
        raise_alarm,
        end_alarm,
        frozenset({"HantarOutboxStuck", "HantarPublishesFail", "HantarNotReady"}),
    ),
    Failure(
        "slow database",
        "HantarDatabaseSlow",
        sql(SLOW),
        sql(NOT_SLOW),
        frozenset({"HantarLanesStalled", "HantarOutboxStuck", "HantarPoolExhausted"}),
    ),
    Failure(
        "device throttled",
        "HantarDeviceThrottled",
        simulate("#simulate throttled 9"),
        end_throttling,
    ),
    Failure("zombie device", "HantarDeviceSilent", sql(MUTE), sql(NOT_MUTE)),
    Failure(
        "token expired", "HantarDeviceStopped", simulate("#simulate token_refused"), resume_devices
    ),
    Failure(
        "webhook endpoint dead",
        "HantarWebhookEndpointRefuses",
        add_dead_endpoint,
        sql("DELETE FROM webhook_endpoints"),
        frozenset({"HantarWebhooksLate"}),
    ),
    Failure(
        "ledger tampered with",
        "HantarCreditsDrift",
        sql("UPDATE accounts SET balance = balance + 7"),
        sql("UPDATE accounts SET balance = balance - 7"),
    ),
    Failure(
        "outbox stuck",
        "HantarOutboxStuck",
        unbind,
        bind,
        frozenset({"HantarPublishesFail", "HantarNotReady"}),
    ),
]


async def test_ten_failures_are_told_by_the_right_alert(
    installation: Installation, rabbit_node: RabbitNode, tmp_path: Path
) -> None:
    async with running_world(installation, rabbit_node, tmp_path) as world, under_load(world):
        await calm(world)
        report = [await _provoke(world, failure) for failure in FAILURES]
    sys.stdout.write("\n" + "\n".join(report) + "\n")


@asynccontextmanager
async def running_world(
    installation: Installation, rabbit_node: RabbitNode, folder: Path
) -> AsyncIterator[World]:
    """A process of each role with a million credits, and a Prometheus that looks at them."""
    (folder / "secret.key").write_text(f"{new_key()}\n")
    installation.processes.environment |= {
        "HANTAR_WEBHOOK_ALLOW": "127.0.0.0/8",
        "HANTAR_SECRET_KEY_FILE": str(folder / "secret.key"),
    }
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
        yield World(installation, rabbit_node, caller, prometheus, started)


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


async def _provoke(world: World, failure: Failure) -> str:
    began = time.monotonic()
    seen: dict[str, float] = {}
    await failure.make(world)
    while failure.alert not in seen:
        for name in await world.prometheus.firing():
            seen.setdefault(name, time.monotonic() - began)
        assert time.monotonic() - began < FIRE_SECONDS, f"{failure.name}: only {sorted(seen)}"
        await asyncio.sleep(0.5)
    await asyncio.sleep(5)
    firing = await world.prometheus.firing()
    others = firing.keys() - {failure.alert} - failure.along - LINGERING
    await failure.mend(world)
    assert not others, f"{failure.name}: {others} too"
    await calm(world)
    came = ", ".join(sorted(firing.keys() - {failure.alert} - LINGERING)) or "nothing else"
    return (
        f"{failure.name:22} {failure.alert:30} after {seen[failure.alert]:4.1f} s, with {came}: "
        f"{firing.get(failure.alert, '')}"
    )


async def calm(world: World) -> None:
    """Return once no alert fires any more."""
    deadline = time.monotonic() + HEAL_SECONDS
    while firing := (await world.prometheus.firing()).keys() - LINGERING:
        assert time.monotonic() < deadline, f"still fires: {firing}"
        await asyncio.sleep(0.5)
