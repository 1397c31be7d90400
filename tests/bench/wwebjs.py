"""A bulk of 1000 through three linked devices, real browsers and all: `make bench-wwebjs`.

On the way the bridge is killed and stays away for a minute, and one phone ends its link and is
linked again later: what waits for it waits, the others go on, and everybody gets one message.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from drivers.wwebjs.names import Names
from service.store import accounts
from service.store.pool import Pool
from tests.servers.bridge import Bridge, ended
from tests.servers.whatsapp_web import WhatsAppWeb
from tests.system import Account, Hantar, eventually, run_app

MESSAGES = 1000
PHONES = ("+60123450001", "+60123450002", "+60123450003")
PER_SECOND = 2.0
#: Of the messages: the bridge is killed, and the last phone ends its link.
KILLED_AFTER, UNLINKED_AFTER = 200, 550
AWAY_SECONDS = 60.0
LIMIT_SECONDS = 570.0
#: A browser starts, on a machine with much else to do.
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Hantar, the bridge, WhatsApp, and the devices by their phones."""

    hantar: Hantar
    account: Account
    bridge: Bridge
    web: WhatsAppWeb
    names: Names
    devices: dict[str, int]

    async def link(self, phone: str) -> None:
        """The phone scans the code of its device, as the API shows it."""
        device_id = self.devices[phone]

        async def shown() -> bool:
            answer = await self.hantar.get(f"/connection/qr?device={device_id}", self.account)
            return answer.status == 200

        await eventually(shown, within_seconds=START_SECONDS)
        _, told = await self.bridge.call("GET", f"/v1/devices/{self.names.device(device_id)}/qr")
        assert await self.web.scan(told["code"], phone)
        await self.reaches(phone, "ready")

    async def reaches(self, phone: str, state: str) -> None:
        """The device is shown in this state."""

        async def shown() -> bool:
            answer = await self.hantar.get(f"/devices/{self.devices[phone]}", self.account)
            return bool(answer.json["data"]["state"] == state)

        await eventually(shown, within_seconds=START_SECONDS)

    def taken(self) -> Counter[str]:
        """How many messages WhatsApp has from each phone."""
        return Counter(sender for sender, _ in {(d.sender, d.wa_id) for d in self.web.deliveries})

    async def until_taken(self, count: int, *phones: str) -> None:
        """WhatsApp has so many from these phones together."""

        async def look() -> bool:
            taken = self.taken()
            return sum(taken[phone] for phone in phones) >= count

        await eventually(look, within_seconds=LIMIT_SECONDS)

    async def waiting(self, device_id: int) -> Counter[str]:
        """Why those of a device wait that have not gone, as the API says."""
        rows = await self.hantar.pool.fetch(
            "SELECT id FROM messages WHERE device_id = $1 AND status = 'queued'", device_id
        )
        found: Counter[str] = Counter()
        for row in rows:
            message = await self.hantar.message(self.account, row["id"])
            found[message["waiting"]["reason"]] += 1
            await asyncio.sleep(0.01)  # the account may ask a hundred times a second
        return found


async def scene(hantar: Hantar, bridge: Bridge, web: WhatsAppWeb) -> Scene:
    """Three devices, linked to their phones."""
    async with hantar.pool.acquire() as connection:
        installation = await accounts.installation(connection)
    assert installation is not None
    account = await hantar.account(device=False)
    devices = {}
    limits = {"per_second": PER_SECOND, "per_minute": None, "jitter_seconds": 0}
    for phone in PHONES:
        body = {"name": phone, "driver": "wwebjs", "limits": limits}
        answer = await hantar.post("/devices", account, body)
        devices[phone] = answer.json["data"]["id"]
    made = Scene(hantar, account, bridge, web, Names(installation.secret), devices)
    for phone in PHONES:
        await made.link(phone)
    return made


async def test_a_bulk_through_three_phones(
    dsn: str, pool: Pool, tmp_path: Path, bridge_program: None
) -> None:
    web = WhatsAppWeb()
    await web.start(tmp_path)
    bridge = Bridge(tmp_path / "bridge", web.flags)
    await bridge.start()
    async with asyncio.timeout(LIMIT_SECONDS):
        async for hantar in run_app(dsn, pool, wwebjs_bridge=str(bridge.socket)):
            await told(await scene(hantar, bridge, web))
    assert await bridge.stop() == 0
    await ended(tmp_path)
    await web.close()


async def told(on: Scene) -> None:
    """Send, strike, and say what came of it."""
    began = time.monotonic()
    ids = list(on.devices.values())
    items = [
        {"phone": f"+60{122000000 + n}", "body": f"Salam {n}", "device": ids[n % len(ids)]}
        for n in range(MESSAGES)
    ]
    answer = await on.hantar.post("/messages/bulk", on.account, {"messages": items})
    assert answer.status == 202, answer.json

    await on.until_taken(KILLED_AFTER, *PHONES)
    say(began, f"{sum(on.taken().values())} sent; the bridge is killed")
    await on.bridge.kill()
    for phone in PHONES:
        await on.reaches(phone, "disconnected")
    say(began, "all devices are disconnected")
    await asyncio.sleep(AWAY_SECONDS)  # so long it is away
    before = sum(on.taken().values())
    await on.bridge.start()
    say(began, f"the bridge is back, {before} were sent")
    await on.until_taken(before + 1, *PHONES)
    say(began, "it goes on by itself")
    for phone in PHONES:
        await on.reaches(phone, "ready")
    say(began, "all devices are ready again")
    await lost_and_found(on, began)
    await accounted(on, began)


async def lost_and_found(on: Scene, began: float) -> None:
    """The last phone ends its link, and is linked again when the others are done."""
    *others, lost = PHONES
    await on.until_taken(UNLINKED_AFTER, *PHONES)
    await on.web.unlink(lost)
    await on.reaches(lost, "logged_out")
    left = -(-(MESSAGES - PHONES.index(lost)) // len(PHONES)) - on.taken()[lost]
    say(began, f"{lost} has ended its link, {left} are left to it")
    await on.until_taken(MESSAGES - on.taken()[lost] - left, *others)
    say(began, "the others are done")
    reasons = await on.waiting(on.devices[lost])
    say(began, f"why the rest waits: {dict(reasons)}")
    assert set(reasons) == {"not_ready"}
    await on.link(lost)
    say(began, "linked again")
    await on.until_taken(MESSAGES, *PHONES)
    say(began, f"all {MESSAGES} are sent")


async def accounted(on: Scene, began: float) -> None:
    """Every message is read, once; what it cost."""

    async def read() -> bool:
        counts = await on.hantar.pool.fetch("SELECT status, count(*) FROM messages GROUP BY 1")
        return {row["status"]: row["count"] for row in counts} == {"read": MESSAGES}

    await eventually(read, within_seconds=60)
    say(began, "all are read")
    deliveries = on.web.deliveries
    assert len({delivery.wa_id for delivery in deliveries}) == MESSAGES
    assert len({delivery.phone for delivery in deliveries}) == MESSAGES
    assert len({(d.phone, d.wa_id, d.sender) for d in deliveries}) == MESSAGES
    assert await on.hantar.drifting() == []
    again = len(deliveries) - MESSAGES
    say(began, f"0 duplicates; {again} handed over again under their own id")
    _, health = await on.bridge.call("GET", "/v1/health")
    _, told = await on.bridge.call("GET", "/v1/devices")
    sizes = [round(device["memory_bytes"] / 2**20) for device in told["devices"]]
    say(began, f"memory: {sizes} MiB a device, {round(health['rss_bytes'] / 2**20)} MiB the bridge")


def say(began: float, what: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {what}\n")
    sys.stdout.flush()
