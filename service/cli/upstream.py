"""`hantar upstream`: which accounts the commands of a broker's user may name."""

from __future__ import annotations

import click

from service.cli.database import with_database
from service.cli.resources import ID, NAME, as_json, print_all, print_one
from service.store import upstreams


@click.group()
def upstream() -> None:
    """Upstream services: users of the broker, and the accounts they may name."""


@upstream.command("add")
@click.argument("user", type=NAME)
@click.argument("account", type=ID)
@as_json
def upstream_add(user: str, account: int, as_json: bool) -> None:
    """Let the commands of a broker's user name an account."""
    print_one(with_database(lambda c: upstreams.add(c, user, account)), as_json)


@upstream.command("remove")
@click.argument("user", type=NAME)
@click.argument("account", type=ID)
@as_json
def upstream_remove(user: str, account: int, as_json: bool) -> None:
    """Refuse that user's commands for the account from now on."""
    print_one(with_database(lambda c: upstreams.remove(c, user, account)), as_json)


@upstream.command("list")
@as_json
def upstream_list(as_json: bool) -> None:
    """List users and their accounts."""
    print_all(with_database(upstreams.every), as_json)
