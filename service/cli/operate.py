"""The operators' commands on accounts, keys, credits, devices and messages."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import asyncpg
import click
import msgspec

from drivers.registry import KINDS
from schemas import devices as schema
from service.cli.database import with_database
from service.cli.resources import ID as _ID
from service.cli.resources import NAME as _NAME
from service.cli.resources import NONE
from service.cli.resources import as_json as _as_json
from service.cli.resources import print_all as _print_all
from service.cli.resources import print_one as _print_one
from service.core.keys import key_hash, new_key
from service.core.mail import address_error
from service.record.devices import change_state
from service.store import accounts, devices, sweeps
from service.store.accounts import EmailTaken
from service.store.pool import Connection


class _Rate(click.FloatRange):
    """A number that a device's pace can be; the range alone would let NaN pass."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        rate = super().convert(value, param, ctx)
        return self.fail("Must be a number.", param, ctx) if math.isnan(rate) else rate


class _Instant(click.ParamType[datetime]):
    """A time to come."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("must look like 2027-01-31T08:00:00Z", param, ctx)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if at <= datetime.now(UTC):
            self.fail("must lie ahead", param, ctx)
        return at


@click.group()
def account() -> None:
    """Accounts: who sends."""


@account.command("create")
@click.option("--email", type=_NAME, required=True, help="Of the owner.")
@click.option("--name", type=_NAME, required=True)
@click.option("--verified", is_flag=True, help="The e-mail is known to be the owner's.")
@_as_json
def account_create(email: str, name: str, verified: bool, as_json: bool) -> None:
    """Create an account."""
    if error := address_error(email):
        raise click.BadParameter(error, param_hint="--email")
    row = with_database(
        lambda c: accounts.create_account(c, name=name, email=email, verified=verified)
    )
    if row is None:
        raise click.ClickException("this e-mail has an account")
    _print_one(row, as_json)


@account.command("verify")
@click.argument("account_id", type=_ID)
@_as_json
def account_verify(account_id: int, as_json: bool) -> None:
    """Take the owner's e-mail as verified."""
    try:
        row = with_database(lambda c: accounts.verify_account(c, account_id))
    except EmailTaken:
        raise click.ClickException("another account has verified this e-mail") from None
    _print_one(row, as_json)


@account.command("list")
@_as_json
def account_list(as_json: bool) -> None:
    """List all accounts."""
    _print_all(with_database(accounts.accounts), as_json)


@click.group()
def key() -> None:
    """API keys: shown once, kept as a hash."""


@key.command("create")
@click.option("--account", "account_id", type=_ID, required=True)
@click.option("--name", type=_NAME, required=True)
@click.option(
    "--expires-at", type=_Instant(), help="RFC 3339, UTC if it says no zone; default never."
)
@_as_json
def key_create(account_id: int, name: str, expires_at: datetime | None, as_json: bool) -> None:
    """Create a key and print it, this once."""
    secret = new_key()
    row = with_database(
        lambda c: accounts.create_key(
            c, account_id, name=name, key_hash=key_hash(secret), expires_at=expires_at
        )
    )
    _print_one(row, as_json, key=secret)


@key.command("revoke")
@click.argument("key_id", type=_ID)
@_as_json
def key_revoke(key_id: int, as_json: bool) -> None:
    """Revoke a key; it stops working at once."""
    _print_one(with_database(lambda c: accounts.revoke_key(c, key_id)), as_json)


@key.command("list")
@click.option("--account", "account_id", type=_ID, required=True)
@_as_json
def key_list(account_id: int, as_json: bool) -> None:
    """List the keys of an account."""
    _print_all(with_database(lambda c: accounts.keys(c, account_id)), as_json)


@click.group("credits")
def credit() -> None:
    """Credits: given, shown, proven."""


@credit.command("grant")
@click.argument("account_id", type=_ID)
@click.argument("amount", type=click.IntRange(1, 10**12))
@click.option("--note", type=_NAME)
@_as_json
def credit_grant(account_id: int, amount: int, note: str | None, as_json: bool) -> None:
    """Give credits to an account."""
    _print_one(with_database(lambda c: accounts.grant(c, account_id, amount, note)), as_json)


@credit.command("show")
@click.argument("account_id", type=_ID)
@_as_json
def credit_show(account_id: int, as_json: bool) -> None:
    """Show what an account can still reserve, and what is reserved."""
    _print_one(with_database(lambda c: accounts.credit(c, account_id)), as_json)


@credit.command("audit")
@_as_json
def credit_audit(as_json: bool) -> None:
    """Prove that ledger, balances and messages agree; exit code 1 and the accounts if not."""
    rows = with_database(sweeps.audit)
    if as_json or rows:
        _print_all(rows, as_json)
    if rows:
        raise click.ClickException(f"{len(rows)} account(s) do not agree")
    if not as_json:
        click.echo("every account agrees")


@click.group()
def device() -> None:
    """Devices: the WhatsApp numbers messages go out through."""


@device.command("add")
@click.option("--account", "account_id", type=_ID, required=True)
@click.option("--name", type=_NAME, required=True)
@click.option("--driver", type=click.Choice(sorted(KINDS)), required=True)
@click.option(
    "--per-second",
    type=_Rate(0.001, 10_000),
    help="Most messages a second; default is safe for the driver.",
)
@_as_json
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

    _print_device(with_database(work), as_json)


@device.command("list")
@click.option("--account", "account_id", type=_ID, help="Default all accounts.")
@_as_json
def device_list(account_id: int | None, as_json: bool) -> None:
    """List devices, newest first."""
    rows = with_database(lambda c: devices.page(c, account_id))
    if as_json:
        click.echo(msgspec.json.encode([schema.device(row) for row in rows]).decode())
        return
    columns = ("id", "account_id", "name", "driver", "phone", "state", "is_default", "per_second")
    _print_all([{column: row[column] for column in columns} for row in rows], as_json)


@device.command("pause")
@click.argument("device_id", type=_ID)
@_as_json
def device_pause(device_id: int, as_json: bool) -> None:
    """Stop sending through a device; its messages wait."""
    _change_device(device_id, as_json, paused=True)


@device.command("resume")
@click.argument("device_id", type=_ID)
@_as_json
def device_resume(device_id: int, as_json: bool) -> None:
    """Go on sending through a device."""
    _change_device(device_id, as_json, paused=False)


def _change_device(device_id: int, as_json: bool, *, paused: bool) -> None:
    async def work(connection: Connection) -> asyncpg.Record | None:
        # The event stays in the outbox, where whoever publishes looks every few seconds.
        await change_state(connection, None, device_id, paused=paused)
        return await devices.one(connection, None, device_id)

    _print_device(with_database(work), as_json)


def _print_device(row: asyncpg.Record | None, as_json: bool) -> None:
    _print_one(msgspec.to_builtins(schema.device(row)) if row is not None else None, as_json)


@click.group()
def messages() -> None:
    """Messages, without their text and phone."""


@messages.command("show")
@click.argument("message_id", type=_ID)
@_as_json
def message_show(message_id: int, as_json: bool) -> None:
    """Tell what became of a message, and why it waits."""
    _print_one(with_database(lambda c: accounts.story(c, message_id)), as_json)
