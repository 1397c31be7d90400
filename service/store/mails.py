"""Verification mails: noted with what they are for, sent after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service.store.pool import Connection, Pool
from service.store.queries import load

_SQL = load("mails")

#: An account may ask for one in so many seconds, and for so many a day.
PAUSE_SECONDS = 60.0
DAILY_OF_ACCOUNT = 5
#: An address gets so many a day, whoever names it.
DAILY_OF_ADDRESS = 10
KEEP_DAYS = 30
PRUNE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to send, this process's for a while."""

    id: int
    account_id: int
    attempts: int
    email: str
    #: verified in the meantime
    verified: bool
    #: verified by another account
    taken: bool


async def queue(connection: Connection, account_id: int, email: str) -> None:
    """Note that the account is to get a mail; past the limit of the address nothing is noted."""
    await connection.execute(_SQL["lock_address"], email)
    await connection.execute(_SQL["queue"], account_id, email, DAILY_OF_ADDRESS)


async def wait_seconds(connection: Connection, account_id: int, email: str) -> float:
    """How long until the account may ask for another mail; 0 when it may now."""
    await connection.execute(_SQL["lock_address"], email)
    found: float = await connection.fetchval(
        _SQL["wait"], account_id, PAUSE_SECONDS, DAILY_OF_ACCOUNT
    )
    return found


async def take(pool: Pool, *, most: int, mine_seconds: float) -> Sequence[Mail]:
    """The next mails to send."""
    return [Mail(**row) for row in await pool.fetch(_SQL["take"], most, mine_seconds)]


async def settle(
    pool: Pool, mail_id: int, state: Literal["sent", "dropped", "failed"], error: str | None = None
) -> None:
    """Note what became of a mail for good."""
    await pool.execute(_SQL["settle"], mail_id, state, error)


async def again(pool: Pool, mail_id: int, error: str, after_seconds: float) -> None:
    """Note that a mail could not be sent now."""
    await pool.execute(_SQL["again"], mail_id, error, after_seconds)


async def prune(pool: Pool) -> None:
    """Forget old mails, a part at a time."""
    await pool.execute(_SQL["prune"], KEEP_DAYS, PRUNE_ROWS)
