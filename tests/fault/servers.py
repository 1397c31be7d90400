"""The servers of a run: PostgreSQL and RabbitMQ, started once, and faults of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from service.cli.run import prepare_database
from service.embedded import EmbeddedPostgres
from tests.fault.proxy import Proxy
from tests.servers.rabbitmq import RabbitNode
from tests.servers.rabbitmq_cluster import RabbitCluster

SHARDS = 2
TEMPLATE = "hantar_template"
READY_SECONDS = 60.0


class Servers:
    """A durable PostgreSQL with a migrated template, and a RabbitMQ node."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="hantar-fault-"))
        self._folder.chmod(0o711)
        self.postgres = EmbeddedPostgres(
            self._folder / "postgres",
            durable=True,
            settings={"max_connections": "300", "log_error_verbosity": "default"},
        )
        self.rabbit = RabbitNode()

    async def start(self) -> None:
        self.rabbit.launch()
        await self.postgres.start()
        await self.execute(f"CREATE DATABASE {TEMPLATE}")
        await prepare_database(self.dsn(TEMPLATE), SHARDS)
        await asyncio.to_thread(self.rabbit.await_ready)

    async def close(self) -> None:
        self.rabbit.close()
        await self.postgres.stop()
        for left in {self._folder, self.postgres.home}:
            shutil.rmtree(left, ignore_errors=True)

    def dsn(self, database: str, *, port: int | None = None) -> str:
        """The address of a database, directly or through a proxy."""
        server = self.postgres.dsn.rpartition("/")[0]
        if port is not None:
            server = f"{server.rpartition(':')[0]}:{port}"
        return f"{server}/{database}"

    def postgres_port(self) -> int:
        return urlsplit(self.postgres.dsn).port or 0

    def amqp_url(self, vhost: str, *, port: int | None = None) -> str:
        url = self.rabbit.amqp_url(vhost)
        return url if port is None else url.replace(f":{self.rabbit_port()}/", f":{port}/")

    def rabbit_port(self) -> int:
        return urlsplit(self.rabbit.amqp_url()).port or 0

    async def execute(self, statement: str, database: str = "postgres") -> None:
        """As the owner of the server, in whatever state it is."""
        connection = await asyncpg.connect(self.dsn(database), timeout=10, command_timeout=30)
        try:
            await connection.execute(statement)
        finally:
            await connection.close(timeout=5)

    def crashes(self) -> list[str]:
        """What the server says of sessions that died by themselves, since its last start."""
        log = (self.postgres.home / "log").read_text(errors="replace").splitlines()
        told = ("terminated by signal", "PANIC", "Failed process was running")
        return [line for line in log if any(word in line for word in told)]

    async def crash_postgres(self, away_seconds: float = 0.5) -> None:
        """Immediate shutdown: no session ends in order; it recovers from its log."""
        os.kill(self.postgres.pid, signal.SIGQUIT)
        await asyncio.sleep(away_seconds)
        await self.postgres.stop()
        await self.postgres.start()

    async def stall_postgres(self, seconds: float) -> None:
        """The whole server stands still, as on a machine that swaps."""
        pids = [self.postgres.pid, *_children(self.postgres.pid)]
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            for pid in pids:
                _signal(pid, signal.SIGCONT)

    async def crash_rabbit(self, away_seconds: float = 0.5) -> None:
        self.rabbit.kill()
        await asyncio.sleep(away_seconds)
        await self.start_rabbit()

    async def restart_rabbit(self) -> None:
        await asyncio.to_thread(self.rabbit.stop)
        await self.start_rabbit()

    async def start_rabbit(self) -> None:
        self.rabbit.launch()
        await asyncio.to_thread(self.rabbit.await_ready)

    async def stall_rabbit(self, seconds: float) -> None:
        [pid, *_] = self.rabbit.pids
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)


class ClusterServers(Servers):
    """The same PostgreSQL with three RabbitMQ nodes, and a proxy that leads to those that serve."""

    def __init__(self, base: Servers) -> None:
        self.postgres = base.postgres
        self.cluster = RabbitCluster()
        self.rabbit = self.cluster.nodes[0]
        self._balancer = Proxy(self.cluster.port)

    async def start(self) -> None:
        await self.cluster.start()
        await self._balancer.start()

    async def close(self) -> None:
        await self._balancer.close()
        self.cluster.close()

    def amqp_url(self, vhost: str, *, port: int | None = None) -> str:
        url = self.rabbit.amqp_url(vhost)
        return url.replace(f":{self.rabbit.amqp_port}/", f":{port or self._balancer.port}/")


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
