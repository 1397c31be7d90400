"""`hantar device unread`: what providers said that nothing here reads."""

from __future__ import annotations

from typing import Any

import asyncpg
import click

from service.cli.database import with_database
from service.cli.key_file import key_file, read_seal
from service.cli.resources import ID, as_json, print_all
from service.core.sealing import Seal
from service.core.words import Words
from service.settings import load
from service.store import unread

_COLUMNS = ("device_id", "driver", "kind", "count", "first_at", "last_at")


@click.command("unread")
@click.argument("device_id", type=ID, required=False)
@as_json
def device_unread(device_id: int | None, as_json: bool) -> None:
    """List what providers said that nothing here reads, of one device or all.

    With --json the last one of each kind is shown: that may hold texts and phones.
    """
    rows = with_database(lambda c: unread.all_of(c, device_id))
    if not as_json:
        print_all(rows, as_json, columns=_COLUMNS)
        return
    words = Words(_seal())
    print_all([_opened(row, words) for row in rows], as_json)


def _opened(row: asyncpg.Record, words: Words) -> dict[str, Any]:
    return dict(row) | {"body": words.open(row["body"])}


def _seal() -> Seal:
    file = key_file(load())
    try:
        return Seal([]) if file is None else read_seal(file)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the key file {file}: {error}") from None
