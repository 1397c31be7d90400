"""Kills the bridge, its browser and the page at random while it sends; run by hand.

Whatever dies, and whenever: one id a message, each delivered, no inbound message and no last ack
missing, and no browser left behind.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path

import aiohttp

from tests.integration.wwebjs.linked import DEVICE, PERSON, PHONE, Linked
from tests.integration.wwebjs.parts import kill_part
from tests.servers.bridge import Bridge, ended
from tests.servers.bridge_caller import Json
from tests.servers.whatsapp_web import WhatsAppWeb

SEED = int(os.environ.get("SEED", "6"))
MESSAGES = 200
KILLS = 54
LIMIT_SECONDS = 600


async def test_a_send_is_one_message_whatever_is_killed(
    tmp_path: Path, bridge_program: None
) -> None:
    web = WhatsAppWeb()
    await web.start(tmp_path)
    # So that what is killed was often handed over already, and not confirmed.
    web.options.delay_seconds = 0.1
    linked = Linked(Bridge(tmp_path / "bridge", web.flags), web)
    await linked.bridge.start()
    await linked.link()
    chance = random.Random(SEED)
    async with asyncio.timeout(LIMIT_SECONDS):
        killing = asyncio.create_task(kill(linked, chance))
        answers = {}
        number = 0
        while number < MESSAGES or not killing.done():
            answers[number] = await persist(linked, f"m{number}")
            number += 1
        kills, heard = await killing
        ids = [answer["wa_id"] for answer in answers.values()]
        await up(linked)
        told = await everything(linked, set(ids), heard)
    assert await linked.bridge.stop() == 0
    await ended(tmp_path)
    await web.close()
    assert len(set(ids)) == number
    assert {delivery.wa_id for delivery in web.deliveries} == set(ids)
    repeats = Counter(d.wa_id for d in web.deliveries if d.repeated)
    sys.stdout.write(f"\nseed {SEED}: {number} messages, {kills.total()} kills {dict(kills)}\n")
    sys.stdout.write(
        f"{repeats.total()} handed over again under their own id; all heard and read:\n"
    )
    sys.stdout.write(f"{len(heard)} inbound, {told} events; {LIMIT_SECONDS} s were allowed\n")
    assert kills.total() >= 50


async def kill(linked: Linked, chance: random.Random) -> tuple[Counter[str], set[str]]:
    """What was killed, how often; and the ids of what people wrote meanwhile."""
    kills: Counter[str] = Counter()
    heard: set[str] = set()
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.2, 2.5))
        heard.add(await linked.whatsapp.write(PHONE, PERSON, "hello"))
        kind = chance.choice(("node", "browser", "renderer"))
        if kind == "node":
            await linked.bridge.kill()
            await linked.bridge.start()
        else:
            kill_part(linked.bridge.folder, kind)
        kills[kind] += 1
    return kills, heard


async def persist(linked: Linked, message: str) -> Json:
    """Ask until it is answered, as the driver does."""
    while True:
        try:
            status, answer = await linked.send(message)
        except (aiohttp.ClientError, RuntimeError):
            await asyncio.sleep(0.05)
            continue
        if status == 200:
            return answer
        assert status in {429, 502, 503, 504}, answer
        if answer.get("state") in {"crashed", "logged_out"}:
            await up(linked)
        await asyncio.sleep(0.05)


async def up(linked: Linked) -> None:
    """A device that gave up is asked for again, and ready when this returns."""
    while True:
        try:
            await linked.bridge.call("PUT", f"/v1/devices/{DEVICE}", {"desired": "up"})
            if (await linked.view())["state"] == "ready":
                return
        except (aiohttp.ClientError, RuntimeError):
            pass
        await asyncio.sleep(0.1)


async def everything(linked: Linked, ids: set[str], heard: set[str]) -> int:
    """Reads the events until nothing is missing; how many there were."""
    count = 0
    unread, unheard = set(ids), set(heard)
    async for event in linked.bridge.events():
        count += 1
        if event["type"] == "ack" and event["ack"] == 3:
            unread.discard(event["wa_id"])
        if event["type"] == "inbound":
            unheard.discard(event["wa_id"])
        if not unread and not unheard:
            break
    return count
