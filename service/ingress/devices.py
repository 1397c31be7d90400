"""The devices resource."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson
from aiohttp import web

from drivers.driver import Kind
from drivers.linking import Linking
from schemas import devices as schema
from schemas.devices import Device, DeviceBody, DeviceChange, Limits
from schemas.problems import invalid, unavailable
from schemas.shapes import Many, One
from service.core.sealing import NoKey, Seal
from service.ingress import checks
from service.ingress.auth import CALLER
from service.ingress.connection import ask, linking_of
from service.ingress.device_fields import (
    Given,
    check_timezone,
    merged,
    portfolio,
    quiet_of,
    read_settings,
)
from service.ingress.lists import PAGING, Lists, Slice
from service.ingress.operations import Operation
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
from service.ingress.requests import read_json, read_nothing
from service.once import Answer, Idempotency, Once
from service.record.devices import change_state
from service.store import devices as store
from service.store.devices import DEVICES_LIMIT, Quiet
from service.store.outbox import Entry
from service.store.pool import Connection, Pool

_WHAT = "device"
_body_decoder = msgspec.json.Decoder(DeviceBody)
_change_decoder = msgspec.json.Decoder(DeviceChange)


class Devices:
    """Handlers of /devices."""

    def __init__(
        self,
        pool: Pool,
        once: Once,
        lists: Lists,
        seal: Seal,
        kinds: Mapping[str, Kind],
        linkings: Mapping[str, Linking],
        *,
        shards: int,
    ) -> None:
        self._pool = pool
        self._once = once
        self._lists = lists
        self._seal = seal
        self._kinds = kinds
        self._linkings = linkings
        self._shards = shards

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="GET",
                path="/devices",
                handler=self.page,
                summary="Devices, newest first.",
                query=PAGING,
                answers={200: Many[Device]},
            ),
            Operation(
                method="POST",
                path="/devices",
                handler=self.create,
                summary="Add a device; the first of an account is its default.",
                body=DeviceBody,
                answers={201: One[Device]},
                problems=("unavailable",),
                example={
                    "name": "Shop",
                    "driver": "simulator",
                    "limits": {"per_second": 20, "per_day": 10_000},
                    "quiet_hours": {"start": "22:00", "end": "08:00"},
                },
            ),
            Operation(
                method="GET",
                path="/devices/{id}",
                handler=self.one,
                summary="One device; of its secrets only the names are told.",
                answers={200: One[Device]},
            ),
            *(
                Operation(
                    method=method,
                    path="/devices/{id}",
                    handler=self.update,
                    summary="Change a device; new limits hold from now on.",
                    body=DeviceChange,
                    answers={200: One[Device]},
                    problems=("unavailable",),
                    example={"limits": {"per_second": 40}, "is_default": True},
                )
                for method in ("PUT", "PATCH")
            ),
            Operation(
                method="DELETE",
                path="/devices/{id}",
                handler=self.delete,
                summary="Forget a device; its messages that wait are skipped.",
                answers={204: None},
                example_ids={"id": 3},
            ),
            *self._states(),
        ]

    def _states(self) -> list[Operation]:
        return [
            Operation(
                method="POST",
                path="/devices/{id}/pause",
                handler=self.pause,
                summary="Stop a device: once this is answered nothing more goes out.",
                answers={200: One[Device]},
                example_ids={"id": 2},
            ),
            Operation(
                method="POST",
                path="/devices/{id}/resume",
                handler=self.resume,
                summary="Let a device go on.",
                answers={200: One[Device]},
                example_ids={"id": 2},
            ),
            Operation(
                method="POST",
                path="/devices/{id}/logout",
                handler=self.logout,
                summary="Unlink a device from its phone; it has to be linked anew.",
                answers={200: One[Device]},
                example_ids={"id": 2},
                problems=("qr_not_supported", "bridge_unavailable"),
            ),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Devices, newest first."""
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

        return await self._lists.answer(request, rows, count, schema.device)

    async def one(self, request: web.Request) -> web.Response:
        """One device."""
        device_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            row = await store.one(connection, request[CALLER].account_id, device_id)
        return one(schema.device(found(row, _WHAT)))

    async def create(self, request: web.Request) -> web.Response:
        """A new device."""
        body, key = await read_json(request, _body_decoder)
        kind = self._kinds.get(body.driver)
        if kind is None:
            raise invalid("driver", f"Must be one of {', '.join(self._kinds)}.")
        checks.name(body.name, "name")
        given = read_settings(kind, body.settings)
        plain = merged({}, given.plain)
        secrets = merged({}, self._sealed(given.secret))
        device = store.Device(
            name=body.name,
            is_default=body.is_default,
            portfolio=portfolio(plain),
            limits={**kind.limits, **checks.given(body.limits)},
            quiet=quiet_of(body.quiet_hours),
            settings=plain,
            secrets=secrets,
            credential=self._credential(kind, given, None),
        )
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            await check_timezone(connection, device.quiet)
            await store.lock(connection, account_id)
            if await store.count(connection, account_id) >= DEVICES_LIMIT:
                raise invalid("driver", f"An account has at most {DEVICES_LIMIT} devices.")
            state = kind.state([*plain, *secrets])
            row = await store.create(
                connection,
                account_id,
                device,
                driver=body.driver,
                state=state,
                shards=self._shards,
            )
            return Answer(201, encoded(schema.device(row)))

        return reply(await self._once.run(account_id, key, work))

    async def update(self, request: web.Request) -> web.Response:
        """Change what is given."""
        device_id = path_id(request, _WHAT)
        body, _ = await read_json(request, _change_decoder)
        values = checks.given(body)
        checks.name(values.get("name"), "name")
        quiet = quiet_of(values.get("quiet_hours"))
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            await check_timezone(connection, quiet)
            await store.lock(connection, account_id)
            row = found(await store.one(connection, account_id, device_id), _WHAT)
            device = self._changed(row, values, quiet)
            entries = await self._follow(connection, row, device)
            row = await store.update(connection, row, device, shards=self._shards)
            return Answer(200, encoded(schema.device(row)), entries)

        return reply(await self._once.run(account_id, None, work))

    def _changed(
        self, row: Mapping[str, Any], values: Mapping[str, Any], quiet: Quiet | None
    ) -> store.Device:
        """The device as it shall be."""
        kind = self._kinds[row["driver"]]
        given = read_settings(kind, values.get("settings", {}))
        settings = merged(orjson.loads(row["settings"]), given.plain)
        limits = {name: row[name] for name in store.LIMITS}
        return store.Device(
            name=values.get("name", row["name"]),
            is_default=values.get("is_default", row["is_default"]),
            portfolio=portfolio(settings),
            limits={**limits, **checks.given(values.get("limits", Limits()))},
            quiet=quiet if "quiet_hours" in values else quiet_of(schema.quiet_hours(row)),
            settings=settings,
            secrets=merged(orjson.loads(row["secrets"]), self._sealed(given.secret)),
            credential=self._credential(kind, given, row["credential"]),
        )

    async def _follow(
        self, connection: Connection, row: Mapping[str, Any], device: store.Device
    ) -> Sequence[Entry]:
        """The events of what new settings make of the state, for a driver they decide it for."""
        kind = self._kinds[row["driver"]]
        if kind.by_code:
            return []
        before = kind.state([*orjson.loads(row["settings"]), *orjson.loads(row["secrets"])])
        after = kind.state([*device.settings, *device.secrets])
        if before == after:
            return []
        return await change_state(connection, row["account_id"], row["id"], state=after) or []

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a device; once this is answered nothing more goes out."""
        device_id = path_id(request, _WHAT)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            await store.lock(connection, account_id)
            if not await store.delete(connection, account_id, device_id):
                missing(_WHAT)
            return NOTHING

        answer = await self._once.run(account_id, None, work)
        await asyncio.sleep(CLAIMS_OVER_SECONDS)
        return reply(answer)

    async def pause(self, request: web.Request) -> web.Response:
        """Stop; answered when nothing more goes out."""
        key = await read_nothing(request)
        answer = await self._change(request, key, paused=True)
        await asyncio.sleep(CLAIMS_OVER_SECONDS)
        return reply(answer)

    async def resume(self, request: web.Request) -> web.Response:
        """Go on."""
        key = await read_nothing(request)
        return reply(await self._change(request, key, paused=False))

    async def logout(self, request: web.Request) -> web.Response:
        """Unlink; answered when nothing more goes out."""
        key = await read_nothing(request)
        device_id = path_id(request, _WHAT)
        async with self._pool.acquire() as connection:
            row = await store.one(connection, request[CALLER].account_id, device_id)
        driver = found(row, _WHAT)["driver"]
        linking = linking_of(self._kinds, self._linkings, driver, "id")
        answer = await self._change(request, key, state="unlinked", linking=linking)
        await asyncio.sleep(CLAIMS_OVER_SECONDS)
        return reply(answer)

    async def _change(
        self,
        request: web.Request,
        key: Idempotency | None,
        *,
        paused: bool | None = None,
        state: str | None = None,
        linking: Linking | None = None,
    ) -> Answer:
        device_id = path_id(request, _WHAT)
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            if linking is not None:
                await ask(linking.logout(device_id))
            entries = found(
                await change_state(connection, account_id, device_id, paused=paused, state=state),
                _WHAT,
            )
            row = found(await store.one(connection, account_id, device_id), _WHAT)
            return Answer(200, encoded(schema.device(row)), entries)

        return await self._once.run(account_id, key, work)

    def _credential(self, kind: Kind, given: Given, before: str | None) -> str | None:
        if kind.credential is None or kind.credential not in given.secret:
            return before
        text = given.secret[kind.credential]
        return self._seal.mark(text, store.PURPOSE) if text else None

    def _sealed(self, secrets: Mapping[str, str | None]) -> dict[str, str | None]:
        """Each secret, sealed; raises the 503 Problem."""
        try:
            return {name: text and store.sealed(self._seal, text) for name, text in secrets.items()}
        except NoKey:
            raise unavailable("There is no HANTAR_SECRET_KEY_FILE to seal secrets with.") from None
