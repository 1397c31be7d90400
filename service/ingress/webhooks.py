"""The webhook endpoints resource, and what is delivered to them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web
from yarl import URL

from schemas import webhooks as schema
from schemas.problems import invalid, unavailable
from schemas.shapes import Many, One
from schemas.webhooks import (
    Endpoint,
    EndpointBody,
    EndpointChange,
    Rotation,
)
from service.core.addresses import Network
from service.core.sealing import CannotUnseal, NoKey, Seal
from service.core.webhooks import new_secret
from service.ingress import checks
from service.ingress.auth import CALLER
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation
from service.ingress.replies import encoded, found, missing, nothing, one, path_id, reply
from service.ingress.requests import read_json
from service.once import Answer, Once
from service.record.webhook_calls import Unreachable, check_address
from service.store import webhooks as store
from service.store.pool import Connection, Pool
from service.store.webhooks import ENDPOINTS_LIMIT, PURPOSE, Wanted

_WHAT = "webhook endpoint"
_DESCRIPTION_LIMIT_CHARS = 1000
_body_decoder = msgspec.json.Decoder(EndpointBody)
_change_decoder = msgspec.json.Decoder(EndpointChange)
_rotation_decoder = msgspec.json.Decoder(Rotation)
_answer_decoder = msgspec.json.Decoder(One[Endpoint])


class WebhookEndpoints:
    """Handlers of /webhook-endpoints."""

    def __init__(
        self, pool: Pool, once: Once, lists: Lists, seal: Seal, allowed: Sequence[Network]
    ) -> None:
        self._pool = pool
        self._once = once
        self._lists = lists
        self._seal = seal
        self._allowed = allowed

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="GET",
                path="/webhook-endpoints",
                handler=self.page,
                summary="Webhook endpoints, newest first.",
                query=PAGING,
                answers={200: Many[Endpoint]},
            ),
            Operation(
                method="POST",
                path="/webhook-endpoints",
                handler=self.create,
                summary="Have events sent to a URL, signed in the Standard Webhooks form; the "
                "secret is shown once.",
                body=EndpointBody,
                answers={201: One[Endpoint]},
                problems=("unavailable",),
                example={"url": "https://example.com/hooks/hantar", "events": ["message.*"]},
            ),
            Operation(
                method="GET",
                path="/webhook-endpoints/{id}",
                handler=self.one,
                summary="One webhook endpoint.",
                answers={200: One[Endpoint]},
            ),
            *(
                Operation(
                    method=method,
                    path="/webhook-endpoints/{id}",
                    handler=self.update,
                    summary="Change a webhook endpoint, or switch it on again.",
                    body=EndpointChange,
                    answers={200: One[Endpoint]},
                    example={"is_active": True},
                )
                for method in ("PUT", "PATCH")
            ),
            Operation(
                method="DELETE",
                path="/webhook-endpoints/{id}",
                handler=self.delete,
                summary="Forget a webhook endpoint and its deliveries.",
                answers={204: None},
            ),
            *self._more(),
        ]

    def _more(self) -> list[Operation]:
        path = "/webhook-endpoints/{id}"
        return [
            Operation(
                method="POST",
                path=f"{path}/rotate-secret",
                handler=self.rotate,
                summary="A new secret; the old one signs beside it for a while.",
                body=Rotation,
                answers={200: One[Endpoint]},
                problems=("unavailable",),
                example={"overlap_seconds": 86_400},
            ),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Endpoints, newest first."""
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
            return await store.count(connection, account_id)

        return await self._lists.answer(request, rows, count, schema.endpoint)

    async def create(self, request: web.Request) -> web.Response:
        """A new endpoint, with its secret."""
        body, key = await read_json(request, _body_decoder)
        wanted = await self._wanted(msgspec.structs.asdict(body))
        account_id = request[CALLER].account_id
        sealed = self._sealed(new_secret())

        async def work(connection: Connection) -> Answer:
            row = await store.create(connection, account_id, wanted, sealed)
            if row is None:
                raise invalid("url", f"An account has at most {ENDPOINTS_LIMIT} endpoints.")
            return Answer(201, encoded(schema.endpoint(row, _kept(sealed))))

        return self._shown(await self._once.run(account_id, key, work))

    async def one(self, request: web.Request) -> web.Response:
        """One endpoint."""
        endpoint_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            row = await store.one(connection, request[CALLER].account_id, endpoint_id)
        return one(schema.endpoint(found(row, _WHAT)))

    async def update(self, request: web.Request) -> web.Response:
        """Change what is given."""
        endpoint_id = path_id(request, _WHAT)
        body, _ = await read_json(request, _change_decoder)
        wanted = await self._wanted(checks.given(body))
        async with self._pool.acquire() as connection:
            row = await store.update(connection, request[CALLER].account_id, endpoint_id, wanted)
        return one(schema.endpoint(found(row, _WHAT)))

    async def delete(self, request: web.Request) -> web.Response:
        """Forget an endpoint."""
        endpoint_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            if not await store.delete(connection, request[CALLER].account_id, endpoint_id):
                missing(_WHAT)
        return nothing()

    async def rotate(self, request: web.Request) -> web.Response:
        """A new secret."""
        endpoint_id = path_id(request, _WHAT)
        body, key = await read_json(request, _rotation_decoder)
        account_id = request[CALLER].account_id
        sealed = self._sealed(new_secret())

        async def work(connection: Connection) -> Answer:
            row = await store.rotate(
                connection, account_id, endpoint_id, sealed, body.overlap_seconds
            )
            return Answer(200, encoded(schema.endpoint(found(row, _WHAT), _kept(sealed))))

        return self._shown(await self._once.run(account_id, key, work))

    async def _wanted(self, values: dict[str, Any]) -> Wanted:
        """The checked fields; raises the 422 Problem."""
        checks.name(values.get("description"), "description", _DESCRIPTION_LIMIT_CHARS)
        url, events = values.get("url"), values.get("events")
        if not set(events or ()) <= set(schema.EVENT_TYPES):
            raise invalid("events", f"Must be of {', '.join(schema.EVENT_TYPES)}.")
        if url is not None:
            await self._check_url(url)
        return Wanted(
            url=url,
            events=events,
            description=values.get("description"),
            set_description="description" in values,
            is_active=values.get("is_active"),
        )

    async def _check_url(self, text: str) -> None:
        try:
            url = URL(text)
            host = url.host
        except ValueError as error:
            if "port" in str(error).lower():
                raise invalid("url", "Its port must be a number up to 65535.") from None
            host = None
        if not host or "\0" in text or url.scheme not in ("https", "http"):
            raise invalid("url", "Must be an https URL.")
        if url.user is not None or url.password is not None:
            raise invalid("url", "Must hold no user and no password.")
        if url.scheme == "http" and not self._allowed:
            raise invalid("url", "Must be an https URL.")
        try:
            await check_address(text, self._allowed)
        except Unreachable as error:
            raise invalid("url", str(error)) from error

    def _shown(self, answer: Answer) -> web.Response:
        """The answer with its secret, which is kept sealed under an idempotency key too."""
        endpoint = _answer_decoder.decode(answer.body).data
        assert isinstance(endpoint.secret, str), "both answers tell a secret"
        try:
            endpoint.secret = self._seal.unseal(base64.b64decode(endpoint.secret), PURPOSE)
        except CannotUnseal:
            raise unavailable("HANTAR_SECRET_KEY_FILE has lost the key of this secret.") from None
        return reply(replace(answer, body=encoded(endpoint)))

    def _sealed(self, secret: str) -> bytes:
        try:
            return self._seal.seal(secret, PURPOSE)
        except NoKey:
            raise unavailable("There is no HANTAR_SECRET_KEY_FILE to seal secrets with.") from None


def _kept(sealed: bytes) -> str:
    """A sealed secret as an answer holds it until it is shown."""
    return base64.b64encode(sealed).decode()
