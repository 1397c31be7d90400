"""The dispatcher role: the drivers, and the worker that gives them what is due."""

from __future__ import annotations

import secrets
import socket

from drivers.driver import Driver, Host
from drivers.registry import DRIVERS
from service.dispatch.dispatcher import Dispatcher
from service.roles.process import Process


async def start_dispatcher(process: Process) -> Dispatcher:
    """Sends what its share of the devices may send."""
    drivers: dict[str, Driver] = {}
    for name, make in DRIVERS.items():
        driver = drivers[name] = make()
        host = Host(
            process.callbacks.call_back,
            process.pool,
            process.settings.driver_settings(name),
            process.device_settings.of,
            process.installation.secret,
        )
        await driver.start(host)
        process.stops.add(f"driver {name}", driver.close)
    dispatcher = Dispatcher(
        process.pool,
        process.dsn,
        process.bus,
        process.recorder,
        drivers,
        worker=f"{socket.gethostname()}-{secrets.token_hex(4)}",
        lease_seconds=process.settings.lease_seconds,
    )
    # Added first: a start that fails half way has something to stop.
    process.stops.add("dispatcher", dispatcher.close)
    await dispatcher.start()
    return dispatcher
