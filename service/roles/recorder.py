"""The recorder role: callbacks taken in, refused commands kept, sweeps, webhooks and mails out."""

from __future__ import annotations

from importlib.metadata import version

from service.core.addresses import read_networks
from service.core.mail import read_smtp_url
from service.core.words import OptOutWords, Words
from service.record.callbacks import CallbackConsumer
from service.record.dead import DeadCommands
from service.record.devices import DeviceLinks
from service.record.inbound import Inbound
from service.record.mails import Mails
from service.record.sampler import Sampler
from service.record.standing import Standings
from service.record.sweeps import Sweeps
from service.record.unread import UnreadKept
from service.record.webhook_calls import WebhookCalls
from service.record.webhook_feed import WebhookFeed
from service.record.webhooks import Webhooks
from service.roles.process import Process


async def start_webhooks(process: Process) -> None:
    """Calls the accounts' endpoints; before the relay, so that its last events are taken."""
    networks = read_networks(process.settings.webhook_allow)
    calls = WebhookCalls(networks, f"hantar/{version('hantar')}")
    webhooks = Webhooks(process.pool, calls, process.seal)
    webhooks.start()
    process.stops.add("webhooks", webhooks.close)
    feed = WebhookFeed(process.bus, process.dsn, Words(process.seal), webhooks.wake)
    await feed.start()
    process.stops.add("webhook feed", feed.close)


async def start_recorder(process: Process) -> None:
    """Takes in what drivers report and what the broker refused, and sweeps."""
    pool, stops = process.pool, process.stops
    words = Words(process.seal)
    inbound = Inbound(
        pool,
        process.relay,
        words,
        OptOutWords(process.settings.all_opt_out_words),
        keeps_text=process.settings.inbound_text == "encrypted",
    )
    callbacks = CallbackConsumer(
        process.bus,
        process.recorder,
        inbound,
        Standings(pool),
        UnreadKept(pool, words),
        DeviceLinks(pool, process.relay),
    )
    await callbacks.start()
    stops.add("callbacks", callbacks.close)
    dead = DeadCommands(process.bus, pool)
    await dead.start()
    stops.add("dead commands", dead.close)
    sweeps = Sweeps(
        pool,
        process.relay,
        process.recorder,
        unpointed_seconds=process.settings.unpointed_seconds,
    )
    sweeps.start()
    stops.add("sweeps", sweeps.close)
    sampler = Sampler(
        process.dsn,
        lease_seconds=process.settings.lease_seconds,
        doubt_seconds=process.settings.doubt_seconds,
    )
    sampler.start()
    stops.add("sampler", sampler.close)
    _start_mails(process)


def _start_mails(process: Process) -> None:
    settings = process.settings
    if settings.smtp_url is None:
        return
    assert settings.mail_from is not None, "the settings go together"
    mails = Mails(
        process.pool,
        read_smtp_url(settings.smtp_url.get_secret_value()),
        sender=settings.mail_from,
        public_url=settings.public_url,
        secret=process.installation.secret,
    )
    mails.start()
    process.stops.add("mails", mails.close)
