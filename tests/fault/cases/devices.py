"""Devices, contacts and clocks change amid a backlog; dispatchers restart, stop and wait."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fault.case import case, load
from tests.fault.cases.amid import amid, usual
from tests.fault.cases.kills import DISPATCHER, INGRESS, RECORDER
from tests.fault.world import RATE, World


@case("F53", "dispatcher killed every second, eight times: its budget survives")
async def restart_loop(world: World) -> None:
    roles = await usual(world)

    async def strike() -> None:
        for _ in range(8):
            await asyncio.sleep(1)
            world.kill(roles.dispatcher)

    await amid(world, "restart loop", strike, bulk=900)


@case("F53b", "the dispatcher's wall clock runs three times as fast")
async def wall_clock(world: World) -> None:
    await world.start(INGRESS, RECORDER)
    await world.start(DISPATCHER, settings={"FAULT_WALL_FACTOR": "3"})

    async def strike() -> None:
        await asyncio.sleep(2)

    await amid(world, "wall clock hurries", strike, bulk=600)


async def _limit(world: World, per_second: float) -> None:
    """Change the limits of the first tenant's devices, and know from when they hold.

    Every owner reads its devices once a second; the windows in between belong to neither limit.
    """
    for device in world.tenants[0].devices:
        await world.query(
            "UPDATE devices SET per_second = $2 WHERE id = $1 RETURNING id", device, per_second
        )
        now = time.monotonic()
        between = max(per_second, world.limits[device][-1][1])
        world.limits[device] += [(now, between), (now + 2.5, per_second)]


@case("F54a", "limit lowered to a quarter amid the backlog")
async def lowered(world: World) -> None:
    await usual(world)

    async def strike() -> None:
        await _limit(world, RATE / 4)
        await asyncio.sleep(4)

    await amid(world, "limit lowered", strike, bulk=500)


@case("F54b", "limit raised twofold amid the backlog")
async def raised(world: World) -> None:
    await usual(world)

    async def strike() -> None:
        await _limit(world, RATE * 2)
        await asyncio.sleep(3)

    await amid(world, "limit raised", strike, bulk=900)


async def _state(world: World, device: int, **fields: Any) -> None:
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(fields, 2))
    await world.query(
        f"UPDATE devices SET {sets} WHERE id = $1 RETURNING id", device, *fields.values()
    )


@case("F54c", "device deleted amid its backlog: the rest is skipped and given back")
async def deleted(world: World) -> None:
    await usual(world)
    tenant = await world.tenant(1)
    [device] = tenant.devices
    working = asyncio.create_task(load(world))
    bulk = await world.client.bulk(tenant, 500)
    assert bulk.status == 202
    world.struck("device deleted")
    await _state(world, device, deleted_at=datetime.now(UTC))
    await working


@case("F56", "session lost amid the backlog, linked again: messages wait")
async def session_lost(world: World) -> None:
    await usual(world)
    device = next(iter(world.tenants[0].devices))

    async def strike() -> None:
        await _state(world, device, state="logged_out")
        await asyncio.sleep(3)
        await _state(world, device, state="ready")

    await amid(world, "session lost", strike, bulk=500)


@case("F55a", "SIGTERM to the dispatcher with calls in flight: exit code 0, none in doubt")
async def terminated(world: World) -> None:
    await world.provider.tell(
        default={"answer": "sent", "accept": True, "delay": 0.5, "callbacks": [["delivered", 0.6]]}
    )
    roles = await usual(world)

    async def strike() -> None:
        roles.dispatcher.left = True
        code = await roles.dispatcher.process.terminate()
        assert code == 0, f"exit code {code}"
        roles.dispatcher.left = False

    await amid(world, "SIGTERM dispatcher", strike)
    rows = await world.query("SELECT count(*) FROM messages WHERE status = 'unconfirmed'")
    assert rows[0]["count"] == 0, "messages in doubt after an orderly stop"


@case("F55b", "every process replaced in turn under load, exit codes 0")
async def rolling(world: World) -> None:
    roles = await usual(world)

    async def strike() -> None:
        for child in roles.all:
            child.left = True
            code = await child.process.terminate()
            assert code == 0, f"{child.roles}: exit code {code}"
            world.start_again(child)
            await child.process.ready()
            child.left = False

    await amid(world, "rolling restart", strike, bulk=500, singles=60)


@case("F57", "half of a bulk's people opt out before it is sent: none of them gets it")
async def opted_out(world: World) -> None:
    roles = await usual(world)
    roles.dispatcher.left = True
    await roles.dispatcher.process.terminate()
    tenant = world.tenants[0]
    bulk = await world.client.bulk(tenant, 300)
    out = [item["phone"] for item in bulk.json["queued"]][::2]
    world.struck("half opt out")
    for phone in out[:20]:
        made = await world.client.call(
            tenant, "POST", "/contacts", {"phone": phone, "name": "B", "attributes": {}}
        )
        identity = made.json["data"]["id"]
        done = await world.client.call(
            tenant, "PATCH", f"/contacts/{identity}", {"opted_out": True}
        )
        assert done.status == 200, done
        world.opted_out[tenant.account, phone] = time.monotonic()
    roles.dispatcher.left = False
    await load(world, bulk=0)
    await world.until_called(200)


@case("F57b", "people opt out while their messages go out, and the dispatcher dies")
async def opting_out_amid(world: World) -> None:
    roles = await usual(world)
    tenant = world.tenants[0]
    bulk = await world.client.bulk(tenant, 600)
    phones = [item["phone"] for item in bulk.json["queued"]]
    working = asyncio.create_task(load(world, bulk=0))
    for place, phone in enumerate(world.seeded.sample(phones, 12)):
        made = await world.client.call(tenant, "POST", "/contacts", {"phone": phone, "name": "B"})
        path = f"/contacts/{made.json['data']['id']}"
        done = await world.client.call(tenant, "PATCH", path, {"opted_out": True})
        assert done.status == 200, done
        world.opted_out[tenant.account, phone] = time.monotonic()
        if place == 5:
            world.kill(roles.dispatcher)
    await working


@case("F59", "contact and device renamed or deleted while messages are queued")
async def contact_deleted(world: World) -> None:
    await usual(world)
    tenant = world.tenants[0]

    async def strike() -> None:
        listed = await world.client.call(tenant, "GET", "/contacts")
        for contact in listed.json["data"]:
            await world.client.call(tenant, "DELETE", f"/contacts/{contact['id']}")
        for device in tenant.devices:
            await _state(world, device, name="renamed")

    body: dict[str, Any] = {"name": "C", "save_contact": True}
    replies = await asyncio.gather(*(world.client.send(tenant, **body) for _ in range(15)))
    assert {reply.status for reply in replies} == {202}
    await amid(world, "contacts deleted", strike)


@case("F60", "their time passes while no dispatcher runs: expired, given back, never sent late")
async def expired(world: World) -> None:
    roles = await usual(world)
    roles.dispatcher.left = True
    await roles.dispatcher.process.terminate()
    world.struck("dispatcher away")
    at = datetime.now(UTC) + timedelta(seconds=2)
    bulk = await world.client.bulk(world.tenants[0], 100, expires_at=at.isoformat())
    assert bulk.status == 202, bulk
    working = asyncio.create_task(load(world))
    await asyncio.sleep(3)
    world.struck("dispatcher back")
    roles.dispatcher.left = False
    await working
    ids = set(bulk.ids)
    assert not ids & {call["id"] for call in world.calls()}, "sent after its time"
