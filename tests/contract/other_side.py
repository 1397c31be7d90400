"""What the driver suite knows of a provider: a new driver joins with one more entry in SIDES."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from aiohttp import web

from drivers.driver import Driver, Host, Send
from drivers.registry import DRIVERS, RECEIVERS
from drivers.wwebjs.names import Names
from service.store.pool import Pool
from tests.contract.witness import Sink, message
from tests.servers.cloud_api import Behaviour, CloudApi, Fault, Number
from tests.servers.fake_bridge import FakeBridge, Way, fake_bridge


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


class MetaSide:
    """A local Cloud API, which calls back at a door that reads as the service's own does."""

    phones = Phones(
        accepted="+60123456789",
        refused="+60123456701",
        throttled="+60123456705",
        erring="+60123456706",
        silent="+60123456702",
        slow="+60123456707",
        failing_later="+60123456709",
        replying="+60123456708",
    )
    device_id = 7
    other_device_id = 8
    _secret = b"the installation's secret"

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._numbers = {
            device_id: Number(f"10{device_id}", "1022", f"token {device_id}", "app secret")
            for device_id in (self.device_id, self.other_device_id)
        }
        self._api = CloudApi(*self._numbers.values())
        self._api.behaviours = {
            self.phones.refused: Behaviour(error=(400, 131026)),
            self.phones.throttled: Behaviour(error=(429, 130429), errors=2),
            self.phones.erring: Behaviour(error=(500, 131000), errors=2),
            self.phones.silent: Behaviour(fault=Fault.RESET_AFTER_ACCEPT, statuses=()),
            self.phones.slow: Behaviour(latency_seconds=10.0),
            self.phones.failing_later: Behaviour(statuses=("sent", "failed")),
            self.phones.replying: Behaviour(reply="STOP"),
        }
        self._sinks: list[Sink] = []
        self._unreachable = False

    async def open(self) -> None:
        """Listen, and be called back."""
        await self._api.start()
        app = web.Application()
        app.add_routes([web.post("/webhooks/meta", self._called_back)])
        self._door = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._door.setup()
        await web.TCPSite(self._door, "127.0.0.1", 0).start()
        port = self._door.addresses[0][1]
        self._api.webhook_url = f"http://127.0.0.1:{port}/webhooks/meta"

    async def close(self) -> None:
        await self._api.close()
        await self._door.cleanup()

    async def start_driver(self, sink: Sink) -> Driver:
        self._sinks.append(sink)
        driver = DRIVERS["meta"]()
        settings = {"base_url": self._api.url, "api_version": "v24.0"}
        await driver.start(Host(sink, self._pool, settings, self._settings, self._secret))
        return driver

    async def received(self) -> list[Received]:
        return [
            Received(*_marked(call.message.biz_opaque_callback_data), call.taken)
            for call in self._api.journal
        ]

    @asynccontextmanager
    async def out_of_reach(self) -> AsyncIterator[None]:
        await self._api.vanish()
        yield
        await self._api.reappear()

    async def _settings(self, device_id: int) -> Mapping[str, str]:
        # Where the driver is told of no app, it leaves the windows of 24 hours to Meta.
        return self._known()[device_id] | {"app_secret": ""}

    def _known(self) -> dict[int, dict[str, str]]:
        return {
            device_id: {
                "phone_number_id": number.phone_number_id,
                "business_account_id": number.business_account_id,
                "access_token": number.access_token,
                "app_secret": number.app_secret,
            }
            for device_id, number in self._numbers.items()
        }

    async def _called_back(self, request: web.Request) -> web.Response:
        receiver = RECEIVERS["meta"](self._secret)
        called = receiver.receive(await request.read(), request.headers, self._known())
        try:
            await self._sinks[-1](called)
        except RuntimeError:
            return web.Response(status=503)
        return web.Response()


def _marked(mark: str | None) -> tuple[int, int]:
    message_id, attempt, _ = (mark or "").split(".")
    return int(message_id), int(attempt)


@asynccontextmanager
async def _meta(pool: Pool) -> AsyncIterator[OtherSide]:
    side = MetaSide(pool)
    await side.open()
    yield side
    await side.close()


class WwebjsSide:
    """A bridge of our own on a real socket, with two linked devices."""

    phones = Phones(
        accepted="+60123456789",
        refused="+60123456701",
        throttled="+60123456705",
        erring="+60123456706",
        silent="+60123456702",
        slow="+60123456707",
        failing_later="+60123456709",
        replying="+60123456708",
    )
    device_id = 7
    other_device_id = 8
    _secret = b"the installation's secret"

    def __init__(self, pool: Pool, bridge: FakeBridge) -> None:
        self._pool = pool
        self._bridge = bridge
        names = Names(self._secret)
        self._names = names
        for device_id in (self.device_id, self.other_device_id):
            bridge.link(names.device(device_id), f"+60115551000{device_id}")
        bridge.ways = {
            self.phones.refused: Way(answers=[(422, "not_on_whatsapp")] * 9),
            self.phones.throttled: Way(answers=[(429, "busy")] * 2),
            self.phones.erring: Way(answers=[(500, "internal")] * 2),
            self.phones.silent: Way(silent=True, acks=()),
            self.phones.slow: Way(after_seconds=10.0),
            self.phones.failing_later: Way(acks=(1, -1)),
            self.phones.replying: Way(reply="STOP"),
        }

    async def start_driver(self, sink: Sink) -> Driver:
        driver = DRIVERS["wwebjs"]()
        settings = {"bridge": str(self._bridge.socket)}
        await driver.start(Host(sink, self._pool, settings, secret=self._secret))
        return driver

    async def received(self) -> list[Received]:
        # Which try it is, is no business of the bridge's: they are numbered as they came.
        tries: Counter[int] = Counter()
        found = []
        for call in self._bridge.journal:
            message_id = int(call.id.partition(".")[2])
            tries[message_id] += 1
            found.append(Received(message_id, tries[message_id], call.accepted))
        return found

    @asynccontextmanager
    async def out_of_reach(self) -> AsyncIterator[None]:
        await self._bridge.vanish()
        yield
        await self._bridge.reappear()


@asynccontextmanager
async def _wwebjs(pool: Pool) -> AsyncIterator[OtherSide]:
    async with fake_bridge() as bridge:
        yield WwebjsSide(pool, bridge)


#: Each is named for its driver, with its variant after a colon.
SIDES: dict[str, Callable[[Pool], AbstractAsyncContextManager[OtherSide]]] = {
    "meta": _meta,
    "simulator": partial(_simulator, dedupe="on"),
    "simulator:dedupe-off": partial(_simulator, dedupe="off"),
    "wwebjs": _wwebjs,
}
#: Those that are told the lease epoch and refuse an older one.
FENCING = ["simulator", "simulator:dedupe-off", "wwebjs"]
