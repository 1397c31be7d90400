"""The statements of campaigns, as callers make and see them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from schemas.shapes import Row
from service.core.estimate import DeviceLimits
from service.store.pool import Connection
from service.store.queries import load

_SQL = load("campaigns")

#: Recipients in a chunk, which is what the expansion holds at once.
CHUNK_RECIPIENTS = 500


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """A campaign to be; `template` is the resource as JSON."""

    name: str
    body: str
    template_id: int | None
    template: str | None
    device_id: int
    priority: int
    delivery: str
    skip_missing: bool
    reference: str | None
    status: str
    send_at: datetime | None
    expires_at: datetime | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Named:
    """The contacts that a campaign names, and the names that must have a value."""

    group_id: int | None
    contact_ids: Sequence[int]
    required: Sequence[str]


@dataclass(frozen=True, slots=True)
class Needs:
    """Which fields of a contact the text takes values from."""

    name: bool
    external_id: bool
    attributes: bool


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody a campaign is for, as they were when it was made; `attributes` is JSON."""

    contact_id: int | None
    phone: str
    name: str | None = None
    external_id: str | None = None
    attributes: str | None = None
    #: why they do not get it
    reason: str | None = None


_LIMITS = tuple(DeviceLimits.__dataclass_fields__)


def limits_of(row: Row) -> DeviceLimits:
    """The limits in a row that has them."""
    return DeviceLimits(*(row[name] for name in _LIMITS))


async def create(connection: Connection, account_id: int, new: NewCampaign) -> int:
    """A new campaign without recipients; its id."""
    made: int = await connection.fetchval(
        _SQL["create"],
        account_id,
        new.name,
        new.body,
        new.template_id,
        new.template,
        new.device_id,
        new.priority,
        new.delivery,
        new.skip_missing,
        new.reference,
        new.status,
        new.send_at,
        new.expires_at,
        new.traceparent,
    )
    return made


async def put_contacts(
    connection: Connection, account_id: int, campaign_id: int, named: Named, needs: Needs
) -> dict[str | None, int]:
    """Note the contacts that are named; how many there are by the reason not to send to them."""
    rows = await connection.fetch(
        _SQL["put_contacts"],
        campaign_id,
        account_id,
        named.group_id,
        named.contact_ids,
        named.required,
        CHUNK_RECIPIENTS,
        needs.name,
        needs.external_id,
        needs.attributes,
    )
    return {row["reason"]: row["recipients"] for row in rows}


async def count_contacts(
    connection: Connection, account_id: int, named: Named
) -> dict[str | None, int]:
    """The same, and nothing is noted."""
    rows = await connection.fetch(
        _SQL["count_contacts"], account_id, named.group_id, named.contact_ids, named.required
    )
    return {row["reason"]: row["recipients"] for row in rows}


async def put_recipients(
    connection: Connection, campaign_id: int, recipients: Sequence[Recipient]
) -> None:
    """Note these after those that are there."""
    for start in range(0, len(recipients), CHUNK_RECIPIENTS):
        chunk = recipients[start : start + CHUNK_RECIPIENTS]
        await connection.execute(
            _SQL["put_chunk"],
            campaign_id,
            [each.contact_id for each in chunk],
            [each.phone for each in chunk],
            [each.name for each in chunk],
            [each.external_id for each in chunk],
            [each.attributes for each in chunk],
            [each.reason for each in chunk],
        )


async def members(
    connection: Connection, group_id: int | None, contact_ids: Collection[int]
) -> set[int]:
    """Which of these contacts are in the group, if there is one."""
    rows = await connection.fetch(_SQL["members"], group_id, list(contact_ids))
    return {row["contact_id"] for row in rows}


async def counted(connection: Connection, campaign_id: int, *, fit: int, unfit: int) -> None:
    """How many recipients it has: that are sent to, and that are not."""
    await connection.execute(_SQL["counted"], campaign_id, fit, unfit)


async def device_limits(connection: Connection, device_id: int) -> DeviceLimits:
    """What limits a device that is there."""
    row = await connection.fetchrow(_SQL["device_limits"], device_id)
    assert row is not None, "devices are never removed from the table"
    return limits_of(row)


async def one(connection: Connection, account_id: int, campaign_id: int) -> asyncpg.Record | None:
    """A campaign of this account, with its counts and what limits its device."""
    return await connection.fetchrow(_SQL["one"], account_id, campaign_id)


async def page(
    connection: Connection, account_id: int, *, below_id: int | None, limit: int, offset: int
) -> list[asyncpg.Record]:
    """The campaigns of an account, newest first."""
    return await connection.fetch(_SQL["page"], account_id, below_id, limit, offset)


async def count(connection: Connection, account_id: int, *, limit: int) -> int:
    """How many campaigns there are, counted up to `limit`."""
    found: int = await connection.fetchval(_SQL["count"], account_id, limit)
    return found


async def hold(connection: Connection, account_id: int, campaign_id: int) -> asyncpg.Record | None:
    """The status of a campaign of this account, which nobody else changes meanwhile."""
    return await connection.fetchrow(_SQL["hold"], account_id, campaign_id)


async def set_status(connection: Connection, campaign_id: int, status: str) -> None:
    """Bring a campaign that is held to another status."""
    await connection.execute(_SQL["set_status"], campaign_id, status)


async def pause_going(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Pause those of these campaigns that go on and that nobody else is changing; which."""
    rows = await connection.fetch(_SQL["pause_going"], ids)
    return sorted(row["id"] for row in rows)


async def told(connection: Connection, campaign_id: int) -> asyncpg.Record:
    """A campaign as its event tells of it."""
    row = await connection.fetchrow(_SQL["told"], campaign_id)
    assert row is not None, "campaigns are never removed"
    return row
