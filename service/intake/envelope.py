"""From a delivery to a command: everything that can be told without the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import orjson

from schemas.decode import decode, decode_bulk
from schemas.problems import Problem
from schemas.upstream import (
    BULK_TYPE,
    CAMPAIGN_TYPE,
    SEND_TYPE,
    Addressed,
    BulkCommand,
    CampaignCommand,
    SendCommand,
)
from service.bus.delivery import Delivery
from service.once import fingerprint

_KEY_LIMIT_CHARS = 255
_REPLIES = ("amq.rabbitmq.reply-to", "hantar.reply.")

Request = SendCommand | BulkCommand | CampaignCommand


class Poison(Exception):
    """No command that anybody could be told about; `reason` is one of few."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of command; `operation` is the HTTP path that does the same."""

    routing_key: str
    type: str
    operation: str
    limit_bytes: int
    #: unsettled at once; the memory held is this many times the broker's max_message_size
    prefetch: int
    decode: Callable[[bytes], Request]


@dataclass(frozen=True, slots=True)
class Command:
    """A command that somebody waits for an answer to; sound unless there is a `fault`."""

    kind: Kind
    id: str
    user: str
    account_id: int
    fingerprint: bytes
    request: Request | None
    fault: Problem | None
    reply_to: str | None


_send_decoder = msgspec.json.Decoder(SendCommand)
_bulk_decoder = msgspec.json.Decoder(BulkCommand)
_campaign_decoder = msgspec.json.Decoder(CampaignCommand)
_addressed_decoder = msgspec.json.Decoder(Addressed)

KINDS = (
    Kind(
        "message.send",
        SEND_TYPE,
        "/api/v1/messages/send",
        64 * 1024,
        16,
        lambda raw: decode(raw, _send_decoder),
    ),
    Kind(
        "message.bulk",
        BULK_TYPE,
        "/api/v1/messages/bulk",
        20 * 1024 * 1024,
        4,
        lambda raw: decode_bulk(raw, _bulk_decoder),
    ),
    Kind(
        "campaign.create",
        CAMPAIGN_TYPE,
        "/api/v1/campaigns",
        20 * 1024 * 1024,
        4,
        lambda raw: decode(raw, _campaign_decoder),
    ),
)


def read(delivery: Delivery, kind: Kind, owner: str | None = None) -> Command:
    """The command, from the queue of one user or of all; raises Poison for what names no account,
    no sender or no id, or comes from another user."""
    _check_properties(delivery, kind)
    if owner is not None and delivery.user_id != owner:
        raise Poison("user_id", "This routing key is another user's own.")
    raw = delivery.body
    if len(raw) > kind.limit_bytes:
        detail = f"The body has {len(raw)} bytes, {kind.limit_bytes} are the most."
        raise Poison("payload_too_large", detail)
    request = fault = None
    try:
        request = kind.decode(raw)
        account_id = request.account
    except Problem as problem:
        fault = problem
        account_id = _account(raw, problem)
    reply_to = delivery.reply_to
    return Command(
        kind,
        delivery.message_id or "",
        delivery.user_id or "",
        account_id,
        fingerprint(kind.operation, _without_account(raw)),
        request,
        fault,
        reply_to if reply_to is not None and reply_to.startswith(_REPLIES) else None,
    )


def _check_properties(delivery: Delivery, kind: Kind) -> None:
    message_id = delivery.message_id or ""
    if delivery.content_type != "application/json":
        raise Poison("content_type", "The content_type must be application/json.")
    if delivery.content_encoding not in (None, "", "utf-8", "UTF-8"):
        raise Poison("content_encoding", "The body must not be encoded.")
    if delivery.type != kind.type:
        raise Poison("type", f"The type must be {kind.type} under this routing key.")
    if not 0 < len(message_id) <= _KEY_LIMIT_CHARS or not all(
        "!" <= char <= "~" for char in message_id
    ):
        detail = f"The message_id must be 1 to {_KEY_LIMIT_CHARS} visible ASCII characters."
        raise Poison("message_id", detail)
    if not delivery.user_id:
        raise Poison("user_id", "The user_id must name the user who publishes.")


def _account(raw: bytes, problem: Problem) -> int:
    """Whom to tell of the problem."""
    if problem.status == 400:
        raise Poison(problem.code, problem.detail) from problem
    try:
        return _addressed_decoder.decode(raw).account
    except RecursionError:
        raise Poison("invalid_json", "The body is nested too deeply.") from problem
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Poison("account", "The body must name an account by its id.") from problem


def _without_account(raw: bytes) -> bytes:
    """As HTTP would have got it, so that a key means the same through both doors."""
    try:
        body = orjson.loads(raw)
        return orjson.dumps({name: value for name, value in body.items() if name != "account"})
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return raw
