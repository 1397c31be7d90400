"""The ingress role: the HTTP API, its page, and the doors for callbacks and links."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from yarl import URL

from drivers.linking import LinkHost, Linking
from drivers.registry import KINDS, LINKINGS, RECEIVERS
from drivers.simulator.linking import SimulatorLinking
from service.accept import Accept
from service.campaigns import Campaigns as CampaignTaking
from service.core.addresses import read_networks
from service.core.quota import Quota
from service.core.words import Words
from service.ingress.accounts import SIGN_UPS, Accounts, SignUpRules
from service.ingress.api_page import ApiPage
from service.ingress.application import application
from service.ingress.auth import Authentication
from service.ingress.callbacks import CallbackDoors
from service.ingress.campaigns import Campaigns
from service.ingress.code_page import CodePage
from service.ingress.connection import Connections
from service.ingress.contacts import Contacts
from service.ingress.cors import Cors
from service.ingress.credits import Credits
from service.ingress.devices import Devices
from service.ingress.groups import Groups
from service.ingress.imports import Imports
from service.ingress.inbound import InboundMessages
from service.ingress.key_uses import KeyUses
from service.ingress.limits import AccountLimit, ClientLimit
from service.ingress.link_page import LinkPage
from service.ingress.lists import Lists
from service.ingress.messages import Messages
from service.ingress.operations import Resource, open_to_all, routes
from service.ingress.pages import Cursors
from service.ingress.templates import Templates
from service.ingress.webhook_deliveries import WebhookDeliveries
from service.ingress.webhooks import WebhookEndpoints
from service.record.devices import DeviceLinks
from service.roles.listening import listen
from service.roles.process import Process


class Ingress:
    """The API of this process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._links_begin = process.settings.links_begin
        #: Every route it serves, once it has started.
        self.routes: list[web.AbstractRoute] = []

    async def start(self) -> str:
        """Serves the API; returns its URL. Raises CannotListen."""
        process = self._process
        linkings = self._linkings()
        resources = self._resources(linkings)
        uses = KeyUses(process.pool)
        uses.start()
        process.stops.add("key uses", uses.close)
        app = self._application(resources, self._doors(linkings), uses)
        self.routes = list(app.router.routes())
        api = await listen(process, "api", app, process.settings.listen)
        if not process.settings.public_url:
            # The port may have been taken, or left to the system to choose.
            self._links_begin = str(URL(self._links_begin).with_port(URL(api).port).origin())
        return api

    def _resources(self, linkings: dict[str, Linking]) -> list[Resource]:
        process = self._process
        pool, once, gate, seal = process.pool, process.once, process.gate, process.seal
        settings, installation = process.settings, process.installation
        lists = Lists(pool, Cursors(installation.secret), settings.public_url or None)
        networks = read_networks(settings.webhook_allow)
        return [
            Messages(pool, Accept(once, door="http"), once, gate, lists),
            Contacts(pool, once, lists),
            Imports(pool, once, lists),
            Groups(pool, once, lists),
            Templates(pool, once, lists),
            Devices(pool, once, lists, seal, KINDS, linkings, shards=installation.shards),
            Connections(
                pool,
                KINDS,
                linkings,
                links_begin=lambda: self._links_begin,
                secret=installation.secret,
            ),
            Campaigns(pool, once, CampaignTaking(once, door="http"), gate, lists),
            self._accounts(),
            Credits(pool, lists),
            InboundMessages(lists, Words(seal)),
            WebhookEndpoints(pool, once, lists, seal, networks),
            WebhookDeliveries(pool, once, lists),
        ]

    def _accounts(self) -> Accounts:
        process, settings = self._process, self._process.settings
        rules = SignUpRules(
            is_open=settings.signup == "open", sends_mail=settings.smtp_url is not None
        )
        clients = ClientLimit(SIGN_UPS, read_networks(settings.trusted_proxies))
        return Accounts(process.pool, process.once, rules, clients, process.installation.secret)

    def _linkings(self) -> dict[str, Linking]:
        process = self._process
        linked = DeviceLinks(process.pool, process.relay).linked
        linkings = {}
        for name, make in LINKINGS.items():
            host = LinkHost(
                process.pool,
                lambda: self._links_begin,
                process.installation.secret,
                linked,
                process.settings.driver_settings(name),
            )
            linkings[name] = make(host)
            process.stops.add(f"linking {name}", linkings[name].close)
        return linkings

    def _doors(self, linkings: dict[str, Linking]) -> list[web.RouteDef]:
        process = self._process
        receivers = {name: make(process.installation.secret) for name, make in RECEIVERS.items()}
        doors = CallbackDoors(
            receivers, process.device_settings, process.callbacks.call_back
        ).routes()
        doors += CodePage(process.pool, linkings, process.installation.secret).routes()
        for linking in linkings.values():
            if isinstance(linking, SimulatorLinking):
                doors += LinkPage(linking).routes()
        return doors

    def _application(
        self, resources: Sequence[Resource], doors: Sequence[web.RouteDef], uses: KeyUses
    ) -> web.Application:
        settings = self._process.settings
        limit = AccountLimit(Quota(settings.rate_per_second, settings.rate_burst))
        trusted = read_networks(settings.trusted_proxies)
        page = ApiPage([each for resource in resources for each in resource.operations()])
        return application(
            Authentication(self._process.pool, limit, uses, trusted),
            [*routes(resources), *page.routes(), *doors],
            open_to_all=[*open_to_all(resources), *page.open_to_all()],
            cors=Cors(settings.origins),
        )
