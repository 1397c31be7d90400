"""How the devices stand with their phones: the bridge is asked whenever that may have changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.driver import Called, Host, Link
from drivers.guarded import NoAnswer
from drivers.wwebjs.calls import Calls
from drivers.wwebjs.memory import Memory
from drivers.wwebjs.names import Names

#: The bridge's states, as the engine knows them.
_STATES = {
    "starting": "linking",
    "qr": "unlinked",
    "syncing": "linking",
    "ready": "ready",
    "reconnecting": "disconnected",
    "conflict": "disconnected",
    "logged_out": "unlinked",
    "incompatible": "incompatible",
    "crashed": "error",
    "stopped": "paused",
}
#: Resuming lifts the first (store/sql/devices.sql).
_WHY = {
    "conflict": "another program uses the session",
    "stopped": "stopped at the bridge",
}
#: States that end when the bridge is asked to; and how long one has lasted that the engine knows
#: of, and sends all the same.
_AT_REST = frozenset({"stopped", "conflict", "incompatible", "crashed"})
_KNOWN_AFTER = timedelta(seconds=10)
_AWAY = "the bridge cannot be reached"
_UNKNOWN = "the bridge has no such device"


def link_of(device_id: int, told: Mapping[str, Any], at: datetime) -> Link:
    """The state of a device as the bridge describes it."""
    state, reason, phone = str(told.get("state")), told.get("reason"), told.get("me")
    if state == "logged_out" and reason == "unlinked":
        return Link(device_id, "logged_out", at, None, "the phone has ended the link")
    if state in ("ready", "qr", "logged_out"):
        return Link(device_id, _STATES[state], at, phone)
    if state == "incompatible":
        missing = ", ".join(str(name) for name in told.get("missing") or ())
        return Link(device_id, state, at, phone, f"WhatsApp's page has changed: {missing}")
    why = _WHY.get(state) or (str(reason) if reason else None)
    return Link(device_id, _STATES.get(state, "error"), at, phone, why)


class Links:
    """Tells the engine of the devices of the bridge.

    An event only says that something changed: what is told is how it is then, by one clock, which
    is read before the bridge is asked. So the newest word is the truest.
    """

    def __init__(self, host: Host, calls: Calls, memory: Memory, names: Names) -> None:
        self._host = host
        self._calls = calls
        self._memory = memory
        self._names = names

    async def tell(self, only: Collection[int] | None = None) -> None:
        """Say how all devices are now, or these; raises NoAnswer, or what keeps it untold."""
        at = datetime.now(UTC)
        told = await self._told()
        linked = await self._memory.linked()
        links = [link_of(device_id, shown, at) for device_id, shown in told.items()]
        links += [Link(lost, "unlinked", at, None, _UNKNOWN) for lost in linked - told.keys()]
        called: list[Called] = [link for link in links if only is None or link.device_id in only]
        if called:
            await self._host.call_back(called)

    async def wake(self, device_id: int) -> None:
        """Start a device that has long been at rest, and yet is sent through: somebody has resumed
        it here. Not sooner, as that would take the session from who has just taken it."""
        path = f"/v1/devices/{self._names.device(device_id)}"
        told = (await self._calls.ask("GET", path)).body
        if told.get("state") in _AT_REST:
            since = datetime.fromisoformat(str(told.get("since")))
            if datetime.now(UTC) - since > _KNOWN_AFTER:
                await self._calls.ask("PUT", path, {"desired": "up"})

    async def away(self) -> None:
        """Say of all that have a phone that they cannot be reached."""
        at = datetime.now(UTC)
        linked = sorted(await self._memory.linked())
        if linked:
            await self._host.call_back(
                [Link(device_id, "disconnected", at, None, _AWAY) for device_id in linked]
            )

    async def drop_deleted(self) -> None:
        """End the links of devices that are deleted here; raises NoAnswer."""
        for device_id in await self._memory.deleted(list(await self._told())):
            path = f"/v1/devices/{self._names.device(device_id)}"
            await self._calls.ask("POST", f"{path}/logout")
            await self._calls.ask("DELETE", path)

    async def _told(self) -> dict[int, dict[str, Any]]:
        answer = await self._calls.ask("GET", "/v1/devices")
        if answer.status != 200:
            raise NoAnswer(f"status {answer.status}")
        named = (
            (self._names.device_id(str(told.get("id"))), told)
            for told in answer.body.get("devices", ())
        )
        return {device_id: told for device_id, told in named if device_id is not None}
