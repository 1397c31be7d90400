"""`hantar events`: what was told to upstream services, told once more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import click

from schemas.commands import INBOUND_TYPE
from service.bus.upstream_queues import NoSuchQueue, Told, replaying
from service.cli.broker import with_broker
from service.cli.database import FAILED, open_database
from service.cli.resources import ID, NAME, as_json, print_one
from service.core.sealing import Seal, read_keys
from service.core.times import rfc3339
from service.core.words import Words
from service.settings import load
from service.store import events as store
from service.store.events import Range

MOST = 10_000_000


class _Instant(click.ParamType[datetime]):
    """A time in RFC 3339; UTC if it says no zone."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(str(value))
            at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail("must look like 2026-11-25T08:00:00Z", param, ctx)
        return at


@click.group()
def events() -> None:
    """Events for upstream services."""


@events.command("replay")
@click.option("--account", "account_id", type=ID, required=True)
@click.option("--since", type=_Instant(), required=True, help="RFC 3339; the first to be told.")
@click.option("--until", type=_Instant(), help="Told before this; default now.")
@click.option("--queue", type=NAME, required=True, help="Nobody else gets them.")
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=100_000,
    show_default=True,
    help="At most so many event messages, the oldest first.",
)
@as_json
def events_replay(
    account_id: int,
    since: datetime,
    until: datetime | None,
    queue: str,
    limit: int,
    as_json: bool,
) -> None:
    """Publish the events of an account once more, to one queue, as they were and in their order.

    Each comes with the message_id it had, and the header `replayed`. Events are kept for 7 days.
    """
    until = until or datetime.now(UTC)
    if since >= until:
        raise click.UsageError("--since must lie before --until, and not ahead")
    wanted = Range(account_id, since, until)
    words = Words(_seal())
    try:
        done, left = with_broker(lambda url: _replay(url, queue, wanted, limit, words))
    except NoSuchQueue as error:
        raise click.ClickException(str(error)) from None
    except FAILED as error:
        raise click.ClickException(f"the database: {error or type(error).__name__}") from None
    print_one({"replayed": done, "queue": queue, "more": left}, as_json)


async def _replay(
    url: str, queue: str, wanted: Range, limit: int, words: Words
) -> tuple[int, bool]:
    """How many were published, and whether there are more."""
    pool = await open_database()
    try:
        async with pool.acquire() as connection, replaying(url, queue) as publish:
            # One more than is asked for tells whether there are more.
            found = await store.count(connection, wanted, limit=limit + 1)
            total, done = min(found, limit), 0
            async for rows in store.pages(connection, wanted, limit=total):
                await publish(_told(rows, words))
                done, last = done + len(rows), rows[-1]["at"]
                click.echo(f"{done} of {total}, up to {rfc3339(last)}", err=True)
            return done, found > limit
    finally:
        await pool.close()


def _told(rows: Sequence[asyncpg.Record], words: Words) -> list[Told]:
    return [
        Told(
            row["id"],
            row["account_id"],
            row["routing_key"],
            row["type"],
            words.open_event(row["body"]) if row["type"] == INBOUND_TYPE else row["body"],
            row["correlation_id"],
        )
        for row in rows
    ]


def _seal() -> Seal:
    file = load().secret_key_file
    try:
        return Seal(read_keys(file.read_text("ascii")) if file else [])
    except (OSError, ValueError) as error:
        raise click.ClickException(f"HANTAR_SECRET_KEY_FILE {file}: {error}") from None
