"""One device of a bridge and the phone it belongs to, as the tests move them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.servers.bridge import Bridge
from tests.servers.bridge_caller import Json
from tests.servers.whatsapp_web import WhatsAppWeb

DEVICE = "7"
PHONE = "+60123456789"
PERSON = "+60123456780"


@dataclass
class Linked:
    """The device, the bridge it is on, and the WhatsApp that the bridge meets."""

    bridge: Bridge
    whatsapp: WhatsAppWeb

    async def link(self, after: int = 0) -> Json:
        """Bring the device up and scan its code; the event that says it is ready."""
        await self.bridge.call("PUT", f"/v1/devices/{DEVICE}", {"desired": "up"})
        shown = await self.bridge.until(lambda event: event["type"] == "qr", after)
        assert await self.whatsapp.scan(shown["code"], PHONE)
        return await self.reaches("ready", shown["seq"])

    async def reaches(self, state: str, after: int) -> Json:
        """The event with which it comes into the state."""
        return await self.bridge.reaches(DEVICE, state, after)

    async def send(self, message: str, text: str = "hello", to: str = PERSON) -> tuple[int, Json]:
        """One text under the service's own id."""
        return await self.bridge.send(DEVICE, message, to, text)

    async def acked(self, wa_id: str, ack: int, after: int = 0) -> Json:
        """The event that says so."""
        return await self.bridge.until(
            lambda e: e["type"] == "ack" and e["wa_id"] == wa_id and e["ack"] == ack, after
        )

    async def hears(self, wa_id: str, after: int = 0) -> Json:
        """The event with this inbound message."""
        return await self.bridge.until(
            lambda e: e["type"] == "inbound" and e["wa_id"] == wa_id, after
        )

    async def view(self) -> Json:
        """The device as the bridge sees it."""
        return await self.bridge.device(DEVICE)
