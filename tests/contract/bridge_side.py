"""What the protocol suite knows of a bridge and of the phones that it is linked to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from drivers.wwebjs.names import wa_id_of
from tests.servers.bridge import Bridge, browsers_of, ended
from tests.servers.bridge_caller import BridgeCaller
from tests.servers.fake_bridge import FakeBridge, Way, fake_bridge
from tests.servers.whatsapp_web import WhatsAppWeb

#: of the device that all tests share
PHONE = "+60123456789"
STRANGER, REFUSING, SWALLOWED = "+60123456701", "+60123456702", "+60123456703"
HEARTBEAT_SECONDS = 0.5
#: Until what nobody confirms is pending.
ACK_SECONDS = 4.0


class BridgeSide(Protocol):
    """A bridge, and people: one without WhatsApp, one to whom every message is
    refused, and one for whom messages wait in the page until they are released."""

    @property
    def caller(self) -> BridgeCaller:
        """Who calls it."""
        ...

    async def scan(self, code: str, phone: str) -> bool:
        """Hold a phone to the code; whether that linked a device."""
        ...

    async def type(self, code: str, phone: str) -> bool:
        """Type the code on a phone; whether that linked a device."""
        ...

    async def unlink(self, phone: str) -> None:
        """The phone ends its link."""
        ...

    async def write(self, phone: str, sender: str, text: str) -> str:
        """A person writes to the phone; the id of the message."""
        ...

    def made(self, wa_id: str) -> int:
        """How many messages WhatsApp made of it."""
        ...

    async def swallow(self) -> None:
        """Messages to SWALLOWED get no further than the page, and nobody is sent another."""
        ...

    async def release(self) -> None:
        """What waits in the page of PHONE goes out by itself."""
        ...

    async def die(self) -> None:
        """The process is gone at once, and its browsers with it."""
        ...

    async def come_back(self) -> None:
        """Another process goes on with the same folder."""
        ...


class FakeSide:
    """Devices and phones as scripted."""

    def __init__(self, bridge: FakeBridge) -> None:
        self._bridge = bridge
        self._caller = BridgeCaller(bridge.socket)
        self._caller.open()
        bridge.events.heartbeat_seconds = HEARTBEAT_SECONDS
        bridge.ways = {
            STRANGER: Way(stranger=True),
            REFUSING: Way(answers=[(422, "failed")] * 9, new_chat=True),
            SWALLOWED: Way(pending=True),
        }

    @property
    def caller(self) -> BridgeCaller:
        return self._caller

    async def scan(self, code: str, phone: str) -> bool:
        return await self._bridge.scan(code, phone)

    async def type(self, code: str, phone: str) -> bool:
        return await self._bridge.type(code, phone)

    async def unlink(self, phone: str) -> None:
        self._bridge.unlink(phone)

    async def write(self, phone: str, sender: str, text: str) -> str:
        return self._bridge.write(phone, sender, text)

    def made(self, wa_id: str) -> int:
        calls = self._bridge.journal
        return sum(each.accepted and wa_id_of(each.device, each.id) == wa_id for each in calls)

    async def swallow(self) -> None:
        pass

    async def release(self) -> None:
        self._bridge.release(SWALLOWED)

    async def die(self) -> None:
        await self._bridge.vanish()

    async def come_back(self) -> None:
        await self._bridge.reappear()


class RealSide:
    """The real bridge and library in real browsers, sent to a WhatsApp Web of our own."""

    def __init__(self, bridge: Bridge, whatsapp: WhatsAppWeb) -> None:
        self._bridge = bridge
        self._whatsapp = whatsapp
        whatsapp.options.strangers.add(STRANGER)
        whatsapp.options.refusing.add(REFUSING)

    @property
    def caller(self) -> BridgeCaller:
        return self._bridge

    async def scan(self, code: str, phone: str) -> bool:
        return await self._whatsapp.scan(code, phone)

    async def type(self, code: str, phone: str) -> bool:
        return await self._whatsapp.type(code, phone)

    async def unlink(self, phone: str) -> None:
        await self._whatsapp.unlink(phone)

    async def write(self, phone: str, sender: str, text: str) -> str:
        return await self._whatsapp.write(phone, sender, text)

    def made(self, wa_id: str) -> int:
        return sum(each.wa_id == wa_id for each in self._whatsapp.deliveries)

    async def swallow(self) -> None:
        self._whatsapp.options.swallow = True

    async def release(self) -> None:
        self._whatsapp.options.swallow = False
        await self._whatsapp.drop(PHONE)

    async def die(self) -> None:
        await self._bridge.kill()
        await ended(self._bridge.folder)

    async def come_back(self) -> None:
        await self._bridge.start()


@asynccontextmanager
async def _fake(_: Path) -> AsyncIterator[BridgeSide]:
    async with fake_bridge() as bridge:
        side = FakeSide(bridge)
        yield side
        await side.caller.close()


@asynccontextmanager
async def _real(folder: Path) -> AsyncIterator[BridgeSide]:
    whatsapp = WhatsAppWeb()
    await whatsapp.start(folder)
    times = {"heartbeat": round(HEARTBEAT_SECONDS * 1000), "ack": round(ACK_SECONDS * 1000)}
    bridge = Bridge(folder / "bridge", whatsapp.flags, **times)
    await bridge.start()
    yield RealSide(bridge, whatsapp)
    assert await bridge.stop() == 0
    assert browsers_of(folder) == []
    await whatsapp.close()


SIDES: dict[str, Callable[[Path], AbstractAsyncContextManager[BridgeSide]]] = {
    "fake": _fake,
    "real": _real,
}
