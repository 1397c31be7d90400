"""The statements that make messages of the recipients of campaigns, and end campaigns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import asyncpg

from service.store.campaigns import Recipient
from service.store.outbox import Entry
from service.store.pool import Connection
from service.store.queries import load

_SQL = load("expansion")


@dataclass(frozen=True, slots=True)
class Recipients:
    """A chunk; those with a reason were known not to be sent to when the campaign was made."""

    fit: list[Recipient]
    unfit: list[Recipient]


async def take(connection: Connection) -> asyncpg.Record | None:
    """The campaign whose turn it is, held until the transaction ends; accounts take turns."""
    return await connection.fetchrow(_SQL["take"])


async def next_chunk(connection: Connection, campaign_id: int) -> Recipients:
    """Take out the next recipients."""
    row = await connection.fetchrow(_SQL["next_chunk"], campaign_id)
    assert row is not None, "it counts recipients only as long as it has chunks"
    blank = [None] * len(row["phones"])
    columns = (
        row["contact_ids"],
        row["phones"],
        row["names"] or blank,
        row["external_ids"] or blank,
        row["attributes"] or blank,
        row["reasons"],
    )
    recipients = [Recipient(*values) for values in zip(*columns, strict=True)]
    return Recipients(
        [each for each in recipients if each.reason is None],
        [each for each in recipients if each.reason is not None],
    )


async def opted_out(connection: Connection, account_id: int, phones: Sequence[str]) -> set[str]:
    """Which of these phones want nothing from the account any more."""
    rows = await connection.fetch(_SQL["opted_out"], account_id, phones)
    return {row["phone"] for row in rows}


async def existing(connection: Connection, contact_ids: Sequence[int]) -> set[int]:
    """Which of these contacts are there still."""
    rows = await connection.fetch(_SQL["existing"], contact_ids)
    return {row["id"] for row in rows}


async def put_recipients(
    connection: Connection, campaign_id: int, phones: Collection[str]
) -> set[str]:
    """Let each phone have one message of the campaign; those that had none before."""
    rows = await connection.fetch(_SQL["put_recipients"], campaign_id, list(phones))
    return {row["phone"] for row in rows}


async def put_commands(
    connection: Connection,
    exchange: str,
    command_type: str,
    commands: Sequence[tuple[str, bytes]],
    traceparent: str | None,
) -> list[Entry]:
    """Write dispatch commands to the outbox."""
    rows = await connection.fetch(
        _SQL["put_commands"],
        exchange,
        command_type,
        [routing_key for routing_key, _ in commands],
        [body for _, body in commands],
        traceparent,
    )
    return [
        Entry(row["id"], exchange, routing_key, command_type, body, traceparent=traceparent)
        for row, (routing_key, body) in zip(rows, commands, strict=True)
    ]


async def advance(connection: Connection, campaign_id: int, *, fit: int, unfit: int) -> None:
    """Count a chunk."""
    await connection.execute(_SQL["advance"], campaign_id, fit, unfit)


async def rest(connection: Connection, campaign_id: int, seconds: float) -> None:
    """Do nothing for a campaign for so long."""
    await connection.execute(_SQL["rest"], campaign_id, seconds)


async def walk(
    connection: Connection, campaign_id: int, *, after_id: int, limit: int
) -> tuple[list[int], int | None]:
    """Of its next messages those that wait, and the last one looked at; None at the end."""
    rows = await connection.fetch(_SQL["walk"], campaign_id, after_id, limit)
    if not rows:
        return [], None
    ids = [row["id"] for row in rows]
    waiting = await connection.fetch(_SQL["waiting"], ids, ids[0], ids[-1])
    return [row["id"] for row in waiting], ids[-1]


async def walked(connection: Connection, campaign_id: int, last_id: int) -> None:
    """The look for waiting messages has come so far."""
    await connection.execute(_SQL["walked"], campaign_id, last_id)


async def close(connection: Connection, *, limit: int) -> dict[int, str]:
    """Close campaigns that have nothing left to send: the status of each."""
    rows = await connection.fetch(_SQL["close"], limit)
    return {row["id"]: row["status"] for row in rows}


async def fold(connection: Connection, *, least: int, most_campaigns: int) -> bool:
    """Fold the changes of campaigns that have `least` of them; whether there were any."""
    done: str = await connection.execute(_SQL["fold"], least, most_campaigns)
    return not done.endswith(" 0")
