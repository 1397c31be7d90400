"""`hantar device qr`: the code that links a device, in the terminal until it has done so."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

import click
import segno

from drivers.linking import AlreadyLinked, Code, LinkHost, Linking, NoPairing, OutOfReach
from drivers.registry import LINKINGS
from service.cli.database import fails_in_one_line, open_database
from service.cli.demo import known_url
from service.core.code_link import code_link
from service.core.phone import normalise
from service.settings import Settings, load
from service.store import accounts, devices

#: Between looks for whether the device is linked, or its code is a new one.
LOOK_SECONDS = 1.0
#: A phone that sends may be of any country.
_ABROAD = re.compile(r"\+[1-9][0-9]{5,14}")


@click.command("qr")
@click.argument("device_id", type=click.IntRange(1, 2**63 - 1))
@click.option("--web", is_flag=True, help="Print the address of a page that shows it instead.")
@click.option("--phone", help="Print a code to type on this phone instead, which is notified.")
def device_qr(device_id: int, web: bool, phone: str | None) -> None:
    """Draw the code that links a device to its phone, anew as it changes, until it is linked.

    The page of --web does the same; its address is good for ten minutes, for whoever has it.
    """
    if web and phone:
        raise click.UsageError("--web and --phone exclude each other")
    fails_in_one_line(_show(load(), device_id, web=web, phone=phone and _e164(phone)))


def _e164(phone: str) -> str:
    written = normalise(phone) or (phone if _ABROAD.fullmatch(phone) else None)
    if written is None:
        raise click.BadParameter("not a phone number", param_hint="--phone")
    return written


async def _show(settings: Settings, device_id: int, *, web: bool, phone: str | None) -> None:
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
            if phone is None:
                await draw_until_linked(linking, device_id)
            else:
                await _until_linked(device_id, lambda: linking.pairing_code(device_id, phone), _say)
        except NoPairing:
            raise click.ClickException(f"a {row['driver']} device has no code to type") from None
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
    await _until_linked(device_id, lambda: linking.code(device_id), _draw)


async def _until_linked(
    device_id: int, ask: Callable[[], Awaitable[Code]], show: Callable[[Code], None]
) -> None:
    shown: Code | None = None
    while True:
        try:
            code = await ask()
        except AlreadyLinked:
            click.echo(f"device {device_id} is linked")
            return
        if shown is None or code.text != shown.text:
            show(code)
            shown = code
        await asyncio.sleep(LOOK_SECONDS)


def _draw(code: Code) -> None:
    segno.make(code.text, micro=False).terminal(out=sys.stdout, compact=True)
    if code.text.startswith(("http://", "https://")):
        click.echo(f"or open {code.text}")
    click.echo("Ctrl-C leaves.")


def _say(code: Code) -> None:
    click.echo(f"Type on the phone: {code.text[:4]}-{code.text[4:]}")
    click.echo("Ctrl-C leaves.")
