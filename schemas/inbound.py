"""Messages that persons wrote: resources."""

from __future__ import annotations

import msgspec

from schemas.shapes import Row, Time
from service.core.times import rfc3339


class InboundMessage(msgspec.Struct):
    """A message that a person wrote to a device."""

    id: int
    device_id: int
    phone: str
    #: `text`, or what it is instead, as the provider names it
    kind: str
    #: null where it is not kept, or its key is gone
    text: str | None
    provider_id: str
    at: Time
    created_at: Time


def inbound_message(row: Row, text: str | None) -> InboundMessage:
    """The inbound message resource."""
    return InboundMessage(
        id=row["id"],
        device_id=row["device_id"],
        phone=row["phone"],
        kind=row["kind"],
        text=text,
        provider_id=row["provider_id"],
        at=rfc3339(row["at"]),
        created_at=rfc3339(row["created_at"]),
    )
