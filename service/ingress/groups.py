"""The contact groups resource, and who is in a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from schemas import contacts as schema
from schemas.contacts import (
    Contact,
    ContactGroup,
    GroupBody,
    GroupChange,
    Members,
    MembersChanged,
)
from schemas.problems import invalid
from schemas.shapes import Many, One
from service.ingress import checks
from service.ingress.auth import CALLER
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation
from service.ingress.pages import COUNT_LIMIT
from service.ingress.replies import NOTHING, encoded, found, missing, one, path_id, reply
from service.ingress.requests import read_json
from service.once import Answer, Once
from service.store import groups as store
from service.store.pool import Connection, Pool

_WHAT = "contact group"
_DESCRIPTION_LIMIT_CHARS = 1000
_body_decoder = msgspec.json.Decoder(GroupBody)
_change_decoder = msgspec.json.Decoder(GroupChange)
_members_decoder = msgspec.json.Decoder(Members)


class Groups:
    """Handlers of /contact-groups."""

    def __init__(self, pool: Pool, once: Once, lists: Lists) -> None:
        self._pool = pool
        self._once = once
        self._lists = lists

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="GET",
                path="/contact-groups",
                handler=self.page,
                summary="Contact groups, newest first.",
                query=PAGING,
                answers={200: Many[ContactGroup]},
            ),
            Operation(
                method="POST",
                path="/contact-groups",
                handler=self.create,
                summary="Create a contact group.",
                body=GroupBody,
                answers={201: One[ContactGroup]},
                example={"name": "Customers in Ipoh"},
            ),
            Operation(
                method="GET",
                path="/contact-groups/{id}",
                handler=self.one,
                summary="One contact group.",
                answers={200: One[ContactGroup]},
            ),
            *(
                Operation(
                    method=method,
                    path="/contact-groups/{id}",
                    handler=self.update,
                    summary="Change a contact group.",
                    body=GroupChange,
                    answers={200: One[ContactGroup]},
                    example={"description": "Since 2024"},
                )
                for method in ("PUT", "PATCH")
            ),
            Operation(
                method="DELETE",
                path="/contact-groups/{id}",
                handler=self.delete,
                summary="Forget a contact group; its contacts stay.",
                answers={204: None},
            ),
            *self._members(),
        ]

    def _members(self) -> list[Operation]:
        path = "/contact-groups/{id}/contacts"
        return [
            Operation(
                method="GET",
                path=path,
                handler=self.members,
                summary="The contacts of a group, newest first.",
                query=PAGING,
                answers={200: Many[Contact]},
            ),
            Operation(
                method="POST",
                path=path,
                handler=self.add,
                summary="Put up to 1000 contacts into a group.",
                body=Members,
                answers={200: One[MembersChanged]},
                example={"contact_ids": [2, 3]},
            ),
            Operation(
                method="DELETE",
                path=path,
                handler=self.remove,
                summary="Take up to 1000 contacts out of a group.",
                body=Members,
                answers={200: One[MembersChanged]},
                example={"contact_ids": [2]},
            ),
            Operation(
                method="DELETE",
                path=f"{path}/{{contact_id}}",
                handler=self.remove_one,
                summary="Take one contact out of a group.",
                answers={204: None},
                example_ids={"contact_id": 3},
            ),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Groups, newest first."""
        self._lists.refuse_unknown(request)
        account_id = request[CALLER].account_id

        async def rows(connection: Connection, part: Slice) -> list[Any]:
            return await store.page(
                connection,
                account_id,
                below_id=part.below_id,
                limit=part.limit,
                offset=part.offset,
            )

        async def count(connection: Connection) -> int:
            return await store.count(connection, account_id, limit=COUNT_LIMIT + 1)

        return await self._lists.answer(request, rows, count, schema.group)

    async def create(self, request: web.Request) -> web.Response:
        """A new group."""
        body, key = await read_json(request, _body_decoder)
        _check(body.name, body.description)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            row = await store.create(connection, account_id, body.name, body.description)
            return Answer(201, encoded(schema.group(row)))

        return reply(await self._once.run(account_id, key, work))

    async def one(self, request: web.Request) -> web.Response:
        """One group."""
        group_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            return one(schema.group(await self._found(connection, request, group_id)))

    async def update(self, request: web.Request) -> web.Response:
        """Change what is given."""
        group_id = path_id(request, _WHAT)
        body, _ = await read_json(request, _change_decoder)
        values = checks.given(body)
        _check(values.get("name"), values.get("description"))
        async with self._pool.acquire() as connection:
            row = await store.update(
                connection,
                request[CALLER].account_id,
                group_id,
                list(values),
                name=values.get("name"),
                description=values.get("description"),
            )
        return one(schema.group(found(row, _WHAT)))

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a group."""
        group_id = path_id(request, _WHAT)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            if not await store.delete(connection, account_id, group_id):
                missing(_WHAT)
            return NOTHING

        return reply(await self._once.run(account_id, None, work))

    async def members(self, request: web.Request) -> web.Response:
        """The contacts of a group, newest first."""
        self._lists.refuse_unknown(request)
        group_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            group = await self._found(connection, request, group_id)

        async def rows(connection: Connection, part: Slice) -> list[Any]:
            return await store.members(
                connection,
                group_id,
                below_id=part.below_id,
                limit=part.limit,
                offset=part.offset,
            )

        async def count(_: Connection) -> int:
            members: int = group["contacts"]
            return members

        return await self._lists.answer(request, rows, count, schema.contact)

    async def add(self, request: web.Request) -> web.Response:
        """Put contacts into the group; one that is unknown or another account's is 422."""
        group_id = path_id(request, _WHAT)
        body, key = await read_json(request, _members_decoder)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            known = await store.known(connection, account_id, body.contact_ids)
            if not await store.hold(connection, account_id, group_id):
                missing(_WHAT)
            _all_known(body.contact_ids, known)
            changed = await store.add(connection, group_id, known)
            return await self._changed(connection, request, group_id, changed)

        return reply(await self._once.run(account_id, key, work))

    async def remove(self, request: web.Request) -> web.Response:
        """Take contacts out of the group; those that are not in it are passed over."""
        group_id = path_id(request, _WHAT)
        body, _ = await read_json(request, _members_decoder)

        async def work(connection: Connection) -> Answer:
            await self._found(connection, request, group_id)
            changed = await store.remove(connection, group_id, body.contact_ids)
            return await self._changed(connection, request, group_id, changed)

        return reply(await self._once.run(request[CALLER].account_id, None, work))

    async def remove_one(self, request: web.Request) -> web.Response:
        """Take one contact out of the group; 404 when it is not in it."""
        group_id = path_id(request, _WHAT)
        contact_id = path_id(request, "contact", "contact_id")

        async def work(connection: Connection) -> Answer:
            await self._found(connection, request, group_id)
            if not await store.remove(connection, group_id, [contact_id]):
                missing("contact in this group")
            return NOTHING

        return reply(await self._once.run(request[CALLER].account_id, None, work))

    async def _changed(
        self, connection: Connection, request: web.Request, group_id: int, changed: int
    ) -> Answer:
        group = await self._found(connection, request, group_id)
        return Answer(200, encoded(MembersChanged(group_id, changed, group["contacts"])))

    async def _found(self, connection: Connection, request: web.Request, group_id: int) -> Any:
        return found(await store.one(connection, request[CALLER].account_id, group_id), _WHAT)


def _check(name: str | None, description: str | None) -> None:
    checks.name(name, "name")
    checks.name(description, "description", _DESCRIPTION_LIMIT_CHARS)


def _all_known(ids: Sequence[int], known: set[int]) -> None:
    for index, contact_id in enumerate(ids):
        if contact_id not in known:
            raise invalid(f"contact_ids.{index}", f"There is no contact {contact_id}.")
