"""The campaigns resource."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from schemas.campaigns import Audience, Campaign, CampaignBody, Preview
from schemas.shapes import Many, One, Row
from service.campaigns import Campaigns as Taking
from service.campaigns import preview, resource
from service.drafts import utc_now
from service.ingress.auth import CALLER, require_verified_email
from service.ingress.gate import Gate
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation
from service.ingress.pages import COUNT_LIMIT
from service.ingress.replies import CLAIMS_OVER_SECONDS, encoded, found, one, path_id, reply
from service.ingress.requests import BULK_LIMIT_BYTES, read_json, read_nothing
from service.once import Answer, Once
from service.store import campaigns as store
from service.store.pool import Connection, Pool

_WHAT = "campaign"
_body_decoder = msgspec.json.Decoder(CampaignBody)
_audience_decoder = msgspec.json.Decoder(Audience)
_EXAMPLE = {
    "name": "June promo",
    "body": "Salam {{name|there}}, here is your offer!",
    "recipients": [{"phone": "0123456789", "name": "Ali"}, {"phone": "0198887777"}],
    "device": 2,
}
_REFUSALS = ("no_device", "no_recipients")


class Campaigns:
    """Handlers of /campaigns."""

    def __init__(self, pool: Pool, once: Once, taking: Taking, gate: Gate, lists: Lists) -> None:
        self._pool = pool
        self._once = once
        self._taking = taking
        self._gate = gate
        self._lists = lists

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="GET",
                path="/campaigns",
                handler=self.page,
                summary="Campaigns, newest first, with live counts.",
                query=PAGING,
                answers={200: Many[Campaign]},
            ),
            Operation(
                method="POST",
                path="/campaigns",
                handler=self.create,
                summary="Send one text to a group, to contacts, to recipients that need not be "
                "contacts, or to all of these, once each; at once or at `send_at`.",
                body=CampaignBody,
                answers={201: One[Campaign]},
                problems=("email_unverified", "insufficient_credits", "unavailable", *_REFUSALS),
                example=_EXAMPLE,
            ),
            Operation(
                method="POST",
                path="/campaigns/preview",
                handler=self.preview,
                summary="What a campaign would cost and skip, and how long it would take.",
                body=Audience,
                answers={200: One[Preview]},
                problems=("no_device",),
                example=_EXAMPLE,
            ),
            Operation(
                method="GET",
                path="/campaigns/{id}",
                handler=self.one,
                summary="One campaign with its template and live counts.",
                answers={200: One[Campaign]},
            ),
            *self._moves(),
        ]

    def _moves(self) -> list[Operation]:
        moves = (
            ("pause", self.pause, "Pause a campaign: once answered, nothing goes out."),
            ("resume", self.resume, "Let a paused campaign go on."),
            ("cancel", self.cancel, "End a campaign: once answered, nothing goes out any more."),
        )
        return [
            Operation(
                method="POST",
                path=f"/campaigns/{{id}}/{move}",
                handler=handler,
                summary=summary,
                answers={200: One[Campaign]},
                problems=("invalid_state",),
            )
            for move, handler, summary in moves
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Campaigns, newest first."""
        self._lists.refuse_unknown(request)
        account_id = request[CALLER].account_id
        now = utc_now()

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

        def shown(row: Row) -> Campaign:
            return resource(row, now)

        return await self._lists.answer(request, rows, count, shown)

    async def create(self, request: web.Request) -> web.Response:
        """A new campaign."""
        require_verified_email(request)
        body, key = await read_json(request, _body_decoder, limit_bytes=BULK_LIMIT_BYTES)
        self._gate.check()
        return reply(await self._taking.create(request[CALLER].account_id, body, key))

    async def preview(self, request: web.Request) -> web.Response:
        """What a campaign would do."""
        body, key = await read_json(request, _audience_decoder, limit_bytes=BULK_LIMIT_BYTES)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            return Answer(200, encoded(await preview(connection, account_id, body)))

        return reply(await self._once.run(account_id, key, work))

    async def one(self, request: web.Request) -> web.Response:
        """One campaign."""
        campaign_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            row = await store.one(connection, request[CALLER].account_id, campaign_id)
        return one(resource(found(row, _WHAT), utc_now()))

    async def pause(self, request: web.Request) -> web.Response:
        """Pause it; one that is paused is answered likewise."""
        return await self._move(request, "pause", CLAIMS_OVER_SECONDS)

    async def resume(self, request: web.Request) -> web.Response:
        """Let it go on; one that goes on is answered likewise."""
        return await self._move(request, "resume", 0.0)

    async def cancel(self, request: web.Request) -> web.Response:
        """End it; one that is cancelled is answered likewise."""
        return await self._move(request, "cancel", CLAIMS_OVER_SECONDS)

    async def _move(self, request: web.Request, move: str, wait_seconds: float) -> web.Response:
        campaign_id = path_id(request, _WHAT)
        key = await read_nothing(request)
        answer = await self._taking.move(request[CALLER].account_id, campaign_id, move, key)
        # Claims from before the commit may still be used for so long.
        await asyncio.sleep(wait_seconds)
        return reply(answer)
