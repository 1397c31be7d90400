"""The intake role: commands from the queue, and the long work on imports and campaigns."""

from __future__ import annotations

from service.accept import Accept
from service.campaigns import Campaigns as CampaignTaking
from service.intake.campaigns import Campaigns as CampaignWork
from service.intake.commands import Commands
from service.intake.imports import Imports as ImportWork
from service.roles.process import Process


async def start_intake(process: Process) -> None:
    """Works off imports and campaigns, and takes commands while the gate is open."""
    pool, once, gate = process.pool, process.once, process.gate
    campaign_work = CampaignWork(pool, process.relay.offer, lambda: gate.open)
    for work in (ImportWork(pool), campaign_work):
        work.start()
        process.stops.add(f"work on {work.what}s", work.close)
    accept, campaigns = Accept(once, door="amqp"), CampaignTaking(once, door="amqp")
    commands = Commands(pool, process.bus, once, accept, campaigns, gate.check)
    await commands.start()
    process.stops.add("commands", commands.close)
