"""The connection resource: how the devices of an account stand with WhatsApp, and login codes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import segno
from aiohttp import web

from drivers.driver import Kind
from drivers.linking import AlreadyLinked, Code, Linking, OutOfReach
from schemas import devices as schema
from schemas.devices import Connection as ConnectionStatus
from schemas.devices import LoginCode
from schemas.problems import Problem, invalid
from schemas.shapes import One
from service.admission import choose_device
from service.core.code_link import code_link
from service.core.times import rfc3339
from service.ingress.auth import CALLER
from service.ingress.operations import Operation, Parameter
from service.ingress.pages import refuse_unknown, single, whole_number
from service.ingress.replies import encoded, found, one
from service.store import accept
from service.store import devices as store
from service.store.pool import Connection, Pool

#: The other side of a driver may take so long to answer.
ASK_SECONDS = 8.0
RETRY_AFTER_SECONDS = 10
#: Stored states of a device that has its phone, whether that can be reached or not.
LINKED = frozenset({"ready", "throttled", "disconnected"})
#: Of a login code: modules that are recovered, pixels of one, and the quiet zone in modules.
_ERROR_LEVEL = "m"
_SCALE_PIXELS = 6
_BORDER_MODULES = 4


class Connections:
    """Handlers of /connection."""

    def __init__(
        self,
        pool: Pool,
        kinds: Mapping[str, Kind],
        linkings: Mapping[str, Linking],
        *,
        links_begin: Callable[[], str],
        secret: bytes,
    ) -> None:
        self._pool = pool
        self._kinds = kinds
        self._linkings = linkings
        self._links_begin = links_begin
        self._secret = secret

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        driver = Parameter(
            "driver",
            "Instead of the default device's driver.",
            {"type": "string", "enum": sorted(self._kinds)},
        )
        device = Parameter(
            "device",
            "Instead of the default device.",
            {"type": "integer", "minimum": 1},
            example=2,
        )
        return [
            Operation(
                method="GET",
                path="/connection/status",
                handler=self.status,
                summary="How the devices of a driver stand with WhatsApp: a list of those that are "
                "linked to phones, one status for the Cloud API.",
                query=(driver,),
                answers={200: One[ConnectionStatus]},
                problems=("no_device",),
            ),
            Operation(
                method="GET",
                path="/connection/qr",
                handler=self.qr,
                summary="The code that links a device to its phone, as a picture.",
                query=(device,),
                answers={200: One[LoginCode]},
                problems=(
                    "not_found",
                    "already_linked",
                    "qr_not_supported",
                    "no_device",
                    "bridge_unavailable",
                ),
            ),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """The state of every device of a driver."""
        refuse_unknown(request.query, frozenset({"driver"}))
        driver = single(request.query, "driver")
        if driver is not None and driver not in self._kinds:
            raise invalid("driver", f"Must be one of {', '.join(sorted(self._kinds))}.")
        account_id = request[CALLER].account_id
        async with self._pool.acquire() as connection:
            rows = await store.page(connection, account_id)
            chosen = await _default(connection, account_id) if driver is None else None
        if driver is None:
            if not rows:
                _no_device()
            # Several, none of them chosen or ready: any of them stands for how it is.
            driver = next((r["driver"] for r in rows if r["id"] == chosen), rows[-1]["driver"])
        own = [row for row in reversed(rows) if row["driver"] == driver]
        if self._kinds[driver].by_code:
            return one(schema.linked_devices(driver, own))
        return one(schema.single_status(driver, _foremost(own)))

    async def qr(self, request: web.Request) -> web.Response:
        """A login code."""
        refuse_unknown(request.query, frozenset({"device"}))
        device_id = whole_number(request.query, "device")
        account_id = request[CALLER].account_id
        async with self._pool.acquire() as connection:
            if device_id is None:
                device_id = await _default(connection, account_id) or _no_device()
            row = found(await store.one(connection, account_id, device_id), "device")
        if row["stored_state"] in LINKED and self._kinds[row["driver"]].by_code:
            _already_linked()
        linking = linking_of(self._kinds, self._linkings, row["driver"], "device")
        try:
            code = await ask(linking.code(device_id))
        except AlreadyLinked:
            _already_linked()
        # Drawing takes several milliseconds, in which others can be answered.
        drawn = await asyncio.to_thread(picture, code)
        page = code_link(self._links_begin(), self._secret, device_id, time.time())
        answer = LoginCode(device_id, drawn, rfc3339(code.expires_at), page)
        return web.Response(
            body=encoded(answer),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )


def linking_of(
    kinds: Mapping[str, Kind], linkings: Mapping[str, Linking], driver: str, field: str
) -> Linking:
    """Who links the devices of this driver; raises the 422 or 503 Problem."""
    if not kinds[driver].by_code:
        detail = f"A {driver} device is not linked to a phone by a code."
        raise invalid(field, detail, code="qr_not_supported")
    linking = linkings.get(driver)
    return linking if linking is not None else _unavailable()


async def ask(answer: Any) -> Any:
    """What the other side says; raises the 503 Problem when it does not say anything in time."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await answer
    except (OutOfReach, TimeoutError):
        _unavailable()


async def _default(connection: Connection, account_id: int) -> int | None:
    """The default device of an account, if it can be told which that is."""
    try:
        return choose_device(await accept.devices(connection, account_id), None).id
    except Problem:
        return None


def _foremost(rows: list[Any]) -> Any:
    """Of the devices of one driver the default, else the first that is ready, else the first."""
    ranked = sorted(rows, key=lambda row: (not row["is_default"], row["state"] != "ready"))
    return ranked[0] if ranked else None


def picture(code: Code) -> str:
    """The code as a PNG in a data URL."""
    made = segno.make(code.text, error=_ERROR_LEVEL, micro=False)
    drawn: str = made.png_data_uri(scale=_SCALE_PIXELS, border=_BORDER_MODULES)
    return drawn


def _no_device() -> NoReturn:
    raise invalid("device", "The account has no device to send through.", code="no_device")


def _already_linked() -> NoReturn:
    raise Problem(409, "already_linked", "The device is linked to its phone: log it out first.")


def _unavailable() -> NoReturn:
    raise Problem(
        503,
        "bridge_unavailable",
        "What links the devices of this driver cannot be reached.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
