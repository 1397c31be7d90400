"""`hantar` with a driver more, which takes everything at once: what is left is the core's cost."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.driver import Host, Report, Send, Sent
from drivers.registry import DRIVERS
from service.cli import main


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


if __name__ == "__main__":
    DRIVERS["instant"] = Instant
    main()
