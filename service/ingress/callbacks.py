"""Where providers call back: durable before the answer, and answered quickly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from aiohttp import web

from drivers.driver import Called, NotGenuine, Receiver
from schemas.problems import Problem, unavailable
from service.bus.bus import PublishFailed
from service.ingress.requests import READ_SECONDS, read_body
from service.store.device_settings import DeviceSettings
from service.store.pool import UNAVAILABLE
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Meta sends up to 3 MB at once.
BODY_LIMIT_BYTES = 3 * 1024 * 1024
#: A provider asks again after some seconds.
DURABLE_SECONDS = 10.0


class CallbackDoors:
    """A GET and a POST under /webhooks/<driver> for each driver that is called back over HTTP."""

    def __init__(
        self,
        receivers: Mapping[str, Receiver],
        settings: DeviceSettings,
        call_back: Callable[[Sequence[Called]], Awaitable[None]],
    ) -> None:
        self._receivers = receivers
        self._settings = settings
        self._call_back = call_back

    def routes(self) -> list[web.RouteDef]:
        """The routes, outside /api/v1: providers have no key."""
        return [
            route
            for driver in self._receivers
            for route in (
                web.get(f"/webhooks/{driver}", self._door(driver, self._challenge)),
                web.post(f"/webhooks/{driver}", self._door(driver, self._receive)),
            )
        ]

    def _door(
        self, driver: str, work: Callable[[str, web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            try:
                return await work(driver, request)
            except NotGenuine as error:
                metrics.CALLED_BACK.labels(driver, "refused").inc()
                log.warning("callback_not_genuine", driver=driver, reason=str(error))
                status = 403 if request.method == "GET" else 401
                code = "forbidden" if request.method == "GET" else "unauthenticated"
                raise Problem(status, code, "This is not a genuine call.") from None

        return handler

    async def _challenge(self, driver: str, request: web.Request) -> web.Response:
        if not request.query.get("hub.challenge"):
            raise Problem(400, "bad_request", "hub.challenge is missing.")
        devices = await self._settings.all_of(driver)
        return web.Response(text=self._receivers[driver].challenge(request.query, devices))

    async def _receive(self, driver: str, request: web.Request) -> web.Response:
        body = await read_body(request, BODY_LIMIT_BYTES, READ_SECONDS)
        devices = await self._settings.all_of(driver)
        called = self._receivers[driver].receive(body, request.headers, devices)
        if called:
            try:
                async with asyncio.timeout(DURABLE_SECONDS):
                    await self._call_back(called)
            except (PublishFailed, *UNAVAILABLE) as error:
                log.warning("callback_not_taken", driver=driver, error=type(error).__name__)
                raise unavailable("The callback cannot be kept right now.") from None
        metrics.CALLED_BACK.labels(driver, "taken").inc()
        return web.Response(text="OK")
