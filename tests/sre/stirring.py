"""What happens to an installation beside load and failures, so that every figure has moved."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping

import aio_pika
import orjson

from drivers.simulator.numbers import PREFIX
from schemas.upstream import SEND_TYPE
from service.bus.topology import DISPATCH_DEAD
from service.store.pool import Pool
from tests.integration.meta.business import device_of
from tests.servers.cloud_api import CloudApi
from tests.servers.fake_bridge import FakeBridge
from tests.sre.load import Caller, publish
from tests.sre.prometheus import Prometheus
from tests.sre.quiet import quiet_queries
from tests.sre.test_live import WINDOW
from tests.sre.world import World, bind, unbind
from tests.system import eventually

SILENT = f"{PREFIX}02"
#: As many calls without an answer as it takes to leave a device alone, and one.
UNANSWERED = 6
SEEN_SECONDS = 40.0
#: Longer than a statement waits for a lock, and than the pause between two looks at the database.
LOCKED_SECONDS = 8.0


async def stir(world: World) -> None:
    """What moves the figures that neither the load nor the failures moved."""
    caller, pool, amqp_url = world.caller, world.installation.pool, world.amqp_url
    add = await world.installation.processes.do(
        "upstream", "add", "guest", str(world.installation.account)
    )
    assert add.code == 0, add
    await never_answer(caller)
    await sign_up(caller)
    await ask_meta(caller, world.cloud)
    await garble(caller, world.bridge)
    await bury_nonsense(amqp_url)
    await hang(caller, world.prometheus, world.running["intake"].pid)
    await lock_answers(caller, pool, amqp_url, world.installation.account)
    await unbind(world)
    try:
        await lose_commands(caller, pool)
    finally:
        await bind(world)


async def everything_moved(world: World, began: float) -> None:
    """Return once each quiet figure has been more than zero since then, as its legend says."""
    still = {query.where: query for query in quiet_queries()}

    async def look() -> bool:
        window = f"{round(time.monotonic() - began)}s"
        for where, query in list(still.items()):
            asked = f"max_over_time(({query.asked(window=WINDOW)})[{window}:1s]) > 0"
            series = await world.prometheus.query(asked)
            if series and all(query.labels <= each["metric"].keys() for each in series):
                del still[where]
        return not still

    deadline = time.monotonic() + SEEN_SECONDS
    while not await look():
        assert time.monotonic() < deadline, f"never moved: {sorted(still)}"
        await asyncio.sleep(1)


async def sign_up(caller: Caller) -> None:
    """A new account, whose mail cannot be sent."""
    await caller.post("/accounts", {"name": "Kedai Contoh", "email": "new@example.com"})


async def ask_meta(caller: Caller, cloud: CloudApi) -> None:
    """A campaign by a template that Meta does not know, and a webhook that nobody reads."""
    [number] = cloud.numbers.values()
    device = await caller.post("/devices", device_of(number))
    template = await caller.post(
        "/templates",
        {
            "name": "Raya",
            "body": "Salam",
            "meta": {"name": "raya", "language": "ms", "components": []},
        },
    )
    await caller.post(
        "/campaigns",
        {
            "name": "Raya",
            "message_template_id": template["data"]["id"],
            "recipients": [{"phone": "+60123456789"}],
            "device": device["data"]["id"],
        },
    )
    await cloud.notify(number, "security", {})


async def garble(caller: Caller, bridge: FakeBridge) -> None:
    """A line of the bridge that says nothing."""
    await caller.post("/devices", {"name": "Phone", "driver": "wwebjs"})
    bridge.events.write(b"[]")


async def never_answer(caller: Caller) -> None:
    """A device whose calls nobody answers; one of its messages may be sent again."""
    device = await caller.post("/devices", {"name": "Mute", "driver": "simulator"})
    for n in range(UNANSWERED):
        await caller.post(
            "/messages/send",
            {
                "phone": SILENT,
                "body": f"call {n}",
                "device": device["data"]["id"],
                "delivery": "at_most_once" if n else "at_least_once",
            },
        )


async def bury_nonsense(amqp_url: str) -> None:
    """A dead dispatch command that is none."""
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = (await connection.channel()).default_exchange
        await exchange.publish(aio_pika.Message(b"?"), routing_key=DISPATCH_DEAD)


async def lock_answers(caller: Caller, pool: Pool, amqp_url: str, account: int) -> None:
    """Nobody can look up an idempotency key for a while: callers get 503, commands wait."""
    body = {"account": account, "phone": "0123456789", "body": "later"}
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE idempotency IN ACCESS EXCLUSIVE MODE")
        await publish(amqp_url, SEND_TYPE, orjson.dumps(body))
        refused = [caller.refused("/messages/send", _keyed(n), key=f"locked-{n}") for n in range(5)]
        assert set(await asyncio.gather(*refused)) == {503}
        await asyncio.sleep(LOCKED_SECONDS - 5.0)


def _keyed(n: int) -> Mapping[str, str]:
    return {"phone": f"+6012{6000000 + n}", "body": "refused"}


async def hang(caller: Caller, prometheus: Prometheus, intake: int) -> None:
    """A campaign and an import that the only intake, by its pid, does not come to."""
    os.kill(intake, signal.SIGSTOP)
    try:
        await caller.post(
            "/campaigns",
            {"name": "Later", "body": "hello", "recipients": [{"phone": "+60134000000"}]},
        )
        await caller.post("/contacts/import", "phone\n+60145000000\n", content_type="text/csv")

        async def seen() -> bool:
            idle = "hantar_campaign_idle_seconds > 0 and hantar_import_idle_seconds > 0"
            return bool(await prometheus.query(idle))

        await eventually(seen, within_seconds=SEEN_SECONDS)
    finally:
        os.kill(intake, signal.SIGCONT)


async def lose_commands(caller: Caller, pool: Pool) -> None:
    """Messages that have waited for long, while the queues of their devices are out of reach."""
    await caller.bulk(10, first=900_000)
    await pool.execute(
        "UPDATE messages SET created_at = now() - interval '1 hour' WHERE status = 'queued'"
    )

    async def found() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM parked WHERE reason = 'behind'"))

    await eventually(found, within_seconds=SEEN_SECONDS)
