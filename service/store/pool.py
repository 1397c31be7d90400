"""Connections to PostgreSQL: a pool for requests, dedicated ones for the group commits."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from service.telemetry import metrics

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection

#: What a caller may see of a database that is away, restarting or out of reach.
UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # a session that was terminated in the middle of a transaction may end so
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.CannotConnectNowError,
    asyncpg.ReadOnlySQLTransactionError,
)
#: Safe to try once more: nothing of the transaction stayed.
CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

COMMAND_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5.0


def _server_settings(name: str) -> dict[str, str]:
    return {
        "application_name": f"hantar {name}",
        "jit": "off",
        "timezone": "UTC",
        # A statement never outlives the client's own limit, nor a lock wait a request.
        "statement_timeout": str(int(COMMAND_TIMEOUT_SECONDS * 1000)),
        "lock_timeout": "5000",
        "idle_in_transaction_session_timeout": "15000",
    }


async def open_pool(dsn: str, *, name: str, size: int) -> Pool:
    """A pool of up to `size` connections; raises one of UNAVAILABLE when there is no server."""
    pool = _MeasuredPool(
        dsn,
        min_size=1,
        max_size=size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        loop=None,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        timeout=CONNECT_TIMEOUT_SECONDS,
        server_settings=_server_settings(name),
        reset=_as_it_is,
    )
    return await pool


async def _as_it_is(_: Connection) -> None:
    """Nothing is set back in a session that is given back, which would cost a statement each time.

    Transactions are rolled back all the same. Who takes a lock of the session gives it up; what is
    set is set for a transaction.
    """


class _MeasuredPool(Pool):
    """Tells in the metrics how long its users wait for a connection."""

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - not ours
        began = time.monotonic()
        try:
            return await super()._acquire(timeout)  # type: ignore[misc] # not in the stubs
        finally:
            metrics.POOL_WAIT.observe(time.monotonic() - began)


async def delete_all(pool: Pool, statement: str, *args: object, limit: int) -> None:
    """Delete with a statement whose last argument is a limit until it finds no more."""
    while await pool.execute(statement, *args, limit) == f"DELETE {limit}":
        pass


def show(pool: Pool) -> None:
    """Let the metrics show how much of a pool is in use."""
    states = metrics.POOL_CONNECTIONS.labels
    states("limit").set_function(pool.get_max_size)
    states("idle").set_function(pool.get_idle_size)
    states("used").set_function(lambda: pool.get_size() - pool.get_idle_size())


class Dedicated:
    """One connection for one user, opened when needed and again after it was lost."""

    def __init__(self, dsn: str, *, name: str) -> None:
        self._dsn = dsn
        self._name = name
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def __aenter__(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                command_timeout=COMMAND_TIMEOUT_SECONDS,
                timeout=CONNECT_TIMEOUT_SECONDS,
                server_settings=_server_settings(self._name),
            )
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After a time-out or a lost answer the session's state is unknown: start afresh.
        if isinstance(error, (*UNAVAILABLE, asyncio.CancelledError)):
            await self.close()

    async def close(self) -> None:
        """Close, by force when the server does not answer within a second."""
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        try:
            await connection.close(timeout=1.0)
        except UNAVAILABLE:
            connection.terminate()
