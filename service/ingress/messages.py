"""The messages resource."""

from __future__ import annotations

import orjson
from aiohttp import web

from schemas import resources
from schemas.problems import Problem, invalid
from service.accept import Accept, Answer
from service.core.lifecycle import Status
from service.core.phone import normalise
from service.ingress.auth import CALLER, require_verified_email
from service.ingress.gate import Gate
from service.ingress.pages import (
    COUNT_LIMIT,
    Cursors,
    own_url,
    page_document,
    read_page,
    refuse_unknown,
    single,
    whole_number,
)
from service.ingress.requests import READ_SECONDS, read_bulk, read_send
from service.store import messages as store
from service.store.messages import MessageFilter
from service.store.pool import Pool

_STATUSES = frozenset(status.value for status in Status)
_FILTERS = frozenset({"status", "campaign_id", "contact_id", "phone", "page", "per_page", "cursor"})


class Messages:
    """Handlers of /messages."""

    def __init__(
        self,
        pool: Pool,
        accept: Accept,
        gate: Gate,
        cursors: Cursors,
        *,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._pool = pool
        self._accept = accept
        self._gate = gate
        self._cursors = cursors
        self._read_seconds = read_seconds

    def routes(self) -> list[web.RouteDef]:
        """The routes of this resource."""
        return [
            web.post("/api/v1/messages/send", self.send),
            web.post("/api/v1/messages/bulk", self.bulk),
            web.get("/api/v1/messages", self.page),
            web.get(r"/api/v1/messages/{id:[0-9]{1,19}}", self.one),
        ]

    async def send(self, request: web.Request) -> web.Response:
        """Queue one message."""
        require_verified_email(request)
        body, key = await read_send(request, within_seconds=self._read_seconds)
        self._gate.check()
        return _answer(await self._accept.send(request[CALLER].account_id, body, key))

    async def bulk(self, request: web.Request) -> web.Response:
        """Queue up to 1000 messages."""
        require_verified_email(request)
        body, key = await read_bulk(request, within_seconds=self._read_seconds)
        self._gate.check()
        return _answer(await self._accept.bulk(request[CALLER].account_id, body, key))

    async def one(self, request: web.Request) -> web.Response:
        """One message."""
        message_id = int(request.match_info["id"])
        row = None
        if message_id < 2**63:
            async with self._pool.acquire() as connection:
                row = await store.one(connection, request[CALLER].account_id, message_id)
        if row is None:
            raise Problem(404, "not_found", "There is no such message.")
        return _json({"data": resources.message(dict(row))})

    async def page(self, request: web.Request) -> web.Response:
        """The message log, newest first."""
        refuse_unknown(request.query, _FILTERS)
        account_id = request[CALLER].account_id
        page = read_page(request.query, self._cursors, account_id)
        narrowed = _filter(request)
        url = own_url(request)
        async with self._pool.acquire() as connection:
            rows = await store.page(
                connection,
                account_id,
                narrowed,
                below_id=page.below_id,
                limit=page.per_page + 1,
                offset=page.offset,
            )
            total = None
            if not page.by_cursor:
                total = await store.count(connection, account_id, narrowed, limit=COUNT_LIMIT + 1)
        more = len(rows) > page.per_page
        rows = rows[: page.per_page]
        next_cursor = self._cursors.make(account_id, rows[-1]["id"]) if more else None
        items = [resources.message(dict(row)) for row in rows]
        return _json(page_document(items, page, url, total=total, next_cursor=next_cursor))


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


def _answer(answer: Answer) -> web.Response:
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else None
    return web.Response(
        status=answer.status, body=answer.body, content_type="application/json", headers=headers
    )


def _json(document: object) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")
