"""Webhook endpoints and their deliveries: bodies and resources."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from schemas.api import Instant
from schemas.channels import WEBHOOK_TYPES
from schemas.resources import instant
from schemas.shapes import Row, Time
from service.core.times import rfc3339

#: What an endpoint may ask for: everything, all of a kind, or one type.
EVENT_TYPES = (
    "*",
    *(f"{kind}.*" for kind in dict.fromkeys(each.partition(".")[0] for each in WEBHOOK_TYPES)),
    *WEBHOOK_TYPES,
)
EventType = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(EVENT_TYPES)})]
Url = Annotated[str, msgspec.Meta(max_length=2048)]
LONGEST_OVERLAP_SECONDS = 7 * 86_400


class EndpointBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /webhook-endpoints."""

    url: Url
    events: Annotated[list[EventType], msgspec.Meta(min_length=1, max_length=50)] = msgspec.field(
        default_factory=lambda: ["*"]
    )
    description: str | None = None
    is_active: bool = True


class EndpointChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of PUT and PATCH; switched on again, an endpoint begins without its past."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    events: (
        Annotated[list[EventType], msgspec.Meta(min_length=1, max_length=50)] | msgspec.UnsetType
    ) = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET


class Rotation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST …/rotate-secret: how long the old secret signs beside the new one."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_OVERLAP_SECONDS)] = 86_400


class Replay(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST …/replay: what failed of the events since then."""

    since: Instant


class Replayed(msgspec.Struct):
    """How many deliveries are due again; ask once more while there are `more`."""

    replayed: int
    more: bool


class Endpoint(msgspec.Struct, omit_defaults=True):
    """Where events are sent; `secret` is there only when it was just made."""

    id: int
    url: str
    events: list[str]
    description: str | None
    is_active: bool
    disabled_reason: str | None
    failing_since: Time | None
    created_at: Time
    updated_at: Time
    secret: str | msgspec.UnsetType = msgspec.UNSET


class Delivery(msgspec.Struct):
    """An event on its way to an endpoint; `due_at` is the next try."""

    id: int
    event_id: str
    type: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    due_at: Time | None
    last_at: Time | None
    last_status: int | None
    last_error: str | None
    created_at: Time


def endpoint(row: Row, secret: str | None = None) -> Endpoint:
    """The webhook endpoint resource."""
    return Endpoint(
        id=row["id"],
        url=row["url"],
        events=row["events"],
        description=row["description"],
        is_active=row["is_active"],
        disabled_reason=row["disabled_reason"],
        failing_since=instant(row["failing_since"]),
        created_at=rfc3339(row["created_at"]),
        updated_at=rfc3339(row["updated_at"]),
        secret=secret if secret is not None else msgspec.UNSET,
    )


def delivery(row: Row) -> Delivery:
    """The delivery resource."""
    return Delivery(
        id=row["id"],
        event_id=f"evt_{row['event_id']}",
        type=row["type"],
        state=row["state"],
        attempts=row["attempts"],
        due_at=instant(row["due_at"]),
        last_at=instant(row["last_at"]),
        last_status=row["last_status"],
        last_error=row["last_error"],
        created_at=rfc3339(row["created_at"]),
    )
