"""Where the process listens for HTTP."""

from __future__ import annotations

import errno

import structlog
from aiohttp import web

from service.roles.process import Process
from service.settings import split_address

log = structlog.get_logger(__name__)

#: A client that stops in the middle of a request is not waited for longer.
REQUESTS_GRACE_SECONDS = 2.0
#: Ports tried after a taken one, where moving on is allowed.
PORTS_TRIED = 20
BACKLOG = 1024


class CannotListen(Exception):
    """The address is taken, or not one of this machine's."""


async def listen(process: Process, name: str, app: web.Application, address: str) -> str:
    """Serves `app` there, or with the embedded servers on a free port above; returns the URL.

    Raises CannotListen.
    """
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=REQUESTS_GRACE_SECONDS, keepalive_timeout=30.0
    )
    await runner.setup()
    process.stops.add(f"{name} listener", runner.cleanup)
    host, port = split_address(address)
    tries = PORTS_TRIED if process.settings.embedded else 1
    for candidate in range(port, port + tries):
        try:
            await web.TCPSite(runner, host, candidate, backlog=BACKLOG).start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or tries == 1:
                setting = "HANTAR_LISTEN" if name == "api" else "HANTAR_OPS_LISTEN"
                raise CannotListen(
                    f"cannot listen on {address} ({error.strerror}): set {setting}"
                ) from error
            log.warning("port_taken", listener=name, port=candidate)
        else:
            return f"http://{address.rpartition(':')[0]}:{candidate or _port(runner)}"
    raise CannotListen(f"{address} and the {tries - 1} ports after it are taken")


def _port(runner: web.AppRunner) -> int:
    """The port the system chose, when port 0 was asked for."""
    port: int = runner.addresses[0][1]
    return port
