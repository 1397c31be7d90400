"""What travels inside Hantar on the bus; of phones and texts only those of inbound messages."""

from __future__ import annotations

from datetime import datetime

import msgspec

DISPATCH_TYPE = "hantar.dispatch.v1"
CALLBACKS_TYPE = "hantar.callbacks.v1"
STATUS_TYPE = "hantar.message.status.v1"
INBOUND_TYPE = "hantar.message.inbound.v1"
OPTED_OUT_TYPE = "hantar.contact.opted_out.v1"
DEVICE_STATE_TYPE = "hantar.device.state.v1"
CAMPAIGN_TYPE = "hantar.campaign.status.v1"

#: more ids a command bring nothing end to end
DISPATCH_PACK = 100
#: the most events in one public event message
EVENT_PACK = 100


class Dispatch(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Send these messages of one device."""

    device: int
    priority: int
    ids: list[int]
    #: the campaign they belong to; 0 for the account's own
    flow: int = 0


class CallbackItem(msgspec.Struct, omit_defaults=True):
    """A provider's later word on a message."""

    message_id: int
    attempt: int
    status: str
    at: datetime
    provider_id: str | None = None
    error_code: str | None = None
    error_detail: str | None = None
    #: what else it concerns: a recipient, a template, a device, a credential or an account; or
    #: `refused` or `no_marketing`, the recipient alone
    scope: str | None = None
    #: for so long; None: until somebody resumes it
    hold_seconds: float | None = None


class InboundItem(msgspec.Struct, omit_defaults=True):
    """A message that a person sent to a device."""

    device_id: int
    phone: str
    text: str
    provider_id: str
    at: datetime
    kind: str = "text"


class StandingItem(msgspec.Struct, omit_defaults=True):
    """What a provider thinks of a device; null is not said."""

    device_id: int
    at: datetime
    quality: str | None = None
    messaging_limit: str | None = None
    #: null beside a limit is as many as it likes
    recipients_per_day: int | None = None
    phone: str | None = None
    #: whether it is all that there is to say
    complete: bool = False


class TemplateItem(msgspec.Struct, omit_defaults=True):
    """What a provider says of a template of its own, as a device heard it."""

    device_id: int
    name: str
    language: str
    status: str
    at: datetime
    reason: str | None = None
    #: whether what waits for it may go on
    sendable: bool = False


class UnreadItem(msgspec.Struct, omit_defaults=True):
    """What a provider said that nothing reads."""

    device_id: int
    kind: str
    body: str
    at: datetime


class LinkItem(msgspec.Struct, omit_defaults=True):
    """How a device that is linked by a code stands with its phone."""

    device_id: int
    state: str
    at: datetime
    phone: str | None = None
    reason: str | None = None


class Callbacks(msgspec.Struct, omit_defaults=True):
    """What a driver was called back with, durable before the provider gets its answer."""

    statuses: list[CallbackItem] = []
    inbound: list[InboundItem] = []
    standings: list[StandingItem] = []
    templates: list[TemplateItem] = []
    unread: list[UnreadItem] = []
    links: list[LinkItem] = []
