"""Campaigns: one text to many recipients; bodies and resources."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec
import orjson

from schemas.api import Delivery, Id, Instant, Priority, Scalar
from schemas.resources import PRIORITY, MessageStatus, instant
from schemas.shapes import Row, Time
from schemas.templates import Template
from service.core.times import rfc3339

#: Recipients that a request names by ids, and as many that it brings; a group has no limit.
NAMED_LIMIT = 10_000

CampaignStatus = Literal["scheduled", "dispatching", "paused", "completed", "cancelled"]


class Recipient(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Somebody who need not be a contact; what is given here wins over what is known of them."""

    phone: str
    name: str | None = None
    external_id: str | None = None
    attributes: dict[str, Scalar] | None = None


class Audience(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /campaigns/preview: a text, and who gets it."""

    name: str | None = None
    body: str | None = None
    message_template_id: Id | None = None
    #: means the same
    template_id: Id | None = None
    contact_group_id: Id | None = None
    contact_ids: Annotated[list[Id], msgspec.Meta(max_length=NAMED_LIMIT)] | None = None
    recipients: Annotated[list[Recipient], msgspec.Meta(max_length=NAMED_LIMIT)] | None = None
    device: Id | None = None
    priority: Priority | None = None
    send_at: Instant | None = None
    expires_at: Instant | None = None
    #: what becomes of a recipient for whom a value is missing
    missing_variables: Literal["empty", "skip"] = "empty"
    delivery: Delivery | None = None
    reference: str | None = None


class CampaignBody(Audience, kw_only=True):
    """The body of POST /campaigns."""

    name: str


class Counts(msgspec.Struct, kw_only=True):
    """How many recipients there are in all, and with each status."""

    total: int = 0
    scheduled: int = 0
    queued: int = 0
    sending: int = 0
    unconfirmed: int = 0
    sent: int = 0
    failed: int = 0
    delivered: int = 0
    read: int = 0
    cancelled: int = 0
    expired: int = 0
    skipped: int = 0

    @property
    def waiting(self) -> int:
        """Recipients about whom nothing is decided yet."""
        return self.scheduled + self.queued + self.sending


class CampaignCredits(msgspec.Struct):
    """Where the credits of a campaign are; refunded ones count as released."""

    reserved: int
    settled: int
    released: int


class Campaign(msgspec.Struct):
    """A campaign; `template` as it was when the campaign was made, null for a text of its own."""

    id: int
    name: str
    status: CampaignStatus
    body: str
    template: Template | None
    device_id: int
    priority: Priority
    counts: Counts
    progress: float
    eta: Time | None
    credits: CampaignCredits
    send_at: Time | None
    expires_at: Time | None
    reference: str | None
    created_at: Time
    started_at: Time | None
    completed_at: Time | None


class Preview(msgspec.Struct):
    """What a campaign would do; `skipped` by reason, times as far as the device's limits tell."""

    recipients: int
    skipped: dict[str, int]
    cost: int
    balance: int
    duration_seconds: int
    finishes_at: Time


class CampaignEvent(msgspec.Struct):
    """The body of `campaign.<status>`."""

    account: int
    campaign_id: int
    status: CampaignStatus
    at: Time
    name: str
    reference: str | None
    counts: Counts


def campaign(row: Row, eta: datetime | None) -> Campaign:
    """The campaign resource."""
    counts = counts_of(row)
    credits: Mapping[str, int] = orjson.loads(row["credits"])
    template = row["template"]
    decided = counts.total - counts.waiting
    return Campaign(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        body=row["body"],
        template=msgspec.json.decode(template, type=Template) if template is not None else None,
        device_id=row["device_id"],
        priority=PRIORITY[row["priority"]],
        counts=counts,
        progress=round(decided / counts.total, 4) if counts.total else 1.0,
        eta=instant(eta),
        credits=CampaignCredits(
            reserved=credits.get("reserved", 0) + row["pending"],
            settled=credits.get("settled", 0),
            released=credits.get("released", 0) + credits.get("refunded", 0),
        ),
        send_at=instant(row["send_at"]),
        expires_at=instant(row["expires_at"]),
        reference=row["reference"],
        created_at=rfc3339(row["created_at"]),
        started_at=instant(row["started_at"]),
        completed_at=instant(row["completed_at"]),
    )


def campaign_event(row: Row, at: datetime) -> CampaignEvent:
    """What is told when a campaign has come to the status it has."""
    return CampaignEvent(
        account=row["account_id"],
        campaign_id=row["id"],
        status=row["status"],
        at=rfc3339(at),
        name=row["name"],
        reference=row["reference"],
        counts=counts_of(row),
    )


def counts_of(row: Row) -> Counts:
    """The counts; recipients that are not messages yet stand under what they will be at once."""
    found: dict[MessageStatus, int] = orjson.loads(row["statuses"])
    counts = Counts(total=row["total"], **found)
    counts.skipped += row["unfit"]
    if row["status"] == "cancelled":
        counts.cancelled += row["pending"]
    elif row["started_at"] is None:
        counts.scheduled += row["pending"]
    else:
        counts.queued += row["pending"]
    return counts
