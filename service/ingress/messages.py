"""The messages resource."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from schemas import resources
from schemas.api import Bulk, Send
from schemas.problems import Problem, invalid
from schemas.resources import BulkAnswer, Message
from schemas.shapes import Many, One, Row
from service.accept import Accept
from service.core.lifecycle import Change, Status
from service.core.phone import normalise
from service.ingress.auth import CALLER, require_verified_email
from service.ingress.gate import Gate
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation, Parameter
from service.ingress.pages import COUNT_LIMIT, single, whole_number
from service.ingress.replies import encoded, found, missing, one, path_id, reply
from service.ingress.requests import READ_SECONDS, read_bulk, read_nothing, read_send
from service.once import Answer, Once
from service.record.writing import write
from service.store import messages as store
from service.store.messages import MessageFilter
from service.store.pool import Connection, Pool

_STATUSES = frozenset(status.value for status in Status)
_WHAT = "message"
_ID = {"type": "integer", "minimum": 1}
_FILTERS = (
    Parameter("status", "Only with this status.", {"enum": sorted(_STATUSES)}),
    Parameter("campaign_id", "Only of this campaign.", _ID),
    Parameter("contact_id", "Only to this contact.", _ID),
    Parameter("phone", "Only to this phone, in any usual spelling."),
)
_REFUSALS = (
    "email_unverified",
    "insufficient_credits",
    "invalid_phone",
    "no_device",
    "opted_out",
    "idempotency_key_reused",
    "idempotency_in_progress",
    "unavailable",
)


class Messages:
    """Handlers of /messages."""

    def __init__(
        self,
        pool: Pool,
        accept: Accept,
        once: Once,
        gate: Gate,
        lists: Lists,
        *,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._pool = pool
        self._accept = accept
        self._once = once
        self._gate = gate
        self._lists = lists
        self._read_seconds = read_seconds

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="POST",
                path="/messages/send",
                handler=self.send,
                summary="Queue one message.",
                body=Send,
                answers={202: One[Message]},
                problems=_REFUSALS,
                example={"phone": "0123456789", "body": "Hello from Hantar!"},
            ),
            Operation(
                method="POST",
                path="/messages/bulk",
                handler=self.bulk,
                summary="Queue up to 1000 messages; sound ones go, the others are named.",
                body=Bulk,
                answers={202: BulkAnswer},
                problems=_REFUSALS,
                example={
                    "messages": [
                        {"phone": "0123456789", "body": "Hello Aminah!"},
                        {"phone": "012-345 6780", "body": "Hello Wei!", "device": 2},
                    ]
                },
            ),
            Operation(
                method="GET",
                path="/messages",
                handler=self.page,
                summary="The message log, newest first.",
                query=(*_FILTERS, *PAGING),
                answers={200: Many[Message]},
                problems=("invalid_phone", "not_found"),
            ),
            Operation(
                method="GET",
                path="/messages/{id}",
                handler=self.one,
                summary="One message, and why it waits while it waits.",
                answers={200: One[Message]},
            ),
            Operation(
                method="POST",
                path="/messages/{id}/cancel",
                handler=self.cancel,
                summary="Cancel a message that has not been handed over yet.",
                answers={200: One[Message]},
                example_ids={"id": 3},
                problems=("not_cancellable",),
            ),
        ]

    async def send(self, request: web.Request) -> web.Response:
        """Queue one message."""
        require_verified_email(request)
        body, key = await read_send(request, within_seconds=self._read_seconds)
        self._gate.check()
        return reply(await self._accept.send(request[CALLER].account_id, body, key))

    async def bulk(self, request: web.Request) -> web.Response:
        """Queue up to 1000 messages."""
        require_verified_email(request)
        body, key = await read_bulk(request, within_seconds=self._read_seconds)
        self._gate.check()
        return reply(await self._accept.bulk(request[CALLER].account_id, body, key))

    async def one(self, request: web.Request) -> web.Response:
        """One message."""
        message_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            row = await store.one(connection, request[CALLER].account_id, message_id)
        return one(resources.message(found(row, _WHAT)))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel while it waits; one that is cancelled already is answered likewise."""
        message_id = path_id(request, _WHAT)
        key = await read_nothing(request)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            found(await store.one(connection, account_id, message_id), _WHAT)
            change = Change(message_id, 0, Status.CANCELLED, datetime.now(UTC))
            written = await write(connection, [change], doubt_seconds=0.0)
            row = found(await store.one(connection, account_id, message_id), _WHAT)
            if row["status"] != Status.CANCELLED:
                detail = f"The message is {row['status']} already."
                raise Problem(409, "not_cancellable", detail)
            return Answer(200, encoded(resources.message(row)), written.entries)

        return reply(await self._once.run(account_id, key, work))

    async def page(self, request: web.Request) -> web.Response:
        """The message log, newest first."""
        self._lists.refuse_unknown(request, (parameter.name for parameter in _FILTERS))
        account_id = request[CALLER].account_id
        narrowed = _filter(request)

        async def rows(connection: Connection, part: Slice) -> list[Any]:
            if (narrowed.campaign_id, narrowed.contact_id) != (None, None):
                _check_own(await store.knows(connection, account_id, narrowed))
            return await store.page(
                connection,
                account_id,
                narrowed,
                below_id=part.below_id,
                limit=part.limit,
                offset=part.offset,
            )

        async def count(connection: Connection) -> int:
            return await store.count(connection, account_id, narrowed, limit=COUNT_LIMIT + 1)

        return await self._lists.answer(request, rows, count, resources.message)


def _check_own(known: Row) -> None:
    """404 for a list that is narrowed to what is not there, or is another account's."""
    for what in ("campaign", "contact"):
        if not known[what]:
            missing(what)


def _filter(request: web.Request) -> MessageFilter:
    status = single(request.query, "status")
    if status is not None and status not in _STATUSES:
        raise invalid("status", f"Must be one of {', '.join(Status)}.")
    phone = single(request.query, "phone")
    if phone is not None:
        # A + that stands bare in a query reads as a space.
        normalised = normalise(phone.removeprefix(" "))
        if normalised is None:
            raise invalid("phone", "The phone is not a Malaysian number.", code="invalid_phone")
        phone = normalised
    return MessageFilter(
        status,
        whole_number(request.query, "campaign_id"),
        whole_number(request.query, "contact_id"),
        phone,
    )
