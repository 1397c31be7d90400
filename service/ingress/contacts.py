"""The contacts resource."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec
import orjson
from aiohttp import web

from schemas import contacts as schema
from schemas.commands import OPTED_OUT_TYPE
from schemas.contacts import Contact, ContactBody, ContactChange
from schemas.problems import invalid
from schemas.shapes import Many, One
from service.core.times import rfc3339
from service.ingress import checks
from service.ingress.auth import CALLER
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation, Parameter
from service.ingress.pages import COUNT_LIMIT, single
from service.ingress.replies import (
    CLAIMS_OVER_SECONDS,
    NOTHING,
    encoded,
    found,
    missing,
    one,
    path_id,
    reply,
)
from service.ingress.requests import read_json
from service.once import Answer, Idempotency, Once, Work
from service.store import contacts as store
from service.store.contacts import ContactFields, ContactFilter
from service.store.pool import Connection, Pool
from service.store.record import put_event

_WHAT = "contact"
_OPTED_OUT = "contact.opted_out"
_SEARCH_LIMIT_CHARS = 255
_FILTERS = (
    Parameter("search", "Only those whose name or phone contains this text."),
    Parameter("external_id", "Only those with exactly this external id."),
)
_body_decoder = msgspec.json.Decoder(ContactBody)
_change_decoder = msgspec.json.Decoder(ContactChange)


class Contacts:
    """Handlers of /contacts."""

    def __init__(self, pool: Pool, once: Once, lists: Lists) -> None:
        self._pool = pool
        self._once = once
        self._lists = lists

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        change = {"name": "Aminah binti Ali"}
        return [
            Operation(
                method="GET",
                path="/contacts",
                handler=self.page,
                summary="Contacts, newest first.",
                query=(*_FILTERS, *PAGING),
                answers={200: Many[Contact]},
            ),
            Operation(
                method="POST",
                path="/contacts",
                handler=self.create,
                summary="Create a contact, or update the one with this phone.",
                body=ContactBody,
                answers={201: One[Contact], 200: One[Contact]},
                problems=("invalid_phone",),
                example={
                    "phone": "012-345 6789",
                    "name": "Aminah",
                    "external_id": "crm-17",
                    "attributes": {"city": "Ipoh"},
                },
            ),
            Operation(
                method="GET",
                path="/contacts/{id}",
                handler=self.one,
                summary="One contact.",
                answers={200: One[Contact]},
            ),
            *(
                Operation(
                    method=method,
                    path="/contacts/{id}",
                    handler=self.update,
                    summary="Change a contact; fields that are left out stay as they are.",
                    body=ContactChange,
                    answers={200: One[Contact]},
                    problems=("invalid_phone",),
                    example=change,
                )
                for method in ("PUT", "PATCH")
            ),
            Operation(
                method="DELETE",
                path="/contacts/{id}",
                handler=self.delete,
                summary="Forget a contact; messages to it stay.",
                answers={204: None},
            ),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Contacts, newest first."""
        self._lists.refuse_unknown(request, (parameter.name for parameter in _FILTERS))
        account_id = request[CALLER].account_id
        narrowed = ContactFilter(_text(request, "search"), _text(request, "external_id"))

        async def rows(connection: Connection, part: Slice) -> list[Any]:
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

        return await self._lists.answer(request, rows, count, schema.contact)

    async def create(self, request: web.Request) -> web.Response:
        """Create, or update by phone."""
        body, key = await read_json(request, _body_decoder)
        account_id = request[CALLER].account_id
        fields = _fields(msgspec.structs.asdict(body))

        async def work(connection: Connection) -> Answer:
            row = await store.upsert(connection, account_id, fields)
            status = 201 if row["created"] else 200
            return await _saved(connection, account_id, row, status)

        return await self._answer(account_id, key, work)

    async def one(self, request: web.Request) -> web.Response:
        """One contact."""
        contact_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            row = await store.one(connection, request[CALLER].account_id, contact_id)
        return one(schema.contact(found(row, _WHAT)))

    async def update(self, request: web.Request) -> web.Response:
        """Change what is given."""
        contact_id = path_id(request, _WHAT)
        body, _ = await read_json(request, _change_decoder)
        values = checks.given(body)
        fields = _fields(values)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            try:
                row = await store.update(connection, account_id, contact_id, list(values), fields)
            except asyncpg.UniqueViolationError:
                raise invalid("phone", "Another contact has this phone.") from None
            return await _saved(connection, account_id, found(row, _WHAT), 200)

        return await self._answer(account_id, None, work)

    async def _answer(self, account_id: int, key: Idempotency | None, work: Work) -> web.Response:
        answer = await self._once.run(account_id, key, work)
        if answer.entries:
            # Somebody was opted out, and nothing more may go out once that is answered.
            await asyncio.sleep(CLAIMS_OVER_SECONDS)
        return reply(answer)

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a contact."""
        contact_id = path_id(request, _WHAT)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            if not await store.delete(connection, account_id, contact_id):
                missing(_WHAT)
            return NOTHING

        return reply(await self._once.run(account_id, None, work))


async def _saved(connection: Connection, account_id: int, row: Any, status: int) -> Answer:
    """The contact, and the public event if it was opted out now."""
    body = encoded(schema.contact(row))
    if not row["opted_out_now"]:
        return Answer(status, body)
    event = orjson.dumps(
        {
            "account": account_id,
            "contact_id": row["id"],
            "phone": row["phone"],
            "at": rfc3339(row["opted_out_at"]),
        }
    )
    entry = await put_event(
        connection, routing_key=_OPTED_OUT, event_type=OPTED_OUT_TYPE, body=event
    )
    return Answer(status, body, [entry])


def _text(request: web.Request, parameter: str) -> str | None:
    """A search text: any but NUL, which no text in the database holds; empty is none."""
    text = single(request.query, parameter)
    if not text:
        return None
    if len(text) > _SEARCH_LIMIT_CHARS:
        raise invalid(parameter, f"Must have at most {_SEARCH_LIMIT_CHARS} characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(parameter, "Must not contain a lone surrogate.") from None
    if "\0" in text:
        raise invalid(parameter, "Must not contain a NUL character.")
    return text


def _fields(values: dict[str, Any]) -> ContactFields:
    """Checked fields; raises the 422 Problem."""
    number = values.get("phone")
    checks.name(values.get("name"), "name")
    checks.name(values.get("external_id"), "external_id")
    attributes = values.get("attributes")
    checks.attributes(attributes)
    return ContactFields(
        checks.phone(number) if number is not None else None,
        values.get("name"),
        values.get("external_id"),
        orjson.dumps(attributes).decode() if attributes is not None else None,
        values.get("opted_out"),
    )
