"""Taps: whatever a test makes Hantar say to upstream services, and whatever they say to it, is held
against the AsyncAPI document."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import orjson
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from service.bus.topology import DEAD
from service.store.pool import Pool
from tests.described import COMMANDS, EVENTS, Wire, faults

#: RabbitMQ copies to this exchange what is published in a virtual host that it traces.
TRACE = "amq.rabbitmq.trace"
REPLIES = ("amq.rabbitmq.reply-to", "hantar.reply.")
END = "end"
LIMIT_SECONDS = 60.0
#: Reasons for which the document itself says that it is no command.
NO_COMMAND = frozenset(
    {"type", "content_type", "content_encoding", "message_id", "user_id", "account", "invalid_json"}
)

_RECORD = """
CREATE UNLOGGED TABLE IF NOT EXISTS test_events (LIKE outbox);
CREATE OR REPLACE FUNCTION test_record_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO test_events VALUES (NEW.*);
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER test_record_event AFTER INSERT ON outbox FOR EACH ROW
    WHEN (NEW.exchange = 'hantar.events') EXECUTE FUNCTION test_record_event();
"""


@asynccontextmanager
async def tapped_database(pool: Pool) -> AsyncIterator[None]:
    """Every event that is handed over meanwhile is as described; for a bus that has no wire."""
    await pool.execute(_RECORD)
    yield
    rows = await pool.fetch(
        "SELECT DISTINCT ON (routing_key, body) id, routing_key, type, body, correlation_id "
        "FROM test_events"
    )
    heard = []
    for row in rows:
        properties = {
            "message_id": str(row["id"]),
            "type": row["type"],
            "content_type": "application/json",
            "delivery_mode": 2,
        }
        if row["correlation_id"] is not None:
            properties["correlation_id"] = row["correlation_id"]
        headers = {"account": str(orjson.loads(row["body"]).get("account"))}
        heard.append(Wire(EVENTS, row["routing_key"], properties, row["body"], headers))
    _assert_described(heard)


@asynccontextmanager
async def tapped_broker(url: str) -> AsyncIterator[None]:
    """Every message that is published meanwhile is as described, or refused where it is not; what
    comes after a restart of the broker is not seen."""
    published: list[Wire] = []
    ended = asyncio.Event()

    async def take(message: AbstractIncomingMessage) -> None:
        if message.routing_key == queue.name:
            ended.set()
        else:
            published.append(_published(message))

    connection = await aio_pika.connect(url, timeout=10.0)
    connection.close_callbacks.add(lambda *_: ended.set())
    try:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        for exchange in (COMMANDS, EVENTS, DEAD, ""):
            await queue.bind(TRACE, f"publish.{exchange}")
        await queue.consume(take, no_ack=True)
        yield
        try:
            await channel.default_exchange.publish(aio_pika.Message(b""), queue.name)
        except (AMQPError, ConnectionError):
            ended.set()
        async with asyncio.timeout(LIMIT_SECONDS):
            await ended.wait()
    finally:
        await connection.close()
    _assert_described([wire for wire in published if _is_told(wire)])
    _assert_commands(published)


def _published(message: AbstractIncomingMessage) -> Wire:
    told: Any = message.headers
    properties = dict(told["properties"])
    headers = properties.pop("headers", None) or {}
    return Wire(
        told["exchange_name"], str(told["routing_keys"][0]), properties, message.body, headers
    )


def _is_told(wire: Wire) -> bool:
    """Whether Hantar tells it to upstream services."""
    return wire.exchange == EVENTS or (not wire.exchange and wire.routing_key.startswith(REPLIES))


def _assert_described(told: Iterable[Wire]) -> None:
    wrong = {fault for wire in told for fault in faults(_as_event(wire))}
    assert sorted(wrong) == [], "see schemas/asyncapi.yaml; is `make schemas` to be run?"


def _as_event(wire: Wire) -> Wire:
    """A reply is what the event is."""
    if wire.exchange:
        return wire
    key = str(wire.properties.get("type")).removeprefix("hantar.").removesuffix(".v1")
    return Wire(EVENTS, key, wire.properties, wire.body, wire.headers)


def _assert_commands(published: Iterable[Wire]) -> None:
    """What was accepted is as described, and of what is, nothing was taken for no command."""
    commands: dict[object, list[Wire]] = defaultdict(list)
    accepted: dict[str, list[int]] = {}
    wrong = []
    for wire in published:
        if wire.exchange == COMMANDS:
            commands[wire.properties.get("message_id")].append(wire)
        elif wire.routing_key == "command.accepted":
            answer = orjson.loads(wire.body)
            accepted[answer["command"]] = [item["index"] for item in answer["rejected"]]
        elif _buried_for(wire) in NO_COMMAND and not faults(_as_it_was(wire)):
            wrong.append(f"buried for its {_buried_for(wire)}, but as described")
    for command, rejected in accepted.items():
        found = [faults(_without(wire, rejected)) for wire in commands[command]]
        if found and all(found):
            wrong.append(f"accepted, but {found[0]}")
    assert wrong == []


def _buried_for(wire: Wire) -> object:
    return wire.headers.get("hantar-reason") if wire.exchange == DEAD else None


def _as_it_was(dead: Wire) -> Wire:
    """The command that was buried, from what is kept of it."""
    kept: Mapping[str, Any] = dead.headers
    names = ("message-id", "user-id", "type", "content-type", "content-encoding")
    properties = {
        name.replace("-", "_"): kept[f"hantar-{name}"] for name in names if f"hantar-{name}" in kept
    }
    return Wire(COMMANDS, str(kept.get("hantar-routing-key")), properties, dead.body)


def _without(command: Wire, places: Iterable[int]) -> Wire:
    """A bulk without the items that were rejected, each for itself."""
    body = orjson.loads(command.body)
    left = set(places)
    if left:
        body["messages"] = [m for place, m in enumerate(body["messages"]) if place not in left]
    return Wire(
        command.exchange,
        command.routing_key,
        command.properties,
        orjson.dumps(body),
        command.headers,
    )
