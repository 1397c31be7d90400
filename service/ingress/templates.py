"""The templates resource."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
from aiohttp import web

from schemas import templates as schema
from schemas.problems import invalid
from schemas.shapes import Many, One
from schemas.templates import Template, TemplateBody, TemplateChange
from service.core.slug import LONGEST_CHARS, SHAPE, numbered, slug_of
from service.core.text import body_error, json_error
from service.drafts import read_content
from service.ingress import checks
from service.ingress.auth import CALLER
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation, Parameter
from service.ingress.pages import COUNT_LIMIT, single
from service.ingress.replies import encoded, found, missing, nothing, one, path_id, reply
from service.ingress.requests import read_json
from service.once import Answer, Once
from service.store import templates as store
from service.store.pool import Connection, Pool
from service.store.templates import TemplateFields

_WHAT = "template"
_ACTIVE = Parameter("active_only", "1 for active ones only.", {"enum": ["0", "1"]})
#: Room for the number of a slug.
_NUMBER_CHARS = 10
_TRUTH = {"1": True, "true": True, "0": False, "false": False}
_TAKEN = "The account has another template with this slug."
_body_decoder = msgspec.json.Decoder(TemplateBody)
_change_decoder = msgspec.json.Decoder(TemplateChange)


class Templates:
    """Handlers of /templates."""

    def __init__(self, pool: Pool, once: Once, lists: Lists) -> None:
        self._pool = pool
        self._once = once
        self._lists = lists

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="GET",
                path="/templates",
                handler=self.page,
                summary="Templates, newest first.",
                query=(_ACTIVE, *PAGING),
                answers={200: Many[Template]},
            ),
            Operation(
                method="POST",
                path="/templates",
                handler=self.create,
                summary="Create a template; its slug is made from the name unless given.",
                body=TemplateBody,
                answers={201: One[Template]},
                example={
                    "name": "Welcome",
                    "body": "Hello {{name|there}}, welcome to {{city|our shop}}!",
                },
            ),
            Operation(
                method="GET",
                path="/templates/{id}",
                handler=self.one,
                summary="One template.",
                answers={200: One[Template]},
            ),
            *(
                Operation(
                    method=method,
                    path="/templates/{id}",
                    handler=self.update,
                    summary="Change a template; messages already accepted keep their text.",
                    body=TemplateChange,
                    answers={200: One[Template]},
                    example={"is_active": False},
                )
                for method in ("PUT", "PATCH")
            ),
            Operation(
                method="DELETE",
                path="/templates/{id}",
                handler=self.delete,
                summary="Forget a template; messages made from it stay.",
                answers={204: None},
            ),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Templates, newest first."""
        self._lists.refuse_unknown(request, [_ACTIVE.name])
        account_id = request[CALLER].account_id
        active_only = _truth(request, _ACTIVE.name)

        async def rows(connection: Connection, part: Slice) -> list[Any]:
            return await store.page(
                connection,
                account_id,
                active_only=active_only,
                below_id=part.below_id,
                limit=part.limit,
                offset=part.offset,
            )

        async def count(connection: Connection) -> int:
            return await store.count(
                connection, account_id, active_only=active_only, limit=COUNT_LIMIT + 1
            )

        return await self._lists.answer(request, rows, count, schema.template)

    async def create(self, request: web.Request) -> web.Response:
        """A new template."""
        body, key = await read_json(request, _body_decoder)
        account_id = request[CALLER].account_id
        values = msgspec.structs.asdict(body)
        _check(values)

        async def work(connection: Connection) -> Answer:
            row = None
            while row is None:
                slug = body.slug or await _free_slug(connection, account_id, body.name)
                row = await store.create(connection, account_id, _fields(values | {"slug": slug}))
                # One that was free has been taken meanwhile: the next one.
                if row is None and body.slug:
                    raise invalid("slug", _TAKEN)
            return Answer(201, encoded(schema.template(row)))

        return reply(await self._once.run(account_id, key, work))

    async def one(self, request: web.Request) -> web.Response:
        """One template."""
        template_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            row = await store.one(connection, request[CALLER].account_id, template_id)
        return one(schema.template(found(row, _WHAT)))

    async def update(self, request: web.Request) -> web.Response:
        """Change what is given."""
        template_id = path_id(request, _WHAT)
        body, _ = await read_json(request, _change_decoder)
        values = checks.given(body)
        _check(values)
        async with self._pool.acquire() as connection:
            try:
                row = await store.update(
                    connection,
                    request[CALLER].account_id,
                    template_id,
                    list(values),
                    _fields(values),
                )
            except asyncpg.UniqueViolationError:
                raise invalid("slug", _TAKEN) from None
        return one(schema.template(found(row, _WHAT)))

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a template."""
        template_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            if not await store.delete(connection, request[CALLER].account_id, template_id):
                missing(_WHAT)
        return nothing()


def _truth(request: web.Request, name: str) -> bool:
    value = single(request.query, name)
    if value is None:
        return False
    if value not in _TRUTH:
        raise invalid(name, f"Must be one of {', '.join(_TRUTH)}.")
    return _TRUTH[value]


async def _free_slug(connection: Connection, account_id: int, name: str) -> str:
    """The slug of a name, numbered where others have it."""
    slug = slug_of(name)
    taken = await store.slugs(connection, account_id, slug[: LONGEST_CHARS - _NUMBER_CHARS])
    candidates = (numbered(slug, number) for number in range(2, len(taken) + 3))
    return next(each for each in (slug, *candidates) if each not in taken)


def _check(values: dict[str, Any]) -> None:
    checks.name(values.get("name"), "name")
    slug = values.get("slug")
    if slug is not None and not (len(slug) <= LONGEST_CHARS and SHAPE.fullmatch(slug)):
        raise invalid("slug", f"Must match {SHAPE.pattern}, with up to {LONGEST_CHARS} characters.")
    if (meta := values.get("meta")) and (error := json_error(meta.components)):
        raise invalid("meta", error)
    parts = {field: msgspec.to_builtins(values.get(field)) for field in ("media", "meta")}
    for field, part in parts.items():
        if error := json_error(part):
            raise invalid(field, error)
    body = values.get("body")
    if body is not None and (error := body_error(body)):
        raise invalid("body", error)
    read_content(body or "", **parts)


def _fields(values: dict[str, Any]) -> TemplateFields:
    return TemplateFields(
        values.get("name"),
        values.get("slug"),
        values.get("body"),
        values.get("is_active"),
        _json(values.get("media")),
        _json(values.get("meta")),
    )


def _json(value: msgspec.Struct | None) -> str | None:
    return msgspec.json.encode(value).decode() if value is not None else None
