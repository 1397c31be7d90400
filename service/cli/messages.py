"""`hantar messages`: what became of one."""

from __future__ import annotations

from typing import Any

import click

from schemas.resources import story
from service.cli.database import with_database
from service.cli.resources import ID, as_json, found, print_one
from service.store import messages as store
from service.store.pool import Connection


@click.group()
def messages() -> None:
    """Messages, without their text and phone."""


@messages.command("show")
@click.argument("message_id", type=ID)
@as_json
def message_show(message_id: int, as_json: bool) -> None:
    """Tell what became of a message, and why it waits."""

    async def work(connection: Connection) -> dict[str, Any]:
        row = found(await store.story(connection, message_id))
        return story(row, await store.history(connection, message_id))

    print_one(with_database(work), as_json)
