"""What the linking suite knows of a provider: a new linking joins with one more entry in SIDES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from drivers.linking import LinkHost, Linking
from drivers.simulator.linking import PATH, SimulatorLinking
from service.store.pool import Pool

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

    @asynccontextmanager
    async def out_of_reach(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            for _ in range(self._pool.get_max_size()):
                await held.enter_async_context(self._pool.acquire(timeout=5.0))
            yield


SIDES: dict[str, Callable[[Pool], LinkingSide]] = {"simulator": SimulatorSide}
