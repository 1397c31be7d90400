"""The AMQP client cancels what waits on a dying connection; that must not look like our own."""

from __future__ import annotations

import asyncio

import pytest

from service.bus.amqp_connection import lost_connections_as_errors


async def test_a_cancellation_nobody_asked_for_is_a_lost_connection() -> None:
    reply = asyncio.get_running_loop().create_future()
    reply.set_exception(asyncio.CancelledError())
    with pytest.raises(ConnectionError), lost_connections_as_errors():
        await reply


async def test_a_cancelled_task_is_cancelled() -> None:
    async def wait() -> None:
        with lost_connections_as_errors():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_out_stays_a_time_out() -> None:
    async def wait() -> None:
        async with asyncio.timeout(0.01):
            with lost_connections_as_errors():
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()
