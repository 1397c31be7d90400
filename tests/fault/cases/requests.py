"""Requests that collide, and an ingress that is told to stop, starved or kept waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import asyncpg

from tests.fault.case import case, load
from tests.fault.cases.amid import amid, usual
from tests.fault.client import Reply
from tests.fault.proxy import proxy_to
from tests.fault.world import World
from tests.system import eventually


@case("F06b", "half of each answer reaches the client, then a reset")
async def half_answers(world: World) -> None:
    roles = await usual(world)
    port = int(roles.ingress.settings["HANTAR_LISTEN"].rpartition(":")[2])
    async with proxy_to(lambda: port) as proxy:
        world.client.api = lambda: f"http://127.0.0.1:{proxy.port}"
        working = asyncio.create_task(load(world))
        for _ in range(4):
            world.struck("half an answer")
            proxy.back.reset_after_bytes = 300
            await asyncio.sleep(0.3)
        proxy.heal()
        await working
        world.client.api = lambda: f"http://127.0.0.1:{port}"


@case("F08", "SIGTERM amid bulks: each answered or refused whole, exit code 0")
async def terminated(world: World) -> None:
    roles = await usual(world)
    roles.ingress.left = True
    working = asyncio.create_task(load(world, bulk=1000))
    await asyncio.sleep(0.15)
    world.struck("SIGTERM ingress")
    code = await roles.ingress.process.terminate()
    assert code == 0, f"exit code {code}"
    roles.ingress.left = False
    await working


@case("F09", "SIGTERM, a second one, then SIGKILL, for each role")
async def hurried(world: World) -> None:
    roles = await usual(world)

    async def strike() -> None:
        for child in roles.all:
            process = child.process
            os.kill(process.pid, signal.SIGTERM)
            await asyncio.sleep(0.1)
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.code is None:
                    os.kill(process.pid, number)

    await amid(world, "SIGTERM twice, SIGKILL", strike)


@case("F11", "one key fifty times at once: one effect", about_requests=True)
async def one_key(world: World) -> None:
    await usual(world)
    tenant = world.tenants[0]
    body = {"messages": [world.client.message(tenant, reference="x1.0") for _ in range(10)]}
    world.struck("one key fifty times")
    replies = await asyncio.gather(
        *(
            world.client.post(tenant, "/messages/bulk", body, "x1", 10, key="same")
            for _ in range(50)
        )
    )
    answers = {(reply.status, tuple(reply.ids)) for reply in replies}
    assert len(answers) == 1, f"{len(answers)} different answers"
    assert sum(not reply.replayed for reply in replies) == 1


@case("F12", "a key with another body, and of another tenant", about_requests=True)
async def key_of_others(world: World) -> None:
    await usual(world)
    first, second = world.tenants[:2]
    send = world.client.post
    world.struck("a key used again")
    body = world.client.message(first, reference="y1.0")
    one = await send(first, "/messages/send", body, "y1", 1, key="k")
    other = world.client.message(first, reference="y2.0")
    two = await send(first, "/messages/send", other, "y2", 1, key="k")
    mine = world.client.message(second, reference="y3.0")
    three = await send(second, "/messages/send", mine, "y3", 1, key="k")
    assert [reply.status for reply in (one, two, three)] == [202, 422, 202]


@case("F12b", "everything of another tenant is asked for while it is sent", about_requests=True)
async def of_others(world: World) -> None:
    await usual(world)
    first, second = world.tenants[:2]
    bulk = await world.client.bulk(first, 50)
    world.struck("another tenant asks")
    replies = await asyncio.gather(
        *(world.client.call(second, "GET", f"/messages/{id_}") for id_ in bulk.ids)
    )
    shown = [reply.json for reply in replies if reply.status != 404]
    assert not shown, f"I6 shown to another tenant: {len(shown)}"


@case("F13", "a hundred bulks of 10 at once, credits for fifty", about_requests=True)
async def too_few_credits(world: World) -> None:
    await usual(world)
    poor = await world.tenant(1, credits=500)
    world.struck("a hundred bulks at once")
    replies = await asyncio.gather(*(world.client.bulk(poor, 10) for _ in range(100)))
    statuses = sorted(reply.status for reply in replies)
    assert statuses == [202] * 50 + [402] * 50, statuses
    [row] = await world.query("SELECT balance FROM accounts WHERE id = $1", poor.account)
    assert row["balance"] == 0, row


@case("F15", "a bulk for all credits, and for one more", about_requests=True)
async def all_credits(world: World) -> None:
    await usual(world)
    world.struck("all credits asked for")
    for more, status in ((1, 402), (0, 202)):
        poor = await world.tenant(1, credits=100)
        reply = await world.client.bulk(poor, 100 + more)
        assert reply.status == status, reply
        [row] = await world.query("SELECT balance FROM accounts WHERE id = $1", poor.account)
        assert row["balance"] == (100 if more else 0), row


@case("F16", "500 clients that never finish their request, and good ones", about_requests=True)
async def slow_clients(world: World) -> None:
    roles = await usual(world)
    port = int(roles.ingress.settings["HANTAR_LISTEN"].rpartition(":")[2])
    writers = []
    for _ in range(500):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /api/v1/messages/send HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n")
        writers.append(writer)
    world.struck("500 slow clients")
    took: list[float] = []
    try:
        for _ in range(40):
            began = time.monotonic()
            reply = await world.client.send(world.tenants[0])
            took.append(time.monotonic() - began)
            assert reply.status == 202, reply
    finally:
        for writer in writers:
            writer.close()
    assert sorted(took)[-2] < 1.0, f"a good client waited {max(took):.2f} s"


@case("F17", "the key is revoked amid bulks: what was begun ends, the next is refused")
async def revoked(world: World) -> None:
    await usual(world)
    tenant = await world.tenant(1)
    working = asyncio.create_task(load(world))
    bulk = asyncio.create_task(world.client.bulk(tenant, 900))
    await asyncio.sleep(0.05)
    world.struck("key revoked")
    await world.query(
        "UPDATE api_keys SET revoked_at = now() WHERE account_id = $1 RETURNING id", tenant.account
    )
    first = await bulk
    assert first.status in (202, 401), first.status

    async def refused() -> bool:
        return (await world.client.send(tenant)).status == 401

    await eventually(refused, within_seconds=10)
    await working


@case("F18", "accounts locked by somebody: 503 in time, nothing debited, then all well")
async def locked_out(world: World) -> None:
    await usual(world)

    async def strike() -> None:
        connection: asyncpg.Connection[asyncpg.Record] = await world.connect()
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
                began = time.monotonic()
                replies: list[Reply] = await asyncio.gather(
                    *(world.client.send(world.tenants[0], patient=False) for _ in range(20))
                )
                assert {reply.status for reply in replies} <= {0, 503}, replies
                assert time.monotonic() - began < 12
        finally:
            await connection.close()

    await amid(world, "accounts locked", strike)
