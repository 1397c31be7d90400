"""`hantar run --driver wwebjs`: the bridge beside the embedded default, and a phone to link."""

from __future__ import annotations

import asyncio
import shutil
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

import click
import structlog

from drivers.linking import LinkHost, OutOfReach
from drivers.registry import KINDS, LINKINGS
from service.cli.demo import Demo, demo_account
from service.cli.device_qr import draw_until_linked
from service.settings import Settings
from service.store import accounts, devices
from service.store.pool import Pool, open_pool

log = structlog.get_logger(__name__)

DRIVER = "wwebjs"
DEVICE = "Linked phone"
#: Browsers close sooner; a bridge that is killed takes them along.
STOP_SECONDS = 4.0
RETRY_SECONDS = 1.0


def bridge_program() -> Path:
    """What Node is to run; raises ClickException where something is missing."""
    program = Path(str(files("drivers.wwebjs").joinpath("bridge", "main.js")))
    if shutil.which("node") is None:
        raise click.ClickException("Node 20 or newer is needed: apt-get install -y nodejs npm")
    if not (program.parent / "node_modules").is_dir():
        raise click.ClickException("the bridge is not installed: run `make bridge`")
    return program


async def keep_phone(settings: Settings, dsn: str, demo: Demo, program: Path) -> None:
    """Run the bridge and draw codes until a phone is linked; ends when cancelled, or with the
    bridge."""
    folder = Path(settings.wwebjs_bridge).parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "log").open("ab") as written:
        # By `env`, so that whatever else is set for the bridge is passed on.
        bridge = await asyncio.create_subprocess_exec(
            "env", f"HANTAR_BRIDGE_FOLDER={folder}", "node", str(program), stderr=written
        )
    try:
        await _link(settings, dsn, demo)
        code = await bridge.wait()
        log.error("bridge_ended", code=code, log=str(folder / "log"))
    finally:
        await _stop(bridge)


async def _stop(bridge: asyncio.subprocess.Process) -> None:
    if bridge.returncode is None:
        bridge.terminate()
        try:
            await asyncio.wait_for(bridge.wait(), STOP_SECONDS)
        except TimeoutError:
            bridge.kill()
            await bridge.wait()


async def _link(settings: Settings, dsn: str, demo: Demo) -> None:
    pool = await open_pool(dsn, name="linked phone", size=1)
    try:
        device_id = await _device(pool, settings.shards)
        installation = await accounts.installation(pool)
        assert installation is not None, "the embedded default has set it up"
        given = settings.driver_settings(DRIVER)
        host = LinkHost(pool, lambda: demo.url, installation.secret, _linked_here, given)
        linking = LINKINGS[DRIVER](host)
        try:
            while True:
                try:
                    await draw_until_linked(linking, device_id)
                    break
                except OutOfReach:
                    await asyncio.sleep(RETRY_SECONDS)  # its browser starts
        finally:
            await linking.close()
    finally:
        await pool.close()
    click.echo(
        f"Send through it:\n  curl -X POST {demo.url}/api/v1/messages/send "
        f"-H 'Authorization: Bearer {demo.key}' -H 'Content-Type: application/json' \\\n"
        f'    -d \'{{"phone":"0123456789","body":"Hello from Hantar!","device":{device_id}}}\'\n'
    )


async def _device(pool: Pool, shards: int) -> int:
    """The device of the demo account, made the first time."""
    async with pool.acquire() as connection, connection.transaction():
        account_id = await demo_account(connection, shards)
        for row in await devices.page(connection, account_id):
            if row["driver"] == DRIVER:
                return int(row["id"])
        kind = KINDS[DRIVER]
        device = devices.Device(name=DEVICE, limits=kind.limits)
        made = await devices.create(
            connection, account_id, device, driver=DRIVER, state=kind.begins, shards=shards
        )
        return int(made["id"])


async def _linked_here(_device_id: int, _phone: str) -> NoReturn:
    raise AssertionError("codes are only shown here")
