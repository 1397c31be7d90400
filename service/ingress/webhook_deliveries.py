"""What is delivered to webhook endpoints: the log, and once more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from schemas import webhooks as schema
from schemas.problems import invalid
from schemas.shapes import Many, One
from schemas.webhooks import Delivery, Replay, Replayed
from service.ingress.auth import CALLER
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation, Parameter
from service.ingress.pages import COUNT_LIMIT, single
from service.ingress.replies import encoded, found, path_id, reply
from service.ingress.requests import read_json, read_nothing
from service.once import Answer, Once
from service.store import webhooks as store
from service.store.pool import Connection, Pool

_WHAT = "webhook endpoint"
_STATES = ("pending", "delivered", "failed")
_STATE = Parameter("state", "Only in this state.", {"enum": list(_STATES)})
_replay_decoder = msgspec.json.Decoder(Replay)


class WebhookDeliveries:
    """Handlers of /webhook-endpoints/{id}/deliveries and …/replay."""

    def __init__(self, pool: Pool, once: Once, lists: Lists) -> None:
        self._pool = pool
        self._once = once
        self._lists = lists

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        path = "/webhook-endpoints/{id}"
        return [
            Operation(
                method="GET",
                path=f"{path}/deliveries",
                handler=self.deliveries,
                summary="What was or will be delivered, newest first.",
                query=(_STATE, *PAGING),
                answers={200: Many[Delivery]},
            ),
            Operation(
                method="POST",
                path=f"{path}/deliveries/{{delivery_id}}/replay",
                handler=self.replay,
                summary="Deliver an event once more.",
                answers={200: One[Delivery]},
            ),
            Operation(
                method="POST",
                path=f"{path}/replay",
                handler=self.replay_failed,
                summary="Deliver once more what was given up of the events since a time; at most "
                f"{store.REPLAY_LIMIT:,} at once, the oldest first.",
                body=Replay,
                answers={200: One[Replayed]},
                example={"since": "2026-11-25T08:00:00Z"},
            ),
        ]

    async def deliveries(self, request: web.Request) -> web.Response:
        """Deliveries, newest first."""
        self._lists.refuse_unknown(request, [_STATE.name])
        endpoint_id = path_id(request, _WHAT)
        state = single(request.query, _STATE.name)
        if state is not None and state not in _STATES:
            raise invalid(_STATE.name, f"Must be one of {', '.join(_STATES)}.")
        async with self._pool.acquire() as connection:
            found(await store.one(connection, request[CALLER].account_id, endpoint_id), _WHAT)

        async def rows(connection: Connection, part: Slice) -> list[Any]:
            return await store.deliveries(
                connection,
                endpoint_id,
                state,
                below_id=part.below_id,
                limit=part.limit,
                offset=part.offset,
            )

        async def count(connection: Connection) -> int:
            return await store.count_deliveries(
                connection, endpoint_id, state, limit=COUNT_LIMIT + 1
            )

        return await self._lists.answer(request, rows, count, schema.delivery)

    async def replay(self, request: web.Request) -> web.Response:
        """Deliver once more."""
        endpoint_id = path_id(request, _WHAT)
        delivery_id = path_id(request, "delivery", "delivery_id")
        key = await read_nothing(request)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            row = await store.replay(connection, account_id, endpoint_id, delivery_id)
            return Answer(200, encoded(schema.delivery(found(row, "delivery"))))

        return reply(await self._once.run(account_id, key, work))

    async def replay_failed(self, request: web.Request) -> web.Response:
        """Deliver once more what was given up."""
        endpoint_id = path_id(request, _WHAT)
        body, key = await read_json(request, _replay_decoder)
        account_id = request[CALLER].account_id
        # What is older is not kept, and times at the ends of the calendar fit no other zone.
        now = datetime.now(UTC)
        since = min(max(body.since, now - 2 * timedelta(days=store.KEEP_DAYS)), now)

        async def work(connection: Connection) -> Answer:
            found(await store.one(connection, account_id, endpoint_id), _WHAT)
            count = await store.replay_failed(connection, account_id, endpoint_id, since)
            return Answer(200, encoded(Replayed(count, more=count == store.REPLAY_LIMIT)))

        return reply(await self._once.run(account_id, key, work))
