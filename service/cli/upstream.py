"""`hantar upstream`: which accounts the commands of a broker's user may name."""

from __future__ import annotations

import shlex
from urllib.parse import unquote, urlsplit

import click

from service.bus import upstream_queues
from service.bus.topology import COMMAND_LIMITS, own_key
from service.bus.upstream_queues import own_queue, permissions
from service.cli.broker import broker_url, with_broker
from service.cli.database import with_database
from service.cli.resources import ID, NAME, NONE, as_json, print_all, print_one
from service.store import upstreams


@click.group()
def upstream() -> None:
    """Upstream services: users of the broker, and the accounts they may name."""


@upstream.command("add")
@click.argument("user", type=NAME)
@click.argument("account", type=ID)
@as_json
def upstream_add(user: str, account: int, as_json: bool) -> None:
    """Let the commands of a broker's user name an account, and its queue get the account's events.

    Prints what the user needs at the broker: it is made there, as it has a password; and the
    routing keys under which its commands have queues of their own.
    """
    row = with_database(lambda c: upstreams.add(c, user, account))
    if row is None:
        raise click.ClickException(NONE)
    needed: dict[str, str] = {}
    if (url := broker_url()) is not None:
        with_broker(lambda url: upstream_queues.open_queue(url, user, account))
        may = permissions(user)
        needed = {
            "queue": own_queue(user),
            "configure": may.configure,
            "write": may.write,
            "read": may.read,
            "routing_keys": ", ".join(own_key(key, user) for key in COMMAND_LIMITS),
        }
        if not as_json:
            needed["at the broker"] = " && ".join(_commands(url, user))
    print_one({**row, **needed}, as_json)


@upstream.command("remove")
@click.argument("user", type=NAME)
@click.argument("account", type=ID)
@as_json
def upstream_remove(user: str, account: int, as_json: bool) -> None:
    """Refuse that user's commands for the account from now on; its queue gets no more of it."""
    row = with_database(lambda c: upstreams.remove(c, user, account))
    if row is not None and broker_url() is not None:
        with_broker(lambda url: upstream_queues.cut_off(url, user, account))
    print_one(row, as_json)


@upstream.command("list")
@as_json
def upstream_list(as_json: bool) -> None:
    """List users and their accounts."""
    print_all(with_database(upstreams.every), as_json)


def _commands(url: str, user: str) -> list[str]:
    """What makes such a user; the first asks for its password."""
    vhost, may = unquote(urlsplit(url).path[1:]) or "/", permissions(user)
    return [
        shlex.join(["rabbitmqctl", "add_user", user]),
        shlex.join(
            [
                "rabbitmqctl",
                "set_permissions",
                "-p",
                vhost,
                user,
                may.configure,
                may.write,
                may.read,
            ]
        ),
    ]
