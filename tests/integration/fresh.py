"""A database for the tests of one module."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def fresh_database(server: str, template: str) -> AsyncIterator[str]:
    """The address of a clone of the template, dropped afterwards."""
    name = f"module_{uuid.uuid4().hex}"
    await execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def execute(dsn: str, statement: str) -> None:
    """Run statements on a connection of their own."""
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=180)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=5)
