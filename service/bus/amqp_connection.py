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

be_lenient()

# A dead peer is given up after three of these; shorter, and a busy event loop would look dead.
_HEARTBEAT_SECONDS = 10
RECONNECT_PAUSE_SECONDS = 1
_CLOSE_SECONDS = 5.0


async def open_connection(url: str, name: str, timeout_seconds: float) -> AbstractRobustConnection:
    return await aio_pika.connect_robust(
        url,
        timeout=timeout_seconds,
        heartbeat=_HEARTBEAT_SECONDS,
        reconnect_interval=RECONNECT_PAUSE_SECONDS,
        client_properties={"connection_name": name},
    )


async def live(connection: AbstractRobustConnection) -> AbstractConnection:
    await connection.ready()
    if connection.transport is None:
        raise ConnectionError("the connection is closed")
    return connection.transport.connection


def is_usable(connection: AbstractRobustConnection) -> bool:
    if connection.transport is None or not connection.connected.is_set():
        return False
    # There is no property for "blocked by an alarm", only something to await: it ends at its
    # first step unless the broker has blocked the connection.
    ready = connection.transport.connection.ready()
    try:
        ready.send(None)
    except StopIteration:
        return True
    ready.close()
    return False


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
