"""The bodies of the HTTP API as types; decoding one is validating it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from schemas.media import Media

Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Priority = Literal["high", "normal", "low"]
Delivery = Literal["at_most_once", "at_least_once"]
Scalar = str | int | float | bool | None

#: a bulk has at most so many messages
BULK_LIMIT = 1000


class SendOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a message may carry beside its phone; in a bulk also the defaults of its items."""

    body: str | None = None
    media: Media | None = None
    template_id: Id | None = None
    variables: dict[str, Scalar] | None = None
    name: str | None = None
    external_id: str | None = None
    attributes: dict[str, Scalar] | None = None
    save_contact: bool | None = None
    device: Id | None = None
    priority: Priority | None = None
    send_at: Instant | None = None
    expires_at: Instant | None = None
    reference: str | None = None
    delivery: Delivery | None = None


class Send(SendOptions, kw_only=True):
    """The body of POST /messages/send, and each item of a bulk."""

    phone: str


class Bulk(SendOptions, kw_only=True):
    """The body of POST /messages/bulk; items are decoded one by one, as they are independent."""

    messages: list[msgspec.Raw]
