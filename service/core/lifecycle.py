"""The life of a message: its statuses, and how changes to one message merge."""

from __future__ import annotations

from collections import defaultdict
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


#: A provider's words are kept up to this length.
LONGEST_TEXT_CHARS = 500

RANK = {status: rank for rank, status in enumerate(Status)}
_SENT_OR_BETTER = frozenset({Status.SENT, Status.DELIVERED, Status.READ})


#: The scope of a hold that keeps nothing waiting: it is known that the recipient is refused.
REFUSED = "refused"
#: The same for marketing alone, of which the template of the message is some.
NO_MARKETING = "no_marketing"


@dataclass(frozen=True, slots=True)
class Hold:
    """What else has to wait, as an answer concerned more than its message."""

    #: recipient, template, device, credential or account; or REFUSED or NO_MARKETING
    scope: str
    #: None: until somebody resumes the devices, or with a template the campaign
    until: datetime | None
    code: str


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
    #: with status queued: when it may be tried again; None: at once, in its old place
    not_before: datetime | None = None
    #: with status queued: why it waits until then
    reason: str | None = None
    #: 1 when the try counts towards the bound on attempts, 0 when not
    counted: int = 0
    #: what has to wait because of it
    hold: Hold | None = None
    #: set by `fold`, when it left out the changes that said so
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    read_at: datetime | None = None


def fold(changes: Iterable[Change]) -> list[Change]:
    """One change per message, by ascending message id, whatever the order they arrived in."""
    together: defaultdict[int, list[Change]] = defaultdict(list)
    for change in changes:
        together[change.message_id].append(change)
    return [_fold_one(together[message_id]) for message_id in sorted(together)]


def _fold_one(changes: list[Change]) -> Change:
    if len(changes) == 1:
        return changes[0]
    latest = max(change.attempt for change in changes)
    ranked = sorted(changes, key=lambda change: _weight(change, latest), reverse=True)
    return replace(
        ranked[0],
        provider_id=next((change.provider_id for change in ranked if change.provider_id), None),
        # An attempt counts once, however often it is reported.
        counted=len({change.attempt for change in changes if change.counted}),
        sent_at=_first_at(changes, Status.SENT),
        delivered_at=_first_at(changes, Status.DELIVERED),
        read_at=_first_at(changes, Status.READ),
    )


def _weight(change: Change, latest: int) -> tuple[bool, int, bool, int, float]:
    """Below sent a later attempt wins; from sent on the rank alone does.

    A failure counts among the latter unless its attempt is over. To go back to queued outweighs a
    doubt about the same attempt, as only what was certainly not accepted goes back.
    """
    status = change.status
    final = status in _SENT_OR_BETTER or (status is Status.FAILED and change.attempt == latest)
    return (
        final,
        0 if final else change.attempt,
        not final and status is Status.QUEUED,
        RANK[status],
        -change.at.timestamp(),
    )


def _first_at(changes: list[Change], status: Status) -> datetime | None:
    return min((change.at for change in changes if change.status is status), default=None)
