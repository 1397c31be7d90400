"""One case's world: its database, vhost, provider, processes, callers and journals."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg
import orjson

from service.bus.topology import declare
from service.core.keys import key_hash, new_key
from service.store import accounts
from tests.acceptance.processes import ROOT, Process, Processes
from tests.fault.client import Client, Tenant
from tests.fault.journal import Journal, read
from tests.fault.listener import Listener
from tests.fault.proxy import Proxy, proxy_to
from tests.fault.servers import SHARDS, TEMPLATE, Servers
from tests.servers.node_folder import free_ports
from tests.system import eventually

CREDITS = 20_000
#: Calls a second of each device.
RATE = 100.0
LEASE_SECONDS = 1.0
DOUBT_SECONDS = 4.0
DECLARE_SECONDS = 60.0
FIRED_SECONDS = 30.0
WATCH_SECONDS = 0.05
SETTINGS = {
    "HANTAR_SHARDS": str(SHARDS),
    "HANTAR_LEASE_SECONDS": str(LEASE_SECONDS),
    "HANTAR_DOUBT_SECONDS": str(DOUBT_SECONDS),
    "HANTAR_UNPOINTED_SECONDS": "8",
    "HANTAR_TEST": "on",
}


@dataclass
class Child:
    """A role that is kept running: killed, it is started again, without its failpoints."""

    roles: str
    settings: dict[str, str]
    process: Process
    postgres: Proxy | None = None
    amqp: Proxy | None = None
    provider: Proxy | None = None
    #: not started again when it ends
    left: bool = False
    starts: int = 1
    codes: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid


class World:
    """Built by `async with`; everything is gone at its end."""

    def __init__(self, servers: Servers, seed: int) -> None:
        self.servers = servers
        self.seeded = random.Random(seed)
        name = uuid.uuid4().hex
        self.database, self.vhost = f"fault_{name}", f"fault-{name}"
        self.folder = Path(tempfile.mkdtemp(prefix="hantar-case-"))
        self.children: list[Child] = []
        self.tenants: list[Tenant] = []
        self.limits: dict[int, list[tuple[float, float]]] = {}
        self.opted_out: dict[tuple[int, str], float] = {}
        #: what struck, and when (monotonic)
        self.faults: list[tuple[str, float]] = []
        self._fired_path = self.folder / "fired"
        self._ports = iter(free_ports(8))
        self._ingress_ports: list[int] = []
        self._stack = AsyncExitStack()
        self._closing = False

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        await self._stack.aclose()

    async def _open(self) -> None:
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        await self.servers.execute(f"CREATE DATABASE {self.database} TEMPLATE {TEMPLATE}")
        self._stack.push_async_callback(self._drop)
        url = await self.servers.rabbit.create_vhost(self.vhost)
        self._stack.push_async_callback(self.servers.rabbit.delete_vhost, self.vhost)
        await declare(url, SHARDS, timeout_seconds=DECLARE_SECONDS)
        self.declared_at = time.monotonic()
        self.listener = Listener(Journal(self.folder / "events"))
        await self.listener.start(url)
        self._stack.push_async_callback(self.listener.close)
        self.client = Client(Journal(self.folder / "client"), self._api, self.seeded)
        self._stack.push_async_callback(self.client.close)
        self.provider = Other(self.folder / "calls")
        await asyncio.to_thread(self.provider.start)
        self._stack.push_async_callback(self.provider.close)
        self.processes = Processes(self.folder, self.folder, module="tests.fault.program")
        self.processes.environment |= SETTINGS
        self._stack.callback(self._end_processes)
        watching = asyncio.create_task(self._watch(), name="watch")
        self._stack.push_async_callback(_cancelled, watching)
        for devices in (2, 1):
            self.tenants.append(await self.tenant(devices))

    def _end_processes(self) -> None:
        for child in self.children:
            if child.process.code is None:
                child.process.kill()

    async def _drop(self) -> None:
        await self.servers.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")

    async def tenant(self, devices: int, *, credits: int = CREDITS, rate: float = RATE) -> Tenant:
        """A verified account with a key, credits, and devices that are ready."""
        key = new_key()
        connection = await self.connect()
        try:
            async with connection.transaction():
                email = f"{uuid.uuid4().hex}@example.com"
                made = await accounts.create_account(
                    connection, name="A", email=email, verified=True
                )
                assert made is not None
                account = made["id"]
                await accounts.create_key(
                    connection, account, name="k", key_hash=key_hash(key), expires_at=None
                )
                await accounts.grant(connection, account, credits, "fault suite")
                chosen: dict[int, float] = {}
                for place in range(devices):
                    id_ = await connection.fetchval(
                        "INSERT INTO devices (account_id, name, driver, state, shard, per_second)"
                        " VALUES ($1, 'd', 'wire', 'ready', $2, $3) RETURNING id",
                        account,
                        place % SHARDS,
                        rate,
                    )
                    chosen[id_] = rate
                    self.limits[id_] = [(0.0, rate)]
        finally:
            await connection.close()
        return Tenant(account, key, chosen)

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection of the test's own, straight to the server."""
        dsn = self.servers.dsn(self.database)
        return await asyncpg.connect(dsn, timeout=10, command_timeout=20)

    async def query(self, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        connection = await self.connect()
        try:
            return [dict(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close(timeout=5)

    def no_second_look(self) -> None:
        """Nothing finds what is forgotten: neither the look at rows that nothing points to."""
        self.processes.environment["HANTAR_UNPOINTED_SECONDS"] = "3600"

    # --- processes ---

    async def start(
        self,
        *roles: str,
        fail: str = "",
        proxied: bool = False,
        settings: dict[str, str] | None = None,
        ready: bool = True,
    ) -> list[Child]:
        """A process for each of these, all ready; `fail` arms the failpoints of all of them.

        `proxied` puts a proxy of its own between each and either server and the provider.
        """
        started = [
            await self._start(role, fail=fail, proxied=proxied, settings=settings or {})
            for role in roles
        ]
        if ready:
            await asyncio.gather(*(child.process.ready() for child in started))
        return started

    async def _start(
        self, roles: str, *, fail: str, proxied: bool, settings: dict[str, str]
    ) -> Child:
        own = dict(settings)
        postgres = amqp = provider = None
        if proxied:
            enter = self._stack.enter_async_context
            postgres = await enter(proxy_to(self.servers.postgres_port))
            amqp = await enter(proxy_to(self.servers.rabbit_port))
            provider = await enter(proxy_to(lambda: self.provider.port))
        own["HANTAR_DATABASE_URL"] = self.servers.dsn(
            self.database, port=postgres.port if postgres else None
        )
        own["HANTAR_AMQP_URL"] = self.servers.amqp_url(self.vhost, port=amqp.port if amqp else None)
        own["FAULT_PROVIDER_PORT"] = str(provider.port if provider else self.provider.port)
        if "ingress" in roles:
            self._ingress_ports.append(next(self._ports))
            own["HANTAR_LISTEN"] = f"127.0.0.1:{self._ingress_ports[-1]}"
        armed = own | {"HANTAR_FAILPOINTS": fail, "HANTAR_FAILPOINT_JOURNAL": str(self._fired_path)}
        process = self.processes.start("run", "--roles", roles, environment=armed if fail else own)
        child = Child(roles, own, process, postgres, amqp, provider)
        self.children.append(child)
        return child

    def start_again(self, child: Child, *, fail: str = "") -> None:
        """The same process anew."""
        armed = {"HANTAR_FAILPOINTS": fail, "HANTAR_FAILPOINT_JOURNAL": str(self._fired_path)}
        environment = child.settings | (armed if fail else {})
        child.process = self.processes.start("run", "--roles", child.roles, environment=environment)
        child.starts += 1

    async def _watch(self) -> None:
        """As a supervisor does."""
        while not self._closing:
            for child in self.children:
                code = child.process.code
                if code is not None and not child.left:
                    child.codes.append(code)
                    self.start_again(child)
            await asyncio.sleep(WATCH_SECONDS)

    def kill(self, child: Child) -> None:
        """SIGKILL; it is started again."""
        self.struck(f"kill {child.roles}")
        child.process.kill()

    def _api(self) -> str:
        return f"http://127.0.0.1:{self.seeded.choice(self._ingress_ports)}"

    # --- faults ---

    def struck(self, what: str) -> None:
        """Note a fault that strikes now."""
        self.faults.append((what, time.monotonic()))

    def fired(self) -> list[dict[str, Any]]:
        """The failpoints that were hit."""
        return read(self._fired_path)

    async def until_fired(self, count: int = 1) -> None:
        """Return once so many failpoints were hit."""

        async def look() -> bool:
            return len(self.fired()) >= count

        await eventually(look, within_seconds=FIRED_SECONDS)

    async def until_called(self, count: int) -> None:
        """Return once the provider has taken so many calls."""

        async def look() -> bool:
            return len(self.calls()) >= count

        await eventually(look, within_seconds=FIRED_SECONDS)

    def calls(self) -> list[dict[str, Any]]:
        """The provider's journal."""
        return read(self.folder / "calls")

    def events(self) -> list[dict[str, Any]]:
        """The listener's journal."""
        return read(self.folder / "events")

    def requests(self) -> list[dict[str, Any]]:
        """The client's journal."""
        return read(self.folder / "client")

    def logs(self) -> str:
        """Everything that the processes logged."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.folder.glob("*-run.*"))
        )


class Other:
    """The provider's process, and the test's hand on it."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._popen: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Done when it listens."""
        command = [sys.executable, "-m", "tests.fault.provider", str(self._journal)]
        self._popen = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._popen.stdout is not None
        self.port = int(self._popen.stdout.readline())

    async def tell(self, **order: Any) -> dict[str, Any]:
        """Change how it behaves; see `provider.py`. Answers how many callbacks it owes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(orjson.dumps({"control": order}) + b"\n")
            answer: dict[str, Any] = orjson.loads(await reader.readline())
            return answer
        finally:
            writer.close()

    async def close(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            await asyncio.to_thread(self._popen.wait)
            for pipe in (self._popen.stdin, self._popen.stdout):
                if pipe is not None:
                    pipe.close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def quiet(look: Callable[[], Awaitable[bool]], seconds: float, within: float) -> bool:
    """Whether it became true and stayed so for `seconds`, within a time."""
    deadline = time.monotonic() + within
    since: float | None = None
    while time.monotonic() < deadline:
        if not await look():
            since = None
        elif since is None:
            since = time.monotonic()
        elif time.monotonic() - since >= seconds:
            return True
        await asyncio.sleep(0.1)
    return False
