"""Ten real failures under load: the right alert fires, in its time, and only those that should.

Windows, waits and some limits are shorter here by one factor; everything else is as deployed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from drivers.simulator.numbers import PREFIX
from tests.acceptance.installation import Installation
from tests.declared import undeclared
from tests.servers.rabbitmq import RabbitNode
from tests.sre.load import NOBODY_LISTENS
from tests.sre.quiet import quiet_queries
from tests.sre.report import verified
from tests.sre.stirring import everything_moved, stir
from tests.sre.world import (
    LINGERING,
    World,
    bind,
    calm,
    running_world,
    unbind,
    under_load,
    vhost,
)
from tests.system import eventually

__all__ = ["vhost"]

#: From the failure to its alert; the longest wait of a rule is 20 s here.
FIRE_SECONDS = 60.0
#: Whose answer the simulator makes ten seconds later.
SLOW_PHONE = f"{PREFIX}07"
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


@dataclass(frozen=True, slots=True)
class Failure:
    """How it is made and mended, the alert it is for, and those that may come along."""

    name: str
    alert: str
    make: Callable[[World], Awaitable[None]]
    mend: Callable[[World], Awaitable[None]]
    along: frozenset[str] = frozenset()


async def kill_dispatcher(world: World) -> None:
    """In the middle of a call, which takes ten seconds."""
    device = world.installation.devices[0]
    await world.caller.post(
        "/messages/send", {"phone": SLOW_PHONE, "body": "slow", "device": device}
    )
    begun = "SELECT count(*) FROM messages WHERE phone = $1 AND status = 'sending'"
    await eventually(lambda: world.installation.pool.fetchval(begun, SLOW_PHONE))
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
    # By itself the rate grows back, which takes minutes.
    await world.installation.pool.execute("UPDATE devices SET rate_factor = 1, factor_until = NULL")


async def add_dead_endpoint(world: World) -> None:
    await world.caller.post("/webhook-endpoints", {"url": NOBODY_LISTENS, "events": ["*"]})


FAILURES = [
    Failure(
        "dispatcher killed",
        "HantarShardsUnserved",
        kill_dispatcher,
        start_dispatcher,
        frozenset({"HantarProcessDown"}),
    ),
    Failure(
        "broker killed",
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
    Failure("device that delivers nothing", "HantarDeviceSilent", sql(MUTE), sql(NOT_MUTE)),
    Failure(
        "token refused", "HantarDeviceStopped", simulate("#simulate token_refused"), resume_devices
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
        began = time.monotonic()
        report = [await _provoke(world, failure) for failure in FAILURES]
        await stir(world)
        await everything_moved(world, began)
        series = await world.prometheus.series()
        assert undeclared(series) == []
    verified("Provoked", "| failure | alert | after | with |", "| --- | --- | --- | --- |", *report)
    verified(
        "Then",
        f"- each of the {len(quiet_queries())} queries that may be zero under load showed more",
        f"- none of {len(series)} series of ours had a label value that was not declared",
    )


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
    sys.stdout.write(f"{failure.name}: {firing.get(failure.alert, '')}\n")
    came = ", ".join(sorted(firing.keys() - {failure.alert} - LINGERING))
    return f"| {failure.name} | {failure.alert} | {seen[failure.alert]:.1f} s | {came} |"
