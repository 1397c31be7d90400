"""Asks the bridge what became of messages that it gave no last word on."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from drivers.driver import Callback, Host
from drivers.wwebjs.calls import Answer, Calls
from drivers.wwebjs.memory import Memory
from drivers.wwebjs.names import Names
from service.core.lifecycle import Status

#: What the engine is told of a message that WhatsApp refused.
REFUSED = ("refused", "WhatsApp refused the message.")


class Doubt:
    """Messages in doubt: each device is asked about its own, one after the other."""

    def __init__(self, host: Host, calls: Calls, memory: Memory, names: Names) -> None:
        self._host = host
        self._calls = calls
        self._memory = memory
        self._names = names

    async def settle(self) -> None:
        """Ask once about each; raises NoAnswer when a device gave none, after all were asked."""
        rows = defaultdict(list)
        for row in await self._memory.open():
            rows[row["device_id"]].append(row)
        asked = await asyncio.gather(
            *(self._settle_device(of_one) for of_one in rows.values()), return_exceptions=True
        )
        for outcome in asked:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _settle_device(self, rows: Sequence[Any]) -> None:
        for row in rows:
            device = self._names.device(row["device_id"])
            # The sign of a phone would be read as a space.
            path = f"/v1/devices/{device}/messages/{row['wa_id']}?to=%2B{row['phone'][1:]}"
            answer = await self._calls.ask("GET", path)
            if answer.status != 200:
                return  # nor would it answer for the others
            await self._tell(row, answer)

    async def _tell(self, row: Any, answer: Answer) -> None:
        ack = answer.body.get("ack")
        if not answer.body.get("found"):
            status = Status.QUEUED
        elif ack is not None and ack >= 1:
            status = Status.SENT
        elif ack == -1:
            status = Status.FAILED
        else:
            return  # in the page's outbox still
        code, detail = REFUSED if status is Status.FAILED else (None, None)
        provider_id = None if status is Status.QUEUED else row["wa_id"]
        now = datetime.now(UTC)
        said = Callback(row["message_id"], row["attempt"], status, now, provider_id, code, detail)
        await self._host.call_back([said])
        if status is Status.QUEUED:
            await self._memory.anew(row["wa_id"])
        else:
            await self._memory.close([row["wa_id"]])
