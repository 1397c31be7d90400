"""`hantar` with two drivers more: one that takes everything at once, so that what is left is the
core's cost, and one that keeps its process busy, as if it had a core of its own and needed it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from drivers.driver import Host, Report, Send, Sent
from drivers.registry import DRIVERS
from service.cli import main

#: What a message takes of the process of a busy driver.
BUSY_SECONDS = 0.002


class Instant:
    """The `instant` driver."""

    repeats = False
    batch_limit = 200
    in_flight_limit = 500

    async def start(self, host: Host) -> None:
        """There is nothing to do."""

    async def send(self, batch: Sequence[Send], report: Report) -> None:
        """Take each message."""
        for send in batch:
            if report.begin(send):
                report.done(send, Sent(f"instant.{send.message_id}"))

    async def close(self) -> None:
        """There is nothing to release."""


class Busy(Instant):
    """The `busy` driver; no core is used, as the machine has too few to give each process one."""

    batch_limit = 10
    in_flight_limit = 20

    async def send(self, batch: Sequence[Send], report: Report) -> None:
        """Take one message after the other, and nothing else happens meanwhile."""
        for send in batch:
            time.sleep(BUSY_SECONDS)  # noqa: ASYNC251 - to hold up the process is the point
            await super().send([send], report)
            await asyncio.sleep(0)


if __name__ == "__main__":
    DRIVERS["instant"] = Instant
    DRIVERS["busy"] = Busy
    main()
