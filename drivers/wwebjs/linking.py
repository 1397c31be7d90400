"""How linked devices come to their phones: the bridge shows WhatsApp's own code."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from drivers.guarded import NoAnswer
from drivers.linking import AlreadyLinked, Code, LinkHost, OutOfReach
from drivers.wwebjs.calls import Answer, Calls
from drivers.wwebjs.names import Names

#: A browser may take so long to its first code; who asks is told to come again.
CODE_SECONDS = 7.0
LOOK_SECONDS = 0.2
#: WhatsApp replaces a code after this at the latest.
FRESH = timedelta(seconds=60)
#: One to be typed is good for longer; the bridge asks for a new one after two minutes.
TYPED_FRESH = timedelta(seconds=180)
_HAS_PHONE = frozenset({"ready", "syncing", "reconnecting"})


class WwebjsLinking:
    """Asks the bridge; that a device has its phone is told by the driver, who hears of it."""

    def __init__(self, host: LinkHost) -> None:
        self._names = Names(host.secret)
        self._calls = Calls(host.settings["bridge"], host.settings.get("token_file", ""))

    async def code(self, device_id: int) -> Code:
        """WhatsApp's code, for which a browser is started where there is none."""
        return await self._shown(device_id, "GET", "qr", None, FRESH)

    async def pairing_code(self, device_id: int, phone: str, /) -> Code:
        """WhatsApp's code, of which the phone is notified whenever it is a new one."""
        return await self._shown(device_id, "POST", "pairing-code", {"phone": phone}, TYPED_FRESH)

    async def _shown(
        self, device_id: int, method: str, kind: str, body: Any, fresh: timedelta
    ) -> Code:
        path = f"/v1/devices/{self._names.device(device_id)}"
        told = (await self._ask("PUT", path, {"desired": "up"})).body
        deadline = asyncio.get_running_loop().time() + CODE_SECONDS
        while True:
            if told.get("me") or told.get("state") in _HAS_PHONE:
                raise AlreadyLinked
            answer = await self._ask(method, f"{path}/{kind}", body, accepted=(200, 409))
            if answer.status == 200:
                issued_at = datetime.fromisoformat(answer.body["issued_at"])
                return Code(answer.body["code"], issued_at + fresh)
            if asyncio.get_running_loop().time() > deadline:
                raise OutOfReach("no code yet")
            await asyncio.sleep(LOOK_SECONDS)
            told = (await self._ask("GET", path)).body

    async def logout(self, device_id: int) -> None:
        """Unlink; a device that the bridge has never heard of has no phone."""
        path = f"/v1/devices/{self._names.device(device_id)}/logout"
        await self._ask("POST", path, accepted=(200, 404))

    async def close(self) -> None:
        """Close the connections."""
        await self._calls.close()

    async def _ask(
        self, method: str, path: str, body: Any = None, accepted: tuple[int, ...] = (200,)
    ) -> Answer:
        try:
            answer = await self._calls.ask(method, path, body)
        except NoAnswer as error:
            raise OutOfReach(str(error)) from None
        if answer.status not in accepted:
            raise OutOfReach(answer.code)
        return answer
