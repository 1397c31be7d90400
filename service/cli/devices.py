"""`hantar device`: the WhatsApp numbers messages go out through."""

from __future__ import annotations

import math

import asyncpg
import click

from drivers.registry import KINDS
from schemas import devices as schema
from service.cli.database import with_database
from service.cli.resources import (
    ID,
    NAME,
    NONE,
    as_json,
    found,
    of_account,
    print_all,
    print_one,
)
from service.record.devices import change_state
from service.store import accounts, devices
from service.store.pool import Connection

_COLUMNS = ("id", "account_id", "name", "driver", "phone", "state", "is_default", "per_second")


class _Rate(click.FloatRange):
    """A number that a device's pace can be; the range alone would let NaN pass."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        rate = super().convert(value, param, ctx)
        return self.fail("Must be a number.", param, ctx) if math.isnan(rate) else rate


@click.group()
def device() -> None:
    """Devices: the WhatsApp numbers messages go out through."""


@device.command("add")
@of_account
@click.option("--name", type=NAME, required=True)
@click.option("--driver", type=click.Choice(sorted(KINDS)), required=True)
@click.option(
    "--per-second",
    type=_Rate(0.001, 10_000),
    help="Most messages a second; default is safe for the driver.",
)
@as_json
def device_add(
    account_id: int, name: str, driver: str, per_second: float | None, as_json: bool
) -> None:
    """Add a device; the first of an account is its default."""
    kind = KINDS[driver]
    limits = {**kind.limits, **({} if per_second is None else {"per_second": per_second})}

    async def work(connection: Connection) -> asyncpg.Record:
        installation = await accounts.installation(connection)
        if installation is None:
            raise click.ClickException("the installation is not set up: run `hantar migrate`")
        if not await devices.lock(connection, account_id):
            raise click.ClickException(NONE)
        return await devices.create(
            connection,
            account_id,
            devices.Device(name=name, limits=limits),
            driver=driver,
            state=kind.state(()),
            shards=installation.shards,
        )

    print_one(schema.device(with_database(work)), as_json)


@device.command("list")
@click.option("--account", "account_id", type=ID, help="Default all accounts.")
@as_json
def device_list(account_id: int | None, as_json: bool) -> None:
    """List devices, newest first."""
    rows = with_database(lambda c: devices.page(c, account_id))
    if as_json:
        print_all([schema.device(row) for row in rows], as_json)
    else:
        print_all(rows, as_json, columns=_COLUMNS)


@device.command("pause")
@click.argument("device_id", type=ID)
@as_json
def device_pause(device_id: int, as_json: bool) -> None:
    """Stop sending through a device; its messages wait."""
    _change(device_id, as_json, paused=True)


@device.command("resume")
@click.argument("device_id", type=ID)
@as_json
def device_resume(device_id: int, as_json: bool) -> None:
    """Go on sending through a device."""
    _change(device_id, as_json, paused=False)


def _change(device_id: int, as_json: bool, *, paused: bool) -> None:
    async def work(connection: Connection) -> asyncpg.Record | None:
        # The event stays in the outbox, where whoever publishes looks every few seconds.
        await change_state(connection, None, device_id, paused=paused)
        return await devices.one(connection, None, device_id)

    print_one(schema.device(found(with_database(work))), as_json)
