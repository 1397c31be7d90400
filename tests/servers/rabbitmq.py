"""A private RabbitMQ node for tests: own ports, own folder, own epmd, gone with the test run."""

from __future__ import annotations

import asyncio
import base64
import http.client
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import yarl

from service.embedded.bound import bound
from tests.servers.node_folder import HOST, Cluster, NodeFolder
from tests.servers.rabbitmq_program import find_rabbitmq

USER: Final = "guest"
AUTHORIZATION = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{USER}".encode()).decode()}
START_LIMIT_SECONDS = 90
END_LIMIT_SECONDS = 10
REQUEST_LIMIT_SECONDS = 10
CONTROL_LIMIT_SECONDS = 30
POLL_SECONDS = 0.05


class RabbitNode:
    """One RabbitMQ server; start, stop and kill may alternate, its data stays until close.

    Start it on a thread that lives as long as the node is needed: Linux ends it with that thread.
    """

    def __init__(self, place: int = 0, cluster: Cluster | None = None) -> None:
        self._folder = NodeFolder(find_rabbitmq(), place, cluster)
        self._has_epmd = place == 0
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that run for this node."""
        return [process.pid for process in (self._server, self._epmd) if process]

    @property
    def folder(self) -> Path:
        """Where everything of the node is, until close."""
        return self._folder.path

    @property
    def name(self) -> str:
        """What Erlang knows it by."""
        return self._folder.name

    @property
    def amqp_port(self) -> int:
        """Where it takes clients."""
        return self._folder.amqp_port

    @property
    def metrics(self) -> str:
        """The host and port of its metrics for Prometheus."""
        return f"{HOST}:{self._folder.metrics_port}"

    def amqp_url(self, vhost: str = "/") -> str:
        """The AMQP address of a vhost on this node."""
        port = self._folder.amqp_port
        return f"amqp://{USER}:{USER}@{HOST}:{port}/{quote(vhost, safe='')}"

    def start(self) -> None:
        """Starts the node and waits until it serves."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Starts the node without waiting for it."""
        if self._has_epmd and not self._epmd:
            # Ours, in the foreground: the one Erlang would start stays behind for ever.
            port = str(self._folder.epmd_port)
            self._epmd = self._spawn([self._folder.epmd, "-port", port, "-address", HOST])
        self._server = self._spawn([self._folder.server])

    @property
    def open(self) -> bool:
        """Whether clients can connect."""
        return self._accepts_amqp()

    def await_ready(self) -> None:
        """Waits until the AMQP port is open and the node reports no alarm."""
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not (self._accepts_amqp() and self._is_healthy()):
            ended = self._server is None or self._server.poll() is not None
            if ended or time.monotonic() > deadline:
                output = self._folder.output.read_text(errors="replace")
                raise RuntimeError(f"RabbitMQ did not start: {output[-2000:]}")
            time.sleep(POLL_SECONDS)

    def stop(self, grace_seconds: float = 20.0) -> None:
        """Ends the node in order, by force after the grace."""
        if self._server:
            self._server.terminate()
            try:
                self._server.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                _kill(self._server)
            self._server = None

    def kill(self) -> None:
        """Ends the node at once, as a crash would."""
        if self._server:
            _kill(self._server)
            self._server = None

    def close(self) -> None:
        """Ends everything and removes every file of the node."""
        self.kill()
        if self._epmd:
            _kill(self._epmd)
            self._epmd = None
        shutil.rmtree(self.folder, ignore_errors=True)

    async def create_vhost(self, name: str, *, tracing: bool = False) -> str:
        """Makes an empty vhost and returns its AMQP address; traced, it copies all that it gets to
        the exchange amq.rabbitmq.trace."""
        vhost = quote(name, safe="")
        await self.manage("PUT", f"/vhosts/{vhost}", {"tracing": tracing})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        await self.manage("PUT", f"/permissions/{vhost}/{USER}", everything)
        return self.amqp_url(name)

    async def delete_vhost(self, name: str) -> None:
        """Removes a vhost with all its queues and connections."""
        await self.manage("DELETE", f"/vhosts/{quote(name, safe='')}")

    async def manage(self, method: str, path: str, body: object = None) -> Any:
        """Calls the management API below /api; the decoded answer, None when it is empty."""
        url = f"http://{HOST}:{self._folder.management_port}/api{path}"
        limit = aiohttp.ClientTimeout(total=REQUEST_LIMIT_SECONDS)
        async with (
            aiohttp.ClientSession(
                headers=AUTHORIZATION, timeout=limit, raise_for_status=True
            ) as session,
            session.request(method, yarl.URL(url, encoded=True), json=body) as answer,
        ):
            return await answer.json() if await answer.read() else None

    async def control(self, *arguments: str) -> None:
        """Runs rabbitmqctl, for what the management API cannot do; it takes over a second."""
        output = await asyncio.to_thread(
            subprocess.run,
            [str(Path(self._folder.server).with_name("rabbitmqctl")), "-n", self.name, *arguments],
            cwd=self.folder,
            env=self._folder.environment,
            capture_output=True,
            text=True,
            timeout=CONTROL_LIMIT_SECONDS,
        )
        if output.returncode != 0:
            raise RuntimeError(f"rabbitmqctl failed: {output.stderr or output.stdout}")

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._folder.output.open("ab") as output:
            return subprocess.Popen(
                bound(command, on_parent_death=signal.SIGKILL),
                cwd=self.folder,
                env=self._folder.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _accepts_amqp(self) -> bool:
        try:
            socket.create_connection((HOST, self._folder.amqp_port), 1).close()
        except OSError:
            return False
        return True

    def _is_healthy(self) -> bool:
        port = self._folder.management_port
        connection = http.client.HTTPConnection(HOST, port, timeout=REQUEST_LIMIT_SECONDS)
        try:
            connection.request("GET", "/api/health/checks/local-alarms", headers=AUTHORIZATION)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(END_LIMIT_SECONDS)
