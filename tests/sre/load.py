"""Traffic of every kind through an installation, so that all its figures move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import aiohttp
import orjson
from aiohttp import web

from schemas.upstream import SEND_TYPE
from tests.acceptance.installation import Installation
from tests.acceptance.processes import Process

#: One of each outcome that the simulator has, but for the slow ones.
MAGIC = ("1", "2", "3", "4", "6", "8", "9")
AGAIN_SECONDS = 3.0
NOBODY_LISTENS = "http://127.0.0.1:9/"


class Caller:
    """An account's hands on the API."""

    def __init__(self, http: aiohttp.ClientSession, api: str, installation: Installation) -> None:
        self._http = http
        self._root = api
        self._api = f"{api}/api/v1"
        self.installation = installation

    async def post(self, path: str, body: Any, *, content_type: str | None = None) -> Any:
        """The answer's JSON."""
        given: dict[str, Any] = {"json": body}
        if content_type is not None:
            given = {"data": body, "headers": {"Content-Type": content_type}}
        async with self._http.post(f"{self._api}{path}", **given) as answer:
            document = await answer.json()
            assert answer.status < 400, document
            return document

    async def forge(self) -> None:
        """What looks like a call of Meta's, and is not signed."""
        async with self._http.post(f"{self._root}/webhooks/meta", data=b"{}") as answer:
            assert answer.status == 401

    async def refused(self, path: str, body: Any, *, key: str | None = None) -> int:
        """The status of a request that is not served."""
        headers = {"Idempotency-Key": key} if key else {}
        async with self._http.post(f"{self._api}{path}", json=body, headers=headers) as answer:
            assert answer.status >= 400
            return answer.status

    async def bulk(self, count: int, *, first: int = 0) -> Any:
        """So many messages over both devices."""
        devices = self.installation.devices
        messages = [
            {"phone": f"+6012{3000000 + n}", "body": f"m {n}", "device": devices[n % len(devices)]}
            for n in range(first, first + count)
        ]
        return await self.post("/messages/bulk", {"messages": messages})


@asynccontextmanager
async def calling(installation: Installation, ingress: Process) -> AsyncIterator[Caller]:
    """The account's caller."""
    api, _ = await ingress.ready()
    headers = {"Authorization": f"Bearer {installation.key}"}
    limit = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(headers=headers, timeout=limit) as http:
        yield Caller(http, api, installation)


@asynccontextmanager
async def listening() -> AsyncIterator[str]:
    """A webhook endpoint that takes everything."""

    async def take(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def everything(caller: Caller, amqp_url: str, endpoint: str) -> None:
    """A bit of each: what comes in by every door, goes every way, waits for every reason."""
    installation = caller.installation
    for url in (endpoint, NOBODY_LISTENS):
        await caller.post("/webhook-endpoints", {"url": url, "events": ["*"]})
    slow = await caller.post(
        "/devices",
        {"name": "Slow", "driver": "simulator", "limits": {"per_minute": 6, "jitter_seconds": 0}},
    )
    later = datetime.now(UTC) + timedelta(hours=1)
    await caller.post(
        "/messages/send",
        {
            "phone": "+60125000003",
            "body": "later",
            "device": installation.devices[0],
            "send_at": later.isoformat(timespec="milliseconds"),
        },
    )
    await outcomes(caller)
    recipients = [{"phone": f"+6013{4000000 + n}"} for n in range(30)]
    await asyncio.gather(
        caller.bulk(400),
        caller.post(
            "/campaigns",
            {
                "name": "Slow",
                "body": "hello",
                "recipients": recipients,
                "device": slow["data"]["id"],
            },
        ),
        caller.post(
            "/contacts/import",
            "phone,name\n" + "\n".join(f"+6014{5000000 + n},N" for n in range(200)),
            content_type="text/csv",
        ),
        command(installation, amqp_url),
    )
    # What has no series before it happens shows no rate until it happens again.
    await asyncio.sleep(AGAIN_SECONDS)
    await asyncio.gather(outcomes(caller), nonsense(amqp_url))


async def outcomes(caller: Caller) -> None:
    """What the simulator can answer, a stopped device, a refused item, a forged callback."""
    await caller.forge()
    stopped = await caller.post("/devices", {"name": "Stopped", "driver": "simulator"})
    await caller.post(
        "/messages/bulk",
        {
            "messages": [
                *({"phone": f"+60115550000{n}", "body": "magic"} for n in MAGIC),
                {"phone": "+60125000001", "body": "#simulate throttled"},
                {
                    "phone": "+60125000002",
                    "body": "#simulate device_blocked",
                    "device": stopped["data"]["id"],
                },
                {"phone": "nobody", "body": "rejected"},
            ],
            "device": caller.installation.devices[0],
        },
    )


async def command(installation: Installation, amqp_url: str) -> None:
    """One send over AMQP, and something that is none."""
    add = await installation.processes.do("upstream", "add", "guest", str(installation.account))
    assert add.code == 0, add
    body = {"account": installation.account, "phone": "0123456789", "body": "by AMQP"}
    await publish(amqp_url, SEND_TYPE, orjson.dumps(body))
    await nonsense(amqp_url)


async def nonsense(amqp_url: str) -> None:
    """What is no command."""
    await publish(amqp_url, "nonsense", b"?")


async def publish(amqp_url: str, type_: str, data: bytes) -> None:
    """As an upstream service would."""
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("hantar.commands")
        message = aio_pika.Message(
            data,
            content_type="application/json",
            type=type_,
            message_id=f"sre-{type_}",
            user_id="guest",
            delivery_mode=2,
        )
        await exchange.publish(message, routing_key="message.send")
