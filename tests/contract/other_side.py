"""What the driver suite knows of a provider: a new driver joins with one more entry in SIDES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from drivers.driver import Driver, Host, Send
from drivers.registry import DRIVERS
from service.store.pool import Pool
from tests.contract.witness import Sink, message


@dataclass(frozen=True, slots=True)
class Phones:
    """One number for each thing that may happen to a message."""

    accepted: str
    refused: str
    #: the device is, then the number is accepted within five calls
    throttled: str
    #: a passing error, then the number is accepted within five calls
    erring: str
    #: taken, without an answer
    silent: str
    #: answered after more than five seconds
    slow: str
    #: accepted, later called back as failed
    failing_later: str
    #: accepted, then the person writes back
    replying: str


@dataclass(frozen=True, slots=True)
class Received:
    """A call that the other side received, and whether it made a new message of it."""

    message_id: int
    attempt: int
    accepted: bool


class OtherSide(Protocol):
    """A provider that remembers, as a real one does, whatever becomes of its callers."""

    phones: Phones
    device_id: int
    other_device_id: int

    async def start_driver(self, sink: Sink) -> Driver:
        """One more driver for this provider, started, as another process or a later one has it."""
        ...

    async def received(self) -> list[Received]:
        """Every call so far, in the order of arrival."""
        ...

    def out_of_reach(self) -> AbstractAsyncContextManager[None]:
        """Meanwhile no driver can get a call through."""
        ...


#: Starts one more driver, which is closed after the test.
Start = Callable[[Sink], Awaitable[Driver]]


def ordinary(side: OtherSide, **parts: int) -> Send:
    """A message that will be accepted and delivered."""
    return message(side.phones.accepted, side.device_id, **parts)


async def calls_of(side: OtherSide, send: Send) -> list[int]:
    """The attempts of the calls for a message."""
    return [call.attempt for call in await side.received() if call.message_id == send.message_id]


async def accepted_of(side: OtherSide, send: Send) -> list[int]:
    """The attempts of the calls that became a message."""
    received = await side.received()
    return [c.attempt for c in received if c.message_id == send.message_id and c.accepted]


class SimulatorSide:
    """The simulator is driver and provider in one: its tables are the other side."""

    phones = Phones(
        accepted="+60123456789",
        refused="+601155500001",
        throttled="+601155500005",
        erring="+601155500006",
        silent="+601155500002",
        slow="+601155500007",
        failing_later="+601155500009",
        replying="+601155500008",
    )
    device_id = 7
    other_device_id = 8

    def __init__(self, pool: Pool, *, dedupe: str) -> None:
        self._pool = pool
        self._dedupe = dedupe

    async def start_driver(self, sink: Sink) -> Driver:
        driver = DRIVERS["simulator"]()
        await driver.start(Host(sink, self._pool, {"dedupe": self._dedupe, "latency_ms": "0"}))
        return driver

    async def received(self) -> list[Received]:
        rows = await self._pool.fetch(
            "SELECT message_id, attempt, accepted FROM simulator_calls ORDER BY id"
        )
        return [Received(**row) for row in rows]

    @asynccontextmanager
    async def out_of_reach(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            for _ in range(self._pool.get_max_size()):
                await held.enter_async_context(self._pool.acquire(timeout=5.0))
            yield


@asynccontextmanager
async def _simulator(pool: Pool, *, dedupe: str) -> AsyncIterator[OtherSide]:
    yield SimulatorSide(pool, dedupe=dedupe)


#: Each is named for its driver, with its variant after a colon.
SIDES: dict[str, Callable[[Pool], AbstractAsyncContextManager[OtherSide]]] = {
    "simulator": partial(_simulator, dedupe="on"),
    "simulator:dedupe-off": partial(_simulator, dedupe="off"),
}
#: Those that are told the lease epoch and refuse an older one.
FENCING = ["simulator", "simulator:dedupe-off"]
