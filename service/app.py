"""The only wiring: starts what every role stands on, then the roles; stops all in reverse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import structlog
from aiohttp import web

from service.bus.amqp import AmqpBus
from service.bus.bus import Bus
from service.bus.local import LocalBus
from service.bus.topology import topology
from service.callbacks import CallbackRelay
from service.core.sealing import Seal
from service.core.words import Words
from service.event_relay import EventRelay
from service.ingress.gate import Gate
from service.ingress.ops import ops_application
from service.once import Once
from service.record.recorder import Recorder
from service.relay import Relay
from service.roles.codes import count_from_zero
from service.roles.dispatcher import start_dispatcher
from service.roles.ingress import Ingress
from service.roles.intake import start_intake
from service.roles.listening import listen
from service.roles.process import Process, Stops
from service.roles.recorder import start_recorder, start_webhooks
from service.settings import Settings
from service.store import accounts, migrations
from service.store.accounts import Installation
from service.store.device_settings import DeviceSettings
from service.store.migrations import MigrationError
from service.store.pool import Pool, open_pool, show
from service.telemetry import metrics
from service.telemetry.loop_lag import LoopLag

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where this process listens; `api` is None without the ingress role."""

    api: str | None
    ops: str


class App:
    """One process of Hantar."""

    def __init__(self, settings: Settings, dsn: str, seal: Seal) -> None:
        self._settings = settings
        self._dsn = dsn
        self._seal = seal
        self._stops = Stops()
        self._routes: list[web.AbstractRoute] = []

    def routes(self) -> list[web.AbstractRoute]:
        """The routes of the API, once it has started."""
        return self._routes

    async def start(self) -> Addresses:
        """Everything this process's roles need, up and ready; on failure what was started stops.

        Raises CannotListen, MigrationError and what the servers' clients raise.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Every part in reverse order, each for a bounded time."""
        await self._stops.stop()

    async def _start(self) -> Addresses:
        settings = self._settings
        metrics.BUILD.labels(version("hantar"), settings.roles).set(1)
        count_from_zero()
        lag = LoopLag()
        lag.start()
        self._stops.add("loop lag", lag.close)
        process = await self._process()
        if settings.has_role("recorder"):
            await start_webhooks(process)
            process.events.start()
            self._stops.add("events", process.events.close)
        process.relay.start()
        self._stops.add("relay", process.relay.close)
        process.recorder.start()
        self._stops.add("recorder", process.recorder.close)
        await process.gate.start()
        self._stops.add("gate", process.gate.close)
        checks: dict[str, Callable[[], bool]] = {
            "accepting": lambda: process.gate.open,
            "bus": lambda: process.bus.connected,
        }
        if settings.has_role("recorder"):
            await start_recorder(process)
        # Stopped before what takes them in: in one process, nothing is safe until it was.
        process.callbacks.start()
        self._stops.add("callbacks out", process.callbacks.close)
        if settings.has_role("intake"):
            await start_intake(process)
        if settings.has_role("dispatcher"):
            dispatcher = await start_dispatcher(process)
            checks["dispatcher"] = lambda: dispatcher.healthy
        api = None
        if settings.has_role("ingress"):
            ingress = Ingress(process)
            api = await ingress.start()
            self._routes = ingress.routes
        ops = await listen(process, "ops", ops_application(checks), settings.ops_listen)
        log.info("started", roles=settings.roles, api=api, ops=ops)
        return Addresses(api, ops)

    async def _process(self) -> Process:
        settings, dsn = self._settings, self._dsn
        await migrations.check(dsn)
        pool = await open_pool(dsn, name="pool", size=settings.pool_size)
        self._stops.add("pool", pool.close)
        show(pool)
        installation = await self._installation(pool)
        bus = await self._bus(installation)
        self._stops.add("bus", bus.close)
        events = EventRelay(dsn, bus, Words(self._seal))
        relay = Relay(pool, dsn, bus, events.wake)
        return Process(
            settings,
            dsn,
            self._seal,
            installation,
            pool,
            bus,
            events,
            relay,
            Recorder(pool, dsn, relay, doubt_seconds=settings.doubt_seconds),
            CallbackRelay(bus),
            Gate(pool, acked_late=settings.embedded),
            Once(pool, relay),
            DeviceSettings(pool, self._seal),
            self._stops,
        )

    async def _installation(self, pool: Pool) -> Installation:
        async with pool.acquire() as connection:
            found = await accounts.installation(connection)
        if found is None:
            raise MigrationError("the installation is not set up: run `hantar migrate`")
        if found.shards != self._settings.shards:
            raise MigrationError(
                f"HANTAR_SHARDS is {self._settings.shards}, but the installation has "
                f"{found.shards}: it is fixed by the first `hantar migrate`"
            )
        return found

    async def _bus(self, installation: Installation) -> Bus:
        if self._settings.amqp_url is None:
            return LocalBus(topology(installation.shards))
        return await AmqpBus.connect(self._settings.amqp_url.get_secret_value())
