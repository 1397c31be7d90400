"""`hantar account` and `hantar key`: who sends, and what they say it with."""

from __future__ import annotations

from datetime import datetime

import click

from schemas import accounts as schema
from service.cli.database import with_database
from service.cli.resources import (
    ID,
    INSTANT,
    NAME,
    as_json,
    found,
    of_account,
    print_all,
    print_one,
)
from service.core.keys import key_hash, new_key
from service.core.mail import address_error
from service.store import accounts
from service.store.accounts import EmailTaken


@click.group()
def account() -> None:
    """Accounts: who sends."""


@account.command("create")
@click.option("--email", type=NAME, required=True, help="Of the owner.")
@click.option("--name", type=NAME, required=True)
@click.option("--verified", is_flag=True, help="The e-mail is known to be the owner's.")
@as_json
def account_create(email: str, name: str, verified: bool, as_json: bool) -> None:
    """Create an account."""
    if error := address_error(email):
        raise click.BadParameter(error, param_hint="--email")
    row = with_database(
        lambda c: accounts.create_account(c, name=name, email=email, verified=verified)
    )
    if row is None:
        raise click.ClickException("this e-mail has an account")
    print_one(schema.account(row), as_json)


@account.command("verify")
@click.argument("account_id", type=ID)
@as_json
def account_verify(account_id: int, as_json: bool) -> None:
    """Take the owner's e-mail as verified."""
    try:
        row = with_database(lambda c: accounts.verify_account(c, account_id))
    except EmailTaken:
        raise click.ClickException("another account has verified this e-mail") from None
    print_one(schema.account(found(row)), as_json)


@account.command("list")
@as_json
def account_list(as_json: bool) -> None:
    """List all accounts."""
    print_all([schema.account(row) for row in with_database(accounts.accounts)], as_json)


@click.group()
def key() -> None:
    """API keys: shown once, kept as a hash."""


@key.command("create")
@of_account
@click.option("--name", type=NAME, required=True)
@click.option("--expires-at", type=INSTANT, help="RFC 3339, UTC if it says no zone; default never.")
@as_json
def key_create(account_id: int, name: str, expires_at: datetime | None, as_json: bool) -> None:
    """Create a key and print it, this once."""
    secret = new_key()
    row = with_database(
        lambda c: accounts.create_key(
            c, account_id, name=name, key_hash=key_hash(secret), expires_at=expires_at
        )
    )
    print_one(schema.new_key(found(row), secret), as_json)


@key.command("revoke")
@click.argument("key_id", type=ID)
@as_json
def key_revoke(key_id: int, as_json: bool) -> None:
    """Revoke a key; it stops working at once."""
    row = with_database(lambda c: accounts.revoke_key(c, key_id))
    print_one(schema.kept_key(found(row)), as_json)


@key.command("list")
@of_account
@as_json
def key_list(account_id: int, as_json: bool) -> None:
    """List the keys of an account."""
    rows = with_database(lambda c: accounts.keys(c, account_id))
    print_all([schema.kept_key(row) for row in rows], as_json)
