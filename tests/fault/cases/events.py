"""Status events repeated, reordered, unknown or poisonous; dead commands; descriptors used up."""

from __future__ import annotations

import asyncio
import resource
from datetime import UTC, datetime
from typing import Any

import aio_pika
import orjson

from service.bus.topology import CALLBACKS, DISPATCH, dispatch_queue
from tests.fault.case import case, load
from tests.fault.cases.amid import amid, usual
from tests.fault.world import World
from tests.system import eventually


async def _publish(world: World, exchange: str, key: str, *bodies: bytes) -> None:
    url = world.servers.amqp_url(world.vhost)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        target = await channel.get_exchange(exchange)
        for body in bodies:
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await target.publish(message, key)


def _callbacks(*items: dict[str, Any]) -> bytes:
    at = datetime.now(UTC).isoformat()
    return orjson.dumps({"statuses": [{"at": at} | item for item in items]})


async def _repeat(world: World, connections: int = 4) -> None:
    """Every callback so far one to five times more, in any order, on several connections."""
    called = [call for call in world.calls() if call["accept"]]

    async def one() -> None:
        bodies = []
        for call in called:
            for status in world.seeded.choices(["sent", "delivered"], k=world.seeded.randint(1, 5)):
                item = {"message_id": call["id"], "attempt": call["attempt"], "status": status}
                bodies.append(_callbacks(item))
        world.seeded.shuffle(bodies)
        await _publish(world, CALLBACKS, CALLBACKS, *bodies[:600])

    await asyncio.gather(*(one() for _ in range(connections)))


@case("F71", "every event one to five times, in any order, on four connections")
async def repeated(world: World) -> None:
    await world.provider.tell(
        default={
            "answer": "sent",
            "accept": True,
            "callbacks": [["sent", 0.05], ["delivered", 0.1]],
        }
    )
    await usual(world)

    async def strike() -> None:
        await _repeat(world)

    await amid(world, "events repeated", strike, calls=80)


@case("F71b", "the same, and the recorder is killed amid")
async def repeated_and_killed(world: World) -> None:
    roles = await usual(world)

    async def strike() -> None:
        world.kill(roles.recorder)
        await _repeat(world, 2)

    await amid(world, "events repeated, recorder killed", strike, calls=80)


@case("F73", "events of unknown messages, and of attempts that never were")
async def unknown(world: World) -> None:
    await usual(world)

    async def strike() -> None:
        items = [
            {"message_id": 10**12 + place, "attempt": 1, "status": "delivered"}
            for place in range(50)
        ]
        await _publish(world, CALLBACKS, CALLBACKS, *(_callbacks(item) for item in items))

    await amid(world, "unknown events", strike)


@case("F75", "poison between good events and commands: set aside, the rest flows")
async def poison(world: World) -> None:
    roles = await usual(world)
    bodies = [b"", b"{", b"\xff\xfe", b"null", b"[]", b'{"statuses": 7}', b'{"ids": []}']
    bodies.append(_callbacks({"message_id": -1, "attempt": 1, "status": "sent"}))
    bodies.append(_callbacks({"message_id": 1, "attempt": 1, "status": "queued"}))
    bodies.append(b'{"statuses": [' + b"[" * 5000 + b"]}")
    bodies.append(b'"' + b"x" * 2_000_000 + b'"')

    async def strike() -> None:
        for _ in range(5):
            await _publish(world, CALLBACKS, CALLBACKS, *bodies)
            for express in (True, False):
                key = dispatch_queue(0, express=express)
                await _publish(world, DISPATCH, key, *bodies)
            await asyncio.sleep(0.3)

    await amid(world, "poison", strike)
    assert all(child.starts == 1 for child in roles.all), "poison ended a process"


@case("F75b", "forged commands: messages of others, done, unknown, on the wrong shard")
async def forged(world: World) -> None:
    await usual(world)
    [first, second] = list(world.tenants[0].devices)

    async def strike() -> None:
        ids = [call["id"] for call in world.calls()]
        rows = await world.query("SELECT id FROM messages")
        ids += [*(row["id"] for row in rows[:100]), 10**12]
        for device in (first, second, 10**9):
            body = orjson.dumps({"device": device, "priority": 0, "ids": ids[:100]})
            for shard in (0, 1):
                await _publish(world, DISPATCH, dispatch_queue(shard, express=True), body, body)

    await amid(world, "forged commands", strike)


@case("F41c", "all of a dispatcher's commands dead-lettered: none of their messages rests")
async def dead_letters(world: World) -> None:
    world.no_second_look()
    roles = await usual(world)

    async def strike() -> None:
        rows = await world.query("SELECT id, device_id FROM messages WHERE status = 'queued'")
        for device in world.tenants[0].devices:
            ids = [row["id"] for row in rows if row["device_id"] == device][:100]
            body = orjson.dumps({"device": device, "priority": 2, "ids": ids})
            await _publish(world, "hantar.dead", "hantar.dispatch.dead", body)
        world.kill(roles.dispatcher)

    await amid(world, "dead letters", strike)


@case("F84", "ingress and dispatcher run out of file descriptors, and get them back")
async def no_descriptors(world: World) -> None:
    roles = await usual(world)

    async def strike() -> None:
        limits = {}
        for child in (roles.ingress, roles.dispatcher):
            limits[child.pid] = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (12, limits[child.pid][1]))
        await world.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await asyncio.sleep(3)
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)

    await amid(world, "no descriptors", strike)


@case("F31", "a slow device's backlog: no command is held unacked, however long it waits")
async def nothing_held(world: World) -> None:
    slow = await world.tenant(1, rate=5.0)
    roles = await usual(world)
    tenant = world.tenants[0]
    bulk = await world.client.bulk(slow, 600)
    assert bulk.status == 202

    async def parked() -> bool:
        [row] = await world.query("SELECT count(*) FROM parked")
        return bool(row["count"] >= 200)

    await eventually(parked)
    world.struck("a backlog of two minutes")
    await load(world)
    world.kill(roles.dispatcher)
    await eventually(lambda: _sent(world, tenant.account), within_seconds=30)
    # What is left would take two minutes; it is cancelled by its device's limit going.
    [device] = slow.devices
    await world.query("UPDATE devices SET per_second = 200 WHERE id = $1 RETURNING id", device)
    world.limits[device] = [(0.0, 200.0)]


async def _sent(world: World, account: int) -> bool:
    [row] = await world.query(
        "SELECT count(*) FROM messages WHERE account_id = $1 AND status IN ('queued', 'sending')",
        account,
    )
    return bool(row["count"] == 0)
