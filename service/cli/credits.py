"""`hantar credits`: given, shown, proven."""

from __future__ import annotations

import click

from schemas import credits as schema
from service.cli.database import with_database
from service.cli.resources import ID, NAME, as_json, found, print_all, print_one
from service.store import accounts, sweeps


@click.group("credits")
def credit() -> None:
    """Credits: given, shown, proven."""


@credit.command("grant")
@click.argument("account_id", type=ID)
@click.argument("amount", type=click.IntRange(1, 10**12))
@click.option("--note", type=NAME)
@as_json
def credit_grant(account_id: int, amount: int, note: str | None, as_json: bool) -> None:
    """Give credits to an account; prints the entry in its ledger."""
    row = with_database(lambda c: accounts.grant(c, account_id, amount, note))
    print_one(schema.ledger_entry(found(row)), as_json)


@credit.command("show")
@click.argument("account_id", type=ID)
@as_json
def credit_show(account_id: int, as_json: bool) -> None:
    """Show what an account can still reserve, and what is reserved."""
    row = found(with_database(lambda c: accounts.credit(c, account_id)))
    print_one(schema.Credits(row["balance"], row["reserved"]), as_json)


@credit.command("audit")
@as_json
def credit_audit(as_json: bool) -> None:
    """Prove that ledger, balances and messages agree; exit code 1 and the accounts if not."""
    rows = with_database(sweeps.audit)
    if as_json or rows:
        print_all(rows, as_json)
    if rows:
        raise click.ClickException(f"{len(rows)} account(s) do not agree")
    if not as_json:
        click.echo("every account agrees")
