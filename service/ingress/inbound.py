"""What persons wrote to the devices of an account."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from schemas.inbound import InboundMessage, inbound_message
from schemas.problems import invalid
from schemas.shapes import Many, Row
from service.core.phone import normalise
from service.core.words import Words
from service.ingress.auth import CALLER
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation, Parameter
from service.ingress.pages import COUNT_LIMIT, single, whole_number
from service.store import inbound as store
from service.store.pool import Connection

_FILTERS = (
    Parameter("device_id", "Only to this device.", {"type": "integer", "minimum": 1}),
    Parameter("phone", "Only from this phone: in E.164, or a Malaysian one in any usual spelling."),
)
_E164 = re.compile(r"\+[0-9]{7,15}")


class InboundMessages:
    """Handlers of /inbound-messages."""

    def __init__(self, lists: Lists, words: Words) -> None:
        self._lists = lists
        self._words = words

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="GET",
                path="/inbound-messages",
                handler=self.page,
                summary="What people wrote to the devices in the last 30 days, newest first.",
                query=(*_FILTERS, *PAGING),
                answers={200: Many[InboundMessage]},
                problems=("invalid_phone",),
            )
        ]

    async def page(self, request: web.Request) -> web.Response:
        """What people wrote, newest first."""
        self._lists.refuse_unknown(request, (parameter.name for parameter in _FILTERS))
        account_id = request[CALLER].account_id
        device_id, phone = whole_number(request.query, "device_id"), _phone(request)

        async def rows(connection: Connection, part: Slice) -> list[Any]:
            return await store.page(
                connection,
                account_id,
                device_id,
                phone,
                below_id=part.below_id,
                limit=part.limit,
                offset=part.offset,
            )

        async def count(connection: Connection) -> int:
            return await store.count(
                connection, account_id, device_id, phone, limit=COUNT_LIMIT + 1
            )

        return await self._lists.answer(request, rows, count, self._resource)

    def _resource(self, row: Row) -> InboundMessage:
        return inbound_message(row, self._words.open(row["text"]))


def _phone(request: web.Request) -> str | None:
    given = single(request.query, "phone")
    if given is None:
        return None
    # A + that stands bare in a query reads as a space.
    spelt = "+" + given[1:] if given.startswith(" ") else given
    phone = spelt if _E164.fullmatch(spelt) else normalise(spelt)
    if phone is None:
        raise invalid("phone", "Must be a phone number like +60123456789.", code="invalid_phone")
    return phone
