"""What the engine holds at its side of a driver, keeping everything for a test to look at."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import count

from drivers.driver import Callback, Called, Driver, Inbound, Outcome, Send
from service.core.lifecycle import Status

SOON_SECONDS = 10.0
TEXT = "The suite's own words"
_ids = count(1)


def message(
    phone: str,
    device_id: int,
    *,
    message_id: int | None = None,
    attempt: int = 1,
    epoch: int = 1,
) -> Send:
    """A message, of a new id unless one is given."""
    return Send(
        next(_ids) if message_id is None else message_id, attempt, device_id, epoch, phone, TEXT
    )


class _News:
    """Something that changes, and can be waited on."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def _tell(self) -> None:
        self._news.set()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_SECONDS):
            while not enough():
                self._news.clear()
                await self._news.wait()


class Witness(_News):
    """A report that forbids some messages and notes what the driver tells about the others."""

    def __init__(self, forbidden: Collection[Send] = ()) -> None:
        super().__init__()
        self._forbidden = forbidden
        self.asked: list[Send] = []
        self.made_calls: list[Send] = []
        self.outcomes: dict[int, list[Outcome]] = defaultdict(list)

    def begin(self, send: Send) -> bool:
        self.asked.append(send)
        return send not in self._forbidden

    def made(self, sends: Sequence[Send]) -> None:
        # Before it was allowed, or once it was answered, is no time to be called.
        assert all(send in self.asked and send not in self._forbidden for send in sends)
        assert not any(send.message_id in self.outcomes for send in sends)
        self.made_calls += sends

    def done(self, send: Send, outcome: Outcome) -> None:
        self.outcomes[send.message_id].append(outcome)
        self._tell()

    async def outcome(self, send: Send) -> Outcome:
        """The one outcome of a message, once it is reported."""
        await self.until(lambda: bool(self.outcomes.get(send.message_id)))
        (outcome,) = self.outcomes[send.message_id]
        return outcome


class Sink(_News):
    """Takes callbacks; while `refusing` it takes none and complains, as a bus that is away."""

    def __init__(self, *, refusing: bool = False) -> None:
        super().__init__()
        self.refusing = refusing
        self.refused: list[Called] = []
        self.taken: list[Called] = []

    async def __call__(self, called: Sequence[Called]) -> None:
        if self.refusing:
            self.refused += called
            self._tell()
            raise RuntimeError(f"cannot take {called!r}")
        self.taken += called
        self._tell()

    def about(self, send: Send) -> list[Callback]:
        """The callbacks of a message."""
        return [
            item
            for item in self.taken
            if isinstance(item, Callback) and item.message_id == send.message_id
        ]

    async def callback(self, send: Send, status: Status) -> Callback:
        """The first callback that says so of a message, once it is there."""

        def found() -> list[Callback]:
            return [callback for callback in self.about(send) if callback.status is status]

        await self.until(lambda: bool(found()))
        return found()[0]


async def soon(doing: Awaitable[object]) -> None:
    """Wait for it, for a bounded time."""
    async with asyncio.timeout(SOON_SECONDS):
        await doing


async def send_one(driver: Driver, send: Send) -> Outcome:
    """The outcome of one message sent alone."""
    witness = Witness()
    await soon(driver.send([send], witness))
    return await witness.outcome(send)


def inbound_in(called: Sequence[Called]) -> list[Inbound]:
    """What persons wrote, among what was called back."""
    return [item for item in called if isinstance(item, Inbound)]
