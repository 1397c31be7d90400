"""The life of a message: its statuses, and how changes to one message merge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """In the order of rank; the last three are reached only from scheduled or queued."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    UNCONFIRMED = "unconfirmed"
    SENT = "sent"
    FAILED = "failed"
    DELIVERED = "delivered"
    READ = "read"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SKIPPED = "skipped"


RANK = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class Change:
    """One fact about one message, as a driver, a callback or a sweep reports it."""

    message_id: int
    attempt: int
    status: Status
    at: datetime
    provider_id: str | None = None
    error_code: str | None = None
    error_detail: str | None = None
    #: with status queued: when it may be tried again
    not_before: datetime | None = None
    #: with status queued: why it waits until then
    reason: str | None = None
    #: 1 when the try counts towards the bound on attempts, 0 when not
    counted: int = 0
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    read_at: datetime | None = None


def _order(change: Change) -> tuple[int, int]:
    """Below sent a later attempt wins; from sent on the rank alone does."""
    rank = RANK[change.status]
    if rank >= RANK[Status.SENT] and change.status is not Status.FAILED:
        return (1 << 31, rank)
    return (change.attempt, rank)


def fold(changes: Iterable[Change]) -> list[Change]:
    """One change per message, by ascending message id, whatever the order they arrived in."""
    folded: dict[int, Change] = {}
    for change in changes:
        known = folded.get(change.message_id)
        folded[change.message_id] = change if known is None else _merge(known, change)
    return [folded[message_id] for message_id in sorted(folded)]


def _stamped(change: Change) -> Change:
    match change.status:
        case Status.SENT:
            return replace(change, sent_at=change.sent_at or change.at)
        case Status.DELIVERED:
            return replace(change, delivered_at=change.delivered_at or change.at)
        case Status.READ:
            return replace(change, read_at=change.read_at or change.at)
        case _:
            return change


def _merge(known: Change, other: Change) -> Change:
    known, other = _stamped(known), _stamped(other)
    winner = max(known, other, key=_order)
    return replace(
        winner,
        provider_id=winner.provider_id or known.provider_id or other.provider_id,
        counted=known.counted + other.counted,
        sent_at=known.sent_at or other.sent_at,
        delivered_at=known.delivered_at or other.delivered_at,
        read_at=known.read_at or other.read_at,
    )
