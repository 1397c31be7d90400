"""What upstream services may publish and what they hear: a row for each kind of message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import msgspec

from schemas import commands, upstream
from schemas.campaigns import CampaignEvent, CampaignStatus, Counts
from schemas.problems import invalid
from schemas.upstream import (
    BulkCommand,
    CampaignCommand,
    CommandAccepted,
    CommandRejected,
    ContactOptedOut,
    DeviceChanged,
    MessageInbound,
    MessageStatus,
    ProblemDocument,
    QueuedItem,
    SendCommand,
    StatusEvent,
)

_AT = "2026-11-25T08:00:00.000Z"
_PHONE = "+60123456789"
_COMMAND = "order-1001"
_REFUSED = invalid("phone", "The phone is not a Malaysian number.", code="invalid_phone")

Body = type[msgspec.Struct]


@dataclass(frozen=True, slots=True)
class Channel:
    """One kind of message: its routing key, the property `type`, its body, and an example."""

    key: str
    type: str
    body: Body
    summary: str
    example: Any
    #: what stands for `{…}` in the routing key
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: answers a command, whose message_id is its correlation_id
    answers: bool = False

    @property
    def name(self) -> str:
        """Such as `messageStatus`."""
        first, *rest = self.key.replace("{", "").replace("}", "").replace("_", ".").split(".")
        return first + "".join(part.capitalize() for part in rest)

    @property
    def keys(self) -> list[str]:
        """Every routing key of this kind."""
        if not self.parameters:
            return [self.key]
        [(name, values)] = self.parameters.items()
        return [self.key.replace(f"{{{name}}}", value) for value in values]


def _statuses() -> Sequence[str]:
    return get_args(get_type_hints(StatusEvent)["status"])


COMMANDS = (
    Channel(
        "message.send",
        upstream.SEND_TYPE,
        SendCommand,
        "Queue one message. At most 64 KiB.",
        {"account": 1, "phone": _PHONE, "body": "Hello from Hantar!", "reference": "order-1001"},
    ),
    Channel(
        "message.bulk",
        upstream.BULK_TYPE,
        BulkCommand,
        "Queue 1 to 1000 messages; sound ones go, the others are named. At most 20 MiB.",
        {
            "account": 1,
            "body": "Your order is ready.",
            "messages": [{"phone": _PHONE}, {"phone": "012-345 6780", "body": "Hello Wei!"}],
        },
    ),
    Channel(
        "campaign.create",
        upstream.CAMPAIGN_TYPE,
        CampaignCommand,
        "Make a campaign and dispatch it. At most 20 MiB.",
        {
            "account": 1,
            "name": "June",
            "body": "Hello {{name|there}}!",
            "recipients": [{"phone": _PHONE, "name": "Aminah"}],
        },
    ),
)

EVENTS = (
    Channel(
        upstream.ACCEPTED,
        upstream.ACCEPTED_TYPE,
        CommandAccepted,
        "What became of a command that was accepted.",
        CommandAccepted(
            account=1,
            command=_COMMAND,
            queued=[QueuedItem(index=0, id=1, phone=_PHONE, status="queued")],
            rejected=[],
            campaign_id=None,
        ),
        answers=True,
    ),
    Channel(
        upstream.REJECTED,
        upstream.REJECTED_TYPE,
        CommandRejected,
        "A command was refused: it had no effect, and published again it gets the same answer.",
        CommandRejected(
            account=1,
            command=_COMMAND,
            problem=msgspec.convert(_REFUSED.document(_COMMAND), ProblemDocument),
        ),
        answers=True,
    ),
    Channel(
        "message.{status}",
        commands.STATUS_TYPE,
        MessageStatus,
        "What became of messages: 1 to 100 changes to one status. A fast message may come to "
        "`delivered` without `sent`, and a late word may follow `failed`.",
        MessageStatus(
            account=1,
            events=[
                StatusEvent(
                    message_id=1,
                    status="sent",
                    at=_AT,
                    seq=1,
                    phone=_PHONE,
                    device_id=1,
                    campaign_id=None,
                    reference="order-1001",
                    provider_id="sim-1",
                    error=None,
                    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                )
            ],
        ),
        {"status": _statuses()},
    ),
    Channel(
        upstream.INBOUND,
        commands.INBOUND_TYPE,
        MessageInbound,
        "A person wrote to a device.",
        MessageInbound(
            account=1,
            id=1,
            device_id=1,
            contact_id=1,
            phone=_PHONE,
            kind="text",
            text="Is it ready?",
            opts_out=False,
            provider_id="sim-2",
            at=_AT,
        ),
    ),
    Channel(
        "campaign.{status}",
        commands.CAMPAIGN_TYPE,
        CampaignEvent,
        "A campaign came to another status.",
        CampaignEvent(
            account=1,
            campaign_id=1,
            status="completed",
            at=_AT,
            name="June",
            reference=None,
            counts=Counts(total=1, delivered=1),
        ),
        {"status": get_args(CampaignStatus)},
    ),
    Channel(
        "device.state",
        commands.DEVICE_STATE_TYPE,
        DeviceChanged,
        "A device came to another state.",
        DeviceChanged(
            account=1, device_id=1, state="ready", previous_state="linking", reason=None, at=_AT
        ),
    ),
    Channel(
        "contact.opted_out",
        commands.OPTED_OUT_TYPE,
        ContactOptedOut,
        "A person wants no more messages from the account.",
        ContactOptedOut(account=1, contact_id=1, phone=_PHONE, at=_AT),
    ),
)

#: The types of the events that an account's webhooks may get: all but the answers to commands.
WEBHOOK_TYPES = tuple(key for channel in EVENTS if not channel.answers for key in channel.keys)
