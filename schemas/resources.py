"""Messages as the outside sees them, made from rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from schemas.api import Priority
from schemas.shapes import Row, Time
from service.core.times import rfc3339

PRIORITY: tuple[Priority, ...] = ("high", "normal", "low")

MessageStatus = Literal[
    "scheduled",
    "queued",
    "sending",
    "unconfirmed",
    "sent",
    "failed",
    "delivered",
    "read",
    "cancelled",
    "expired",
    "skipped",
]
WaitingReason = Literal[
    "scheduled",
    "device_rate",
    "pair",
    "daily_cap",
    "quiet_hours",
    "paused",
    "not_ready",
    "throttled",
    "held",
    "behind",
]


class Error(msgspec.Struct):
    """Why a message failed, or what held it up last."""

    code: str
    detail: str | None


class Waiting(msgspec.Struct):
    """Why a message waits, and when it goes at the earliest, if that is known."""

    reason: WaitingReason
    earliest_at: Time | None


class Message(msgspec.Struct):
    """A message."""

    id: int
    status: MessageStatus
    phone: str
    body: str
    contact_id: int | None
    campaign_id: int | None
    template_id: int | None
    device_id: int | None
    driver: str | None
    priority: Priority
    reference: str | None
    provider_id: str | None
    attempts: int
    credit: Literal["reserved", "settled", "released", "refunded"] | None
    error: Error | None
    waiting: Waiting | None
    send_at: Time | None
    expires_at: Time | None
    created_at: Time
    queued_at: Time | None
    sent_at: Time | None
    delivered_at: Time | None
    read_at: Time | None
    failed_at: Time | None


class Queued(msgspec.Struct):
    """An item of a bulk that was accepted; `index` is its place in the request."""

    index: int
    id: int
    phone: str
    status: MessageStatus


class Refused(msgspec.Struct):
    """An item of a bulk that was not."""

    index: int
    phone: str | None
    code: str
    detail: str


class Charged(msgspec.Struct):
    """What a bulk cost, and what is left."""

    charged: int
    balance: int


class BulkAnswer(msgspec.Struct):
    """What became of each item of a bulk."""

    queued: list[Queued]
    rejected: list[Refused]
    credits: Charged


def instant(at: datetime | None) -> str | None:
    """A time in the API's form."""
    return rfc3339(at) if at is not None else None


def message(row: Row) -> Message:
    """The message resource."""
    code = row["error_code"]
    return Message(
        id=row["id"],
        status=row["status"],
        phone=row["phone"],
        body=row["body"],
        contact_id=row["contact_id"],
        campaign_id=row["campaign_id"],
        template_id=row["template_id"],
        device_id=row["device_id"],
        driver=row["driver"],
        priority=PRIORITY[row["priority"]],
        reference=row["reference"],
        provider_id=row["provider_id"],
        attempts=row["attempts"],
        credit=row["credit"],
        error=Error(code, row["error_detail"]) if code else None,
        waiting=_waiting(row),
        send_at=instant(row["send_at"]),
        expires_at=instant(row["expires_at"]),
        created_at=rfc3339(row["created_at"]),
        queued_at=instant(row["queued_at"]),
        sent_at=instant(row["sent_at"]),
        delivered_at=instant(row["delivered_at"]),
        read_at=instant(row["read_at"]),
        failed_at=instant(row["failed_at"]),
    )


#: What every message goes through that arrives, by the columns of the times.
_MILESTONES = {
    "created": "created_at",
    "queued": "queued_at",
    "sent": "sent_at",
    "delivered": "delivered_at",
    "read": "read_at",
}


class Step(msgspec.Struct, omit_defaults=True):
    """Something that happened to a message: a milestone, or what went otherwise and why."""

    at: Time
    status: str
    attempt: int | None = None
    code: str | None = None
    detail: str | None = None


def story(row: Row, otherwise: Sequence[Row]) -> dict[str, Any]:
    """The message resource as operators see it: without text and phone, with what is behind it."""
    fields: dict[str, Any] = msgspec.to_builtins(message(row))
    del fields["phone"], fields["body"]
    steps = [Step(rfc3339(row[at]), name) for name, at in _MILESTONES.items() if row[at]]
    steps += [
        Step(rfc3339(each["at"]), each["status"], each["attempt"], each["code"], each["detail"])
        for each in otherwise
    ]
    awaits = row["doubt_awaits"]
    return fields | {
        "account_id": row["account_id"],
        "shard": row["shard"],
        "delivery": row["delivery"],
        "resent": row["resent"],
        "seq": row["seq"],
        "doubt": {"awaits": awaits, "due_at": instant(row["doubt_due_at"])} if awaits else None,
        "history": msgspec.to_builtins(sorted(steps, key=lambda step: step.at)),
    }


def _waiting(row: Row) -> Waiting | None:
    if row["status"] not in ("scheduled", "queued"):
        return None
    return Waiting(row["waiting_reason"] or "behind", instant(row["waiting_until"]))
