"""The seam to the phone behind a device: the code that links it, and the end of the link.

It stands beside the driver, as whoever asks for a code is rarely the process that sends: each
process makes one of its own, which finds the other side by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Code:
    """What a phone has to scan, or its owner to type, and until when."""

    text: str
    expires_at: datetime


class NoPairing(Exception):
    """The devices of this driver are linked by a scan alone."""


class AlreadyLinked(Exception):
    """The device has its phone."""


class OutOfReach(Exception):
    """The other side cannot be asked right now; nothing was done."""


@dataclass(frozen=True, slots=True)
class LinkHost:
    """What a linking is given when it is made."""

    #: an asyncpg pool, for those that keep a memory of their own
    pool: Any
    #: what links to this installation begin with
    public_url: Callable[[], str]
    #: this installation's own, to sign with
    secret: bytes
    #: notes that a device has its phone now: its id, and the phone as E.164
    linked: Callable[[int, str], Awaitable[None]]
    #: those of the driver
    settings: Mapping[str, str] = field(default_factory=dict)


class Linking(Protocol):
    """How the devices of a driver come to their phones. A new one is a line in registry.py."""

    async def code(self, device_id: int) -> Code:
        """The code that links the device: the same one while it is fresh, good for a minute at
        least. Raises AlreadyLinked or OutOfReach."""
        ...

    async def pairing_code(self, device_id: int, phone: str, /) -> Code:
        """The code that links the device once it is typed on this phone, which is E.164; as with
        `code`. Raises NoPairing too."""
        ...

    async def logout(self, device_id: int) -> None:
        """End the link, and let no code from before make one; without a link that is all.

        Raises OutOfReach.
        """
        ...

    async def close(self) -> None:
        """Release everything within five seconds."""
        ...
