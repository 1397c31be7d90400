"""The work itself: a row, a call of the provider, the row again; for both kinds of program."""

from __future__ import annotations

import atexit
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import orjson

DATABASE_URL = os.environ["RIVAL_DATABASE_URL"]
AMQP_URL = os.environ["RIVAL_AMQP_URL"]
#: Where messages are posted; empty: nowhere, and every message is taken.
PROVIDER_URL = os.environ["RIVAL_PROVIDER_URL"]
BULK = 1000
#: Calls in flight and connections to the database of one process.
CALLS, CONNECTIONS = 100, 10
CALL_SECONDS = 20.0
TEXT = "Your order has been shipped and should reach you by Thursday."
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer a-token-of-tests"}
_INSERT = (
    "INSERT INTO outgoing (phone, body) SELECT * FROM unnest({0}::text[], {1}::text[]) RETURNING id"
)
_SENT = "UPDATE outgoing SET status = 'sent', provider_id = {0}, sent_at = now() WHERE id = {1}"

Item = tuple[int, str, str]


def _body(phone: str, text: str) -> bytes:
    return orjson.dumps(
        {"messaging_product": "whatsapp", "to": phone, "type": "text", "text": {"body": text}}
    )


def _provider_id(answer: bytes) -> str:
    found: str = orjson.loads(answer)["messages"][0]["id"]
    return found


def _bulk() -> tuple[list[str], list[str]]:
    return [f"+60123{n:06}" for n in range(BULK)], [TEXT] * BULK


class Async:
    """With one session and a pool, as asyncio has them."""

    async def start(self) -> None:
        import aiohttp
        import asyncpg

        self._pool = await asyncpg.create_pool(DATABASE_URL, min_size=1, max_size=CONNECTIONS)
        self._session = aiohttp.ClientSession(
            headers=HEADERS,
            connector=aiohttp.TCPConnector(limit=CALLS),
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
        )

    async def close(self) -> None:
        await self._session.close()
        await self._pool.close()

    async def insert(self, count: int) -> list[Item]:
        """Rows for so many messages."""
        phones, texts = (each[:count] for each in _bulk())
        rows = await self._pool.fetch(_INSERT.format("$1", "$2"), phones, texts)
        return list(zip((row["id"] for row in rows), phones, texts, strict=True))

    async def send(self, id_: int, phone: str, text: str) -> None:
        """What a task does."""
        provider_id = f"instant.{id_}"
        if PROVIDER_URL:
            async with self._session.post(PROVIDER_URL, data=_body(phone, text)) as response:
                provider_id = _provider_id(await response.read())
        await self._pool.execute(_SENT.format("$1", "$2"), provider_id, id_)


class Blocking:
    """With pools of connections that threads share."""

    def __init__(self) -> None:
        import psycopg_pool
        import urllib3

        self._pool = psycopg_pool.ConnectionPool(
            DATABASE_URL, min_size=1, max_size=CONNECTIONS, kwargs={"autocommit": True}, open=True
        )
        atexit.register(self._pool.close)
        self._http = urllib3.PoolManager(maxsize=CALLS, headers=HEADERS, timeout=CALL_SECONDS)

    def insert(self, count: int) -> list[Item]:
        """Rows for so many messages."""
        phones, texts = (each[:count] for each in _bulk())
        with self._pool.connection() as connection:
            rows = connection.execute(_INSERT.format("%s", "%s"), (phones, texts)).fetchall()
        return list(zip((row[0] for row in rows), phones, texts, strict=True))

    def send(self, id_: int, phone: str, text: str) -> None:
        """What a task does."""
        provider_id = f"instant.{id_}"
        if PROVIDER_URL:
            answer = self._http.request("POST", PROVIDER_URL, body=_body(phone, text))
            provider_id = _provider_id(answer.data)
        with self._pool.connection() as connection:
            connection.execute(_SENT.format("%s", "%s"), (provider_id, id_))


@functools.cache
def blocking() -> Blocking:
    """The one of this process, made at its first task."""
    return Blocking()


def orders() -> Iterator[int]:
    """How many messages to enqueue at once, as asked for on standard input."""
    for line in sys.stdin:
        left = int(line)
        while left > 0:
            yield min(left, BULK)
            left -= BULK
        sys.stdout.write("done\n")
        sys.stdout.flush()


def enqueue_blocking(publish: Callable[[list[Item]], Any]) -> None:
    """Answer orders until there are no more."""
    for count in orders():
        publish(blocking().insert(count))
