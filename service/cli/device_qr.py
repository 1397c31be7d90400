"""`hantar device qr`: the code that links a device, drawn in the terminal until it has done so."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import NoReturn

import click
import segno

from drivers.linking import AlreadyLinked, Code, LinkHost, Linking, OutOfReach
from drivers.registry import LINKINGS
from service.cli.database import fails_in_one_line, open_database
from service.cli.demo import known_url
from service.core.code_link import code_link
from service.settings import Settings, load
from service.store import accounts, devices

#: Between looks for whether the device is linked, or its code is a new one.
LOOK_SECONDS = 1.0


@click.command("qr")
@click.argument("device_id", type=click.IntRange(1, 2**63 - 1))
@click.option("--web", is_flag=True, help="Print the address of a page that shows it instead.")
def device_qr(device_id: int, web: bool) -> None:
    """Draw the code that links a device to its phone, anew as it changes, until it is linked.

    The page of --web does the same; its address is good for ten minutes, for whoever has it.
    """
    fails_in_one_line(_show(load(), device_id, web=web))


async def _show(settings: Settings, device_id: int, *, web: bool) -> None:
    pool = await open_database()
    try:
        row = await devices.one(pool, None, device_id)
        if row is None:
            raise click.ClickException("there is none with this id")
        if row["driver"] not in LINKINGS:
            raise click.ClickException(
                f"a {row['driver']} device is not linked by a code from here"
            )
        installation = await accounts.installation(pool)
        if installation is None:
            raise click.ClickException("the installation is not set up: run `hantar migrate`")
        begin = settings.public_url or known_url(settings.data_dir) or settings.links_begin
        if web:
            click.echo(code_link(begin, installation.secret, device_id, time.time()))
            return
        made_by = settings.driver_settings(row["driver"])
        host = LinkHost(pool, lambda: begin, installation.secret, _linked_here, made_by)
        linking = LINKINGS[row["driver"]](host)
        try:
            await draw_until_linked(linking, device_id)
        except OutOfReach:
            raise click.ClickException("what links the device cannot be reached") from None
        finally:
            await linking.close()
    finally:
        await pool.close()


async def _linked_here(_device_id: int, _phone: str) -> NoReturn:
    raise AssertionError("codes are only shown here")


async def draw_until_linked(linking: Linking, device_id: int) -> None:
    """Returns when the device has its phone; raises OutOfReach."""
    drawn: Code | None = None
    while True:
        try:
            code = await linking.code(device_id)
        except AlreadyLinked:
            click.echo(f"device {device_id} is linked")
            return
        if drawn is None or code.text != drawn.text:
            _draw(code)
            drawn = code
        await asyncio.sleep(LOOK_SECONDS)


def _draw(code: Code) -> None:
    segno.make(code.text, micro=False).terminal(out=sys.stdout, compact=True)
    if code.text.startswith(("http://", "https://")):
        click.echo(f"or open {code.text}")
    click.echo("Ctrl-C leaves.")
