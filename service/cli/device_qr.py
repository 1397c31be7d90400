"""`hantar device qr`: the code that links a device, drawn in the terminal until it has done so."""

from __future__ import annotations

import asyncio
import sys
from typing import NoReturn

import click
import segno

from drivers.linking import AlreadyLinked, Code, LinkHost, Linking, OutOfReach
from drivers.registry import LINKINGS
from service.cli.database import fails_in_one_line, open_database
from service.cli.demo import known_url
from service.settings import Settings, load
from service.store import accounts, devices
from service.store.pool import Pool

#: Between looks for whether the device is linked, or its code is a new one.
LOOK_SECONDS = 1.0


@click.command("qr")
@click.argument("device_id", type=click.IntRange(1, 2**63 - 1))
def device_qr(device_id: int) -> None:
    """Draw the code that links a device to its phone, anew as it changes, until it is linked."""
    fails_in_one_line(_show(load(), device_id))


async def _show(settings: Settings, device_id: int) -> None:
    pool = await open_database()
    try:
        row = await devices.one(pool, None, device_id)
        if row is None:
            raise click.ClickException("there is none with this id")
        linking = await _linking(settings, pool, row["driver"])
        try:
            await _draw_until_linked(linking, device_id)
        finally:
            await linking.close()
    finally:
        await pool.close()


async def _linking(settings: Settings, pool: Pool, driver: str) -> Linking:
    make = LINKINGS.get(driver)
    if make is None:
        raise click.ClickException(f"a {driver} device is not linked by a code from here")
    installation = await accounts.installation(pool)
    if installation is None:
        raise click.ClickException("the installation is not set up: run `hantar migrate`")
    begin = settings.public_url or known_url(settings.data_dir) or settings.links_begin
    host = LinkHost(
        pool, lambda: begin, installation.secret, _linked_here, settings.driver_settings(driver)
    )
    return make(host)


async def _linked_here(_device_id: int, _phone: str) -> NoReturn:
    raise AssertionError("codes are only shown here")


async def _draw_until_linked(linking: Linking, device_id: int) -> None:
    """Returns when the device has its phone."""
    drawn: Code | None = None
    while True:
        try:
            code = await linking.code(device_id)
        except AlreadyLinked:
            click.echo(f"device {device_id} is linked")
            return
        except OutOfReach:
            raise click.ClickException("what links the device cannot be reached") from None
        if drawn is None or code.text != drawn.text:
            _draw(code)
            drawn = code
        await asyncio.sleep(LOOK_SECONDS)


def _draw(code: Code) -> None:
    segno.make(code.text, micro=False).terminal(out=sys.stdout, compact=True)
    if code.text.startswith(("http://", "https://")):
        click.echo(f"or open {code.text}")
    click.echo("Ctrl-C leaves.")
