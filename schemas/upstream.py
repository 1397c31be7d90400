"""The AMQP contract for upstream services: commands in, answers and events out."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from schemas.api import Bulk, Id, Send
from schemas.campaigns import CampaignBody
from schemas.devices import DeviceState
from schemas.shapes import Time

SEND_TYPE = "hantar.message.send.v1"
BULK_TYPE = "hantar.message.bulk.v1"
CAMPAIGN_TYPE = "hantar.campaign.create.v1"
ACCEPTED_TYPE = "hantar.command.accepted.v1"
REJECTED_TYPE = "hantar.command.rejected.v1"
ACCEPTED = "command.accepted"
REJECTED = "command.rejected"
INBOUND = "message.inbound"
OPTED_OUT = "contact.opted_out"


class SendCommand(Send, kw_only=True):
    """Queue one message of this account."""

    account: Id


class BulkCommand(Bulk, kw_only=True):
    """Queue up to 1000 messages of this account."""

    account: Id


class CampaignCommand(CampaignBody, kw_only=True):
    """Make a campaign of this account."""

    account: Id


class Addressed(msgspec.Struct):
    """What can be read of a command whose body is not sound otherwise."""

    account: Id


class QueuedItem(msgspec.Struct):
    """A message that was queued; `index` is its place in the command."""

    index: int
    id: int
    phone: str
    status: Literal["queued", "scheduled"]


class RejectedItem(msgspec.Struct):
    """An item that was refused; `phone` as it was given, or in E.164 where it was sound."""

    index: int
    phone: str | None
    code: str
    detail: str


class CommandAccepted(msgspec.Struct):
    """What became of a command; `command` is its message_id."""

    account: int
    command: str
    queued: list[QueuedItem]
    rejected: list[RejectedItem]
    campaign_id: int | None


class ProblemDocument(msgspec.Struct):
    """Why something was refused (RFC 9457); `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    message: str
    errors: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET
    queued: list[QueuedItem] | msgspec.UnsetType = msgspec.UNSET
    rejected: list[RejectedItem] | msgspec.UnsetType = msgspec.UNSET


class CommandRejected(msgspec.Struct):
    """A command that had no effect and never will; `command` is its message_id."""

    account: int
    command: str
    problem: ProblemDocument


class EventError(msgspec.Struct):
    """Why a message failed, expired or was skipped."""

    code: str
    detail: str | None


class StatusEvent(msgspec.Struct):
    """One change of one message; `seq` rises by one with each of its changes."""

    message_id: int
    status: Literal[
        "unconfirmed", "sent", "failed", "delivered", "read", "cancelled", "expired", "skipped"
    ]
    at: Time
    seq: int
    phone: str
    device_id: int
    campaign_id: int | None
    reference: str | None
    provider_id: str | None
    error: EventError | None
    #: of the request that the message was accepted in (W3C Trace Context)
    traceparent: str | None


class MessageStatus(msgspec.Struct):
    """Up to 100 changes of messages of one account."""

    account: int
    events: list[StatusEvent]


class MessageInbound(msgspec.Struct):
    """A message that a person wrote to a device."""

    account: int
    id: int
    device_id: int
    contact_id: int | None
    phone: str
    #: `text`, or what it is instead, as the provider names it: `image`, `location` …
    kind: str
    #: null where the installation keeps no texts
    text: str | None
    #: whether it is one of the words that opt a person out
    opts_out: bool
    provider_id: str
    at: Time


class DeviceChanged(msgspec.Struct):
    """A device came to another state; `reason` is there when only a person can mend it."""

    account: int
    device_id: int
    state: DeviceState
    previous_state: DeviceState
    reason: str | None
    at: Time


class ContactOptedOut(msgspec.Struct):
    """A person wants no more messages from the account."""

    account: int
    contact_id: int
    phone: str
    at: Time


def accepted(account: int, command: str, answer: Any) -> dict[str, Any]:
    """The body of command.accepted, from what HTTP would have answered."""
    data = answer.get("data")
    if data is None:
        queued, rejected, campaign_id = answer["queued"], answer["rejected"], None
    elif "phone" in data:
        queued = [{"index": 0, **{name: data[name] for name in ("id", "phone", "status")}}]
        rejected, campaign_id = [], None
    else:
        queued, rejected, campaign_id = [], [], data["id"]
    return {
        "account": account,
        "command": command,
        "queued": queued,
        "rejected": rejected,
        "campaign_id": campaign_id,
    }
