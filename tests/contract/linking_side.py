"""What the linking suite knows of a provider: a new linking joins with one more entry in SIDES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from drivers.driver import Called, Driver, Host, Link
from drivers.linking import LinkHost, Linking
from drivers.registry import DRIVERS
from drivers.simulator.linking import PATH, SimulatorLinking
from drivers.wwebjs.linking import WwebjsLinking
from drivers.wwebjs.names import Names
from service.store.pool import Pool
from tests.servers.fake_bridge import FakeBridge, fake_bridge

ORIGIN = "https://hantar.example.com"


class Linked:
    """Takes note of what was linked, as the engine does."""

    def __init__(self) -> None:
        self.phones: list[tuple[int, str]] = []

    async def __call__(self, device_id: int, phone: str) -> None:
        self.phones.append((device_id, phone))


class LinkingSide(Protocol):
    """A provider and the phones that scan its codes."""

    #: has its phone
    linked_id: int

    def make(self, linked: Linked) -> Linking:
        """One more linking for this provider, as another process has it."""
        ...

    async def scan(self, text: str, linking: Linking) -> bool:
        """Hold a phone to the code; whether that linked a device."""
        ...

    async def type(self, text: str, phone: str, /) -> bool:
        """Type the code on a phone; whether that linked a device."""
        ...

    def out_of_reach(self) -> AbstractAsyncContextManager[None]:
        """Meanwhile no linking can reach the provider."""
        ...


class SimulatorSide:
    """The simulator's phone opens the code and confirms it."""

    linked_id = 7

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def make(self, linked: Linked) -> Linking:
        return SimulatorLinking(LinkHost(self._pool, lambda: ORIGIN, b"secret", linked))

    async def scan(self, text: str, linking: Linking) -> bool:
        assert isinstance(linking, SimulatorLinking)
        assert text.startswith(ORIGIN + PATH)
        return await linking.use(text.removeprefix(ORIGIN + PATH))

    async def type(self, _text: str, _phone: str, /) -> bool:
        raise AssertionError("nothing is typed on a web page")

    @asynccontextmanager
    async def out_of_reach(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            for _ in range(self._pool.get_max_size()):
                await held.enter_async_context(self._pool.acquire(timeout=5.0))
            yield


class WwebjsSide:
    """The bridge shows a code, a phone scans it, and the driver hears of it."""

    linked_id = 7
    _secret = b"secret"

    def __init__(self, pool: Pool, bridge: FakeBridge) -> None:
        self._pool = pool
        self._bridge = bridge
        self._settings = {"bridge": str(bridge.socket)}
        self._made: Linked | None = None
        self._driver: Driver | None = None
        self._news = asyncio.Condition()
        bridge.link(Names(self._secret).device(self.linked_id), "+601155510007")

    def make(self, linked: Linked) -> Linking:
        self._made = linked
        host = LinkHost(self._pool, lambda: ORIGIN, self._secret, linked, self._settings)
        return WwebjsLinking(host)

    async def scan(self, text: str, linking: Linking) -> bool:
        assert isinstance(linking, WwebjsLinking)
        return await self._links(self._bridge.scan(text, "+601155510009"))

    async def type(self, text: str, phone: str, /) -> bool:
        return await self._links(self._bridge.type(text, phone))

    async def _links(self, doing: Awaitable[bool]) -> bool:
        """Whether it does, once the driver has heard of it."""
        assert self._made is not None
        if self._driver is None:
            self._driver = DRIVERS["wwebjs"]()
            host = Host(self._hear, self._pool, self._settings, secret=self._secret)
            await self._driver.start(host)
        before = len(self._made.phones)
        if not await doing:
            return False
        async with asyncio.timeout(10), self._news:
            made = self._made
            await self._news.wait_for(lambda: len(made.phones) > before)
        return True

    async def close(self) -> None:
        """The driver stops."""
        if self._driver is not None:
            await self._driver.close()

    async def _hear(self, called: Sequence[Called]) -> None:
        assert self._made is not None
        for item in called:
            if not isinstance(item, Link) or item.state != "ready" or item.phone is None:
                continue
            # How it stood when the driver started may be told before what is waited for.
            if (item.device_id, item.phone) not in self._made.phones:
                async with self._news:
                    await self._made(item.device_id, item.phone)
                    self._news.notify_all()

    @asynccontextmanager
    async def out_of_reach(self) -> AsyncIterator[None]:
        await self._bridge.vanish()
        yield
        await self._bridge.reappear()


@asynccontextmanager
async def _simulator(pool: Pool) -> AsyncIterator[LinkingSide]:
    yield SimulatorSide(pool)


@asynccontextmanager
async def _wwebjs(pool: Pool) -> AsyncIterator[LinkingSide]:
    async with fake_bridge() as bridge:
        side = WwebjsSide(pool, bridge)
        yield side
        await side.close()


SIDES: dict[str, Callable[[Pool], AbstractAsyncContextManager[LinkingSide]]] = {
    "simulator": _simulator,
    "wwebjs": _wwebjs,
}
