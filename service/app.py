"""The only wiring: builds the parts of each role, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version

import structlog
from aiohttp import web
from yarl import URL

from drivers.driver import Driver, Host
from drivers.linking import LinkHost, Linking
from drivers.registry import DRIVERS, KINDS, LINKINGS, RECEIVERS
from drivers.simulator.linking import SimulatorLinking
from service.accept import Accept
from service.bus.amqp import AmqpBus
from service.bus.bus import Bus
from service.bus.local import LocalBus
from service.bus.topology import topology
from service.callbacks import call_back_over
from service.campaigns import Campaigns as CampaignTaking
from service.core.addresses import Network, read_networks
from service.core.mail import read_smtp_url
from service.core.quota import Quota
from service.core.sealing import Seal
from service.dispatch.dispatcher import Dispatcher
from service.ingress.accounts import SIGN_UPS, Accounts, SignUpRules
from service.ingress.api_page import ApiPage
from service.ingress.application import application
from service.ingress.auth import Authentication
from service.ingress.callbacks import CallbackDoors
from service.ingress.campaigns import Campaigns
from service.ingress.connection import Connections
from service.ingress.contacts import Contacts
from service.ingress.cors import Cors
from service.ingress.credits import Credits
from service.ingress.devices import Devices
from service.ingress.gate import Gate
from service.ingress.groups import Groups
from service.ingress.imports import Imports
from service.ingress.key_uses import KeyUses
from service.ingress.limits import AccountLimit, ClientLimit
from service.ingress.link_page import LinkPage
from service.ingress.lists import Lists
from service.ingress.messages import Messages
from service.ingress.operations import Resource, open_to_all, routes
from service.ingress.ops import ops_application
from service.ingress.pages import Cursors
from service.ingress.templates import Templates
from service.ingress.webhooks import WebhookEndpoints
from service.intake.campaigns import Campaigns as CampaignWork
from service.intake.commands import Commands
from service.intake.imports import Imports as ImportWork
from service.once import Once
from service.record.callbacks import CallbackConsumer
from service.record.dead import DeadCommands
from service.record.devices import DeviceLinks
from service.record.mails import Mails
from service.record.recorder import Recorder
from service.record.sweeps import Sweeps
from service.record.webhook_calls import WebhookCalls
from service.record.webhook_feed import WebhookFeed
from service.record.webhooks import Webhooks
from service.relay import Relay
from service.settings import Settings, split_address
from service.store import accounts, migrations
from service.store.accounts import Installation
from service.store.device_settings import DeviceSettings
from service.store.migrations import MigrationError
from service.store.pool import Pool, open_pool

log = structlog.get_logger(__name__)

#: Each part gets this long to stop; the dispatcher's own limits lie below it.
STOP_SECONDS = 8.0
#: A client that stops in the middle of a request is not waited for longer.
REQUESTS_GRACE_SECONDS = 2.0
#: Ports tried after a taken one, where moving on is allowed.
PORTS_TRIED = 20
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where this process listens; `api` is None without the ingress role."""

    api: str | None
    ops: str


class CannotListen(Exception):
    """The address is taken, or not one of this machine's."""


class App:
    """One process of Hantar."""

    def __init__(self, settings: Settings, dsn: str, seal: Seal) -> None:
        self._settings = settings
        self._dsn = dsn
        self._seal = seal
        self._parts = AsyncExitStack()
        self._links_begin = settings.links_begin
        self._routes: list[web.AbstractRoute] = []

    def routes(self) -> list[web.AbstractRoute]:
        """The routes of the API, once it has started."""
        return self._routes

    async def start(self) -> Addresses:
        """Everything this process's roles need, up and ready; on failure what was started stops."""
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Every part in reverse order, each for a bounded time."""
        await self._parts.aclose()

    async def _start(self) -> Addresses:
        settings, dsn = self._settings, self._dsn
        await migrations.check(dsn)
        pool = await open_pool(dsn, name="pool", size=settings.pool_size)
        self._on_stop("pool", pool.close)
        installation = await self._installation(pool)
        bus = await self._bus(installation)
        self._on_stop("bus", bus.close)
        if settings.has_role("recorder"):
            # Before the relay, as its last events are to find somebody who takes them.
            await self._webhooks(pool, bus)
        relay = Relay(pool, dsn, bus)
        relay.start()
        self._on_stop("relay", relay.close)
        recorder = Recorder(pool, dsn, relay, doubt_seconds=settings.doubt_seconds)
        recorder.start()
        self._on_stop("recorder", recorder.close)
        gate = Gate(pool, acked_late=settings.embedded)
        await gate.start()
        self._on_stop("gate", gate.close)
        device_settings = DeviceSettings(pool, self._seal)
        checks: dict[str, Callable[[], bool]] = {
            "accepting": lambda: gate.open,
            "bus": lambda: bus.connected,
        }
        if settings.has_role("recorder"):
            await self._recorder_role(pool, bus, relay, recorder)
            self._mails(pool, installation.secret)
        once = Once(pool, relay)
        if settings.has_role("intake"):
            await self._intake_role(pool, bus, relay, once, gate)
        if settings.has_role("dispatcher"):
            dispatcher = await self._dispatcher_role(
                pool, bus, recorder, device_settings, installation.secret
            )
            checks["dispatcher"] = lambda: dispatcher.healthy
        api = None
        if settings.has_role("ingress"):
            api = await self._ingress_role(
                pool, bus, relay, once, gate, device_settings, installation
            )
        ops = await self._listen("ops", ops_application(checks), settings.ops_listen)
        log.info("started", roles=settings.roles, api=api, ops=ops)
        return Addresses(api, ops)

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

    async def _recorder_role(self, pool: Pool, bus: Bus, relay: Relay, recorder: Recorder) -> None:
        callbacks = CallbackConsumer(bus, recorder)
        await callbacks.start()
        self._on_stop("callbacks", callbacks.close)
        dead = DeadCommands(bus, pool)
        await dead.start()
        self._on_stop("dead commands", dead.close)
        sweeps = Sweeps(pool, relay, recorder, unpointed_seconds=self._settings.unpointed_seconds)
        sweeps.start()
        self._on_stop("sweeps", sweeps.close)

    async def _intake_role(
        self, pool: Pool, bus: Bus, relay: Relay, once: Once, gate: Gate
    ) -> None:
        for work in (ImportWork(pool), CampaignWork(pool, relay.offer, lambda: gate.open)):
            work.start()
            self._on_stop(f"work on {work.what}s", work.close)
        accept, campaigns = Accept(once, door="amqp"), CampaignTaking(once, door="amqp")
        commands = Commands(pool, bus, once, accept, campaigns, gate.check)
        await commands.start()
        self._on_stop("commands", commands.close)

    async def _webhooks(self, pool: Pool, bus: Bus) -> None:
        calls = WebhookCalls(self._webhook_networks(), f"hantar/{version('hantar')}")
        webhooks = Webhooks(pool, calls, self._seal)
        webhooks.start()
        self._on_stop("webhooks", webhooks.close)
        feed = WebhookFeed(bus, self._dsn, webhooks.wake)
        await feed.start()
        self._on_stop("webhook feed", feed.close)

    def _webhook_networks(self) -> list[Network]:
        return read_networks(self._settings.webhook_allow)

    async def _dispatcher_role(
        self,
        pool: Pool,
        bus: Bus,
        recorder: Recorder,
        device_settings: DeviceSettings,
        secret: bytes,
    ) -> Dispatcher:
        drivers: dict[str, Driver] = {}
        for name, make in DRIVERS.items():
            driver = drivers[name] = make()
            host = Host(
                call_back_over(bus),
                pool,
                self._settings.driver_settings(name),
                device_settings.of,
                secret,
            )
            await driver.start(host)
            self._on_stop(f"driver {name}", driver.close)
        dispatcher = Dispatcher(
            pool,
            self._dsn,
            bus,
            recorder,
            drivers,
            worker=f"{socket.gethostname()}-{secrets.token_hex(4)}",
            lease_seconds=self._settings.lease_seconds,
        )
        # Pushed first: a start that fails half way has something to stop.
        self._on_stop("dispatcher", dispatcher.close)
        await dispatcher.start()
        return dispatcher

    async def _ingress_role(
        self,
        pool: Pool,
        bus: Bus,
        relay: Relay,
        once: Once,
        gate: Gate,
        device_settings: DeviceSettings,
        installation: Installation,
    ) -> str:
        lists = Lists(pool, Cursors(installation.secret), self._settings.public_url or None)
        linkings = self._linkings(pool, relay, installation.secret)
        resources: list[Resource] = [
            Messages(pool, Accept(once, door="http"), once, gate, lists),
            Contacts(pool, once, lists),
            Imports(pool, once, lists),
            Groups(pool, once, lists),
            Templates(pool, once, lists),
            Devices(pool, once, lists, self._seal, KINDS, linkings, shards=installation.shards),
            Connections(pool, KINDS, linkings),
            Campaigns(pool, CampaignTaking(once, door="http"), gate, lists),
            self._accounts(pool, once, installation.secret),
            Credits(pool, lists),
            WebhookEndpoints(pool, once, lists, self._seal, self._webhook_networks()),
        ]
        receivers = {name: make(installation.secret) for name, make in RECEIVERS.items()}
        doors = CallbackDoors(receivers, device_settings, call_back_over(bus)).routes()
        for linking in linkings.values():
            if isinstance(linking, SimulatorLinking):
                doors += LinkPage(linking).routes()
        return await self._api(pool, resources, doors)

    def _linkings(self, pool: Pool, relay: Relay, secret: bytes) -> dict[str, Linking]:
        linked = DeviceLinks(pool, relay).linked
        linkings = {}
        for name, make in LINKINGS.items():
            settings = self._settings.driver_settings(name)
            host = LinkHost(pool, lambda: self._links_begin, secret, linked, settings)
            linkings[name] = make(host)
            self._on_stop(f"linking {name}", linkings[name].close)
        return linkings

    def _accounts(self, pool: Pool, once: Once, secret: bytes) -> Accounts:
        settings = self._settings
        rules = SignUpRules(
            is_open=settings.signup == "open", sends_mail=settings.smtp_url is not None
        )
        clients = ClientLimit(SIGN_UPS, read_networks(settings.trusted_proxies))
        return Accounts(pool, once, rules, clients, secret)

    def _mails(self, pool: Pool, secret: bytes) -> None:
        settings = self._settings
        if settings.smtp_url is None:
            return
        assert settings.mail_from is not None, "the settings go together"
        mails = Mails(
            pool,
            read_smtp_url(settings.smtp_url.get_secret_value()),
            sender=settings.mail_from,
            public_url=settings.public_url,
            secret=secret,
        )
        mails.start()
        self._on_stop("mails", mails.close)

    async def _api(
        self, pool: Pool, resources: Sequence[Resource], doors: Sequence[web.RouteDef]
    ) -> str:
        settings = self._settings
        uses = KeyUses(pool)
        uses.start()
        self._on_stop("key uses", uses.close)
        quota = Quota(settings.rate_per_second, settings.rate_burst)
        trusted = read_networks(settings.trusted_proxies)
        page = ApiPage([each for resource in resources for each in resource.operations()])
        app = application(
            Authentication(pool, AccountLimit(quota), uses, trusted),
            [*routes(resources), *page.routes(), *doors],
            open_to_all=[*open_to_all(resources), *page.open_to_all()],
            cors=Cors(settings.origins),
        )
        self._routes = list(app.router.routes())
        api = await self._listen("api", app, settings.listen)
        if not settings.public_url:
            # The port may have been taken, or left to the system to choose.
            self._links_begin = str(URL(self._links_begin).with_port(URL(api).port).origin())
        return api

    async def _listen(self, name: str, app: web.Application, address: str) -> str:
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=REQUESTS_GRACE_SECONDS, keepalive_timeout=30.0
        )
        await runner.setup()
        self._on_stop(f"{name} listener", runner.cleanup)
        host, port = split_address(address)
        tries = PORTS_TRIED if self._settings.embedded else 1
        for candidate in range(port, port + tries):
            try:
                await web.TCPSite(runner, host, candidate, backlog=BACKLOG).start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE or tries == 1:
                    setting = "HANTAR_LISTEN" if name == "api" else "HANTAR_OPS_LISTEN"
                    raise CannotListen(
                        f"cannot listen on {address} ({error.strerror}): set {setting}"
                    ) from error
                log.warning("port_taken", listener=name, port=candidate)
            else:
                return f"http://{address.rpartition(':')[0]}:{candidate or _port(runner)}"
        raise CannotListen(f"{address} and the {tries - 1} ports after it are taken")

    def _on_stop(self, name: str, stop: Callable[[], Awaitable[object]]) -> None:
        async def bounded() -> None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await stop()
            except Exception as error:  # noqa: BLE001 - the other parts have to stop all the same
                log.error("stop_failed", part=name, error=type(error).__name__)

        self._parts.push_async_callback(bounded)


def _port(runner: web.AppRunner) -> int:
    """The port the system chose, when port 0 was asked for."""
    port: int = runner.addresses[0][1]
    return port
