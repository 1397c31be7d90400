"""Connections to RabbitMQ: how they open, what state they are in, how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractRobustConnection
from aiormq.abc import AbstractConnection

from service.bus.amqp_decoding import be_lenient
from service.telemetry import metrics

be_lenient()

# A dead peer is given up after three of these; shorter, and a busy event loop would look dead.
_HEARTBEAT_SECONDS = 10
RECONNECT_PAUSE_SECONDS = 1
_CLOSE_SECONDS = 5.0


async def open_connection(url: str, what: str, timeout_seconds: float) -> AbstractRobustConnection:
    """The connection to publish or to consume; its state is in the metrics from then on."""
    connection = await aio_pika.connect_robust(
        url,
        timeout=timeout_seconds,
        heartbeat=_HEARTBEAT_SECONDS,
        reconnect_interval=RECONNECT_PAUSE_SECONDS,
        client_properties={"connection_name": f"hantar {what}"},
    )
    metrics.BROKER_USABLE.labels(what).set_function(lambda: is_usable(connection))
    metrics.BROKER_BLOCKED.labels(what).set_function(lambda: is_blocked(connection))
    connection.reconnect_callbacks.add(lambda *_: metrics.BROKER_RECONNECTS.labels(what).inc())
    return connection


async def live(connection: AbstractRobustConnection) -> AbstractConnection:
    await connection.ready()
    if connection.transport is None:
        raise ConnectionError("the connection is closed")
    return connection.transport.connection


def is_usable(connection: AbstractRobustConnection) -> bool:
    return _is_open(connection) and not is_blocked(connection)


def _is_open(connection: AbstractRobustConnection) -> bool:
    return connection.transport is not None and connection.connected.is_set()


def is_blocked(connection: AbstractRobustConnection) -> bool:
    """Whether the broker, for an alarm of its own, takes nothing from it."""
    if connection.transport is None or not connection.connected.is_set():
        return False
    # There is no property for "blocked by an alarm", only something to await: it ends at its
    # first step unless the broker has blocked the connection.
    ready = connection.transport.connection.ready()
    try:
        ready.send(None)
    except StopIteration:
        return False
    ready.close()
    return True


@contextmanager
def lost_connections_as_errors() -> Iterator[None]:
    """Tell the client's own `CancelledError`, raised when a connection dies, from a real one."""
    try:
        yield
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionError("the connection was lost") from cancelled


async def end(closing: Coroutine[Any, Any, object]) -> None:
    """Carry out a farewell, which may take `_CLOSE_SECONDS` and fail: the peer may be gone."""
    task = asyncio.create_task(closing)
    await asyncio.wait({task}, timeout=_CLOSE_SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
