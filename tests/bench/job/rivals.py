"""Other task queues on the job, in turns with Hantar: `make bench ARGS=--rivals`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from service.embedded.bound import bound
from tests.acceptance.processes import ROOT
from tests.bench.job.accounting import Meter
from tests.bench.job.installation import LOOK_SECONDS, Installation
from tests.bench.job.rounds import Round

LOCK = Path("tests/bench/rivals/requirements.lock")
INSTALL_SECONDS, ROUND_SECONDS, END_SECONDS = 300.0, 240.0, 15.0
#: Tasks that show that a worker is up, and warm it.
WARM = 300
#: How long the servers are looked at while nothing is to be done.
REST_SECONDS = 5.0
_TABLE = """
CREATE TABLE outgoing (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, phone text NOT NULL, body text NOT NULL,
    status text NOT NULL DEFAULT 'queued', provider_id text, sent_at timestamptz
) WITH (fillfactor = 70)
"""
_LEFT = "SELECT count(*) FROM outgoing WHERE status <> 'sent' AND id > $1"


@dataclass(frozen=True)
class Rival:
    """One of them: the module in tests/bench/rivals and the command of its worker."""

    name: str
    module: str
    worker: tuple[str, ...]
    calls: bool = True


_FASTSTREAM = ("faststream", "run", "tests.bench.rivals.on_faststream:app", "--log-level", "error")
RIVALS = (
    Rival("FastStream", "on_faststream", _FASTSTREAM),
    Rival("FastStream, no call", "on_faststream", _FASTSTREAM, calls=False),
    Rival("taskiq", "on_taskiq", ("taskiq", "worker", "tests.bench.rivals.on_taskiq:broker",
                                  "--ack-type", "when_executed", "--log-level", "ERROR")),
    Rival("Dramatiq", "on_dramatiq", ("dramatiq", "tests.bench.rivals.on_dramatiq:broker")),
    Rival("Celery", "on_celery", ("celery", "-A", "tests.bench.rivals.on_celery", "worker",
                                  "--without-gossip", "--without-mingle", "--without-heartbeat",
                                  "--loglevel", "ERROR")),
)  # fmt: skip


class Rivals:
    """Their environment and their database, beside an installation of Hantar."""

    def __init__(self, made: Installation, environment: Path, dsn: str) -> None:
        self._made = made
        self._bin = environment / "bin"
        self._dsn = dsn
        #: CPU seconds a second of the servers at rest, with Hantar beside them
        self.rest: dict[str, float] = {}

    async def look_at_rest(self) -> None:
        """What the servers take anyway is not to be counted as a rival's."""
        meter = Meter(self._servers())
        await asyncio.sleep(REST_SECONDS)  # what is measured is time
        self.rest = {name: each / REST_SECONDS for name, each in meter.seconds().items()}

    async def job(self, rival: Rival, messages: int) -> Round:
        """The job by one of them, whose processes live for that long."""
        connection = await asyncpg.connect(self._dsn, timeout=10, command_timeout=60)
        await connection.execute("DROP TABLE IF EXISTS outgoing")
        await connection.execute(_TABLE)
        vhost = f"rivals-{time.monotonic_ns()}"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "RIVAL_DATABASE_URL": self._dsn,
            "RIVAL_AMQP_URL": await self._made.rabbit.create_vhost(vhost),
            "RIVAL_PROVIDER_URL": f"{self._made.nginx.url}/v24.0/1/messages" if rival.calls else "",
        }
        enqueue = [str(self._bin / "python"), "-m", f"tests.bench.rivals.{rival.module}"]
        try:
            async with (
                _running(enqueue, environment, subprocess.PIPE) as client,
                _running([str(self._bin / rival.worker[0]), *rival.worker[1:]], environment) as it,
                asyncio.timeout(ROUND_SECONDS),
            ):
                await _order(client, WARM)
                await _sent(connection, 0)
                pids = {"enqueuer": [client.pid], "worker": [it.pid]}
                meter, began = Meter(pids | self._servers()), time.monotonic()
                await _order(client, messages)
                await _sent(connection, WARM)
                seconds = time.monotonic() - began
                cpu = meter.seconds()
        finally:
            await connection.close(timeout=5)
            await self._made.rabbit.delete_vhost(vhost)
        left = {name: each - seconds * self.rest.get(name, 0.0) for name, each in cpu.items()}
        spent = {name: 1000 * each / messages for name, each in left.items()}
        return Round(rival.name, messages, seconds, spent, [])

    def _servers(self) -> dict[str, list[int]]:
        found = self._made.pids()
        return {name: found[name] for name in ("rabbitmq", "postgres", "nginx")}


@contextlib.asynccontextmanager
async def rivals(made: Installation) -> AsyncIterator[Rivals]:
    """All of them, installed; at the end they are gone."""
    await made.pool.execute("CREATE DATABASE rivals")
    dsn = urlunsplit(urlsplit(made.postgres.dsn)._replace(path="/rivals"))
    with tempfile.TemporaryDirectory(prefix="hantar-rivals-") as folder:
        environment = Path(folder)
        pip = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check",
               "--no-input", "install", "--quiet", "--require-hashes", "-r", str(LOCK)]  # fmt: skip
        for command in ([sys.executable, "-m", "venv", folder], pip):
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
            async with asyncio.timeout(INSTALL_SECONDS):
                assert await process.wait() == 0, command
        found = Rivals(made, environment, dsn)
        await found.look_at_rest()
        yield found


@contextlib.asynccontextmanager
async def _running(
    command: list[str], environment: dict[str, str], output: int = subprocess.DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *bound(command, on_parent_death=signal.SIGKILL), cwd=ROOT, env=environment,
        stdin=subprocess.PIPE, stdout=output, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.communicate()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _order(client: asyncio.subprocess.Process, messages: int) -> None:
    assert client.stdin
    assert client.stdout
    client.stdin.write(f"{messages}\n".encode())
    await client.stdin.drain()
    answer = await client.stdout.readline()
    assert answer == b"done\n", answer


async def _sent(connection: asyncpg.Connection[asyncpg.Record], after: int) -> None:
    while await connection.fetchval(_LEFT, after):  # noqa: ASYNC110 - rows tell nobody
        await asyncio.sleep(LOOK_SECONDS)
