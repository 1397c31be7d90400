"""What the operators' commands take and how they print resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import click
import orjson

from schemas.resources import instant
from service.core.text import name_error

NAME_LIMIT_CHARS = 255
NONE = "there is none with this id"


class _Name(click.ParamType[str]):
    """Text that can be stored and seen."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        error = name_error(value, NAME_LIMIT_CHARS)
        return value if error is None else self.fail(error, param, ctx)


ID = click.IntRange(1, 2**63 - 1)
NAME = _Name()
as_json = click.option("--json", "as_json", is_flag=True, help="Print the resource as JSON.")


Resource = Mapping[str, Any] | asyncpg.Record


def _plain(value: object) -> object:
    return instant(value) if isinstance(value, datetime) else value


def print_one(row: Resource | None, as_json: bool, **extra: str) -> None:
    """One resource, as JSON or line by line."""
    if row is None:
        raise click.ClickException(NONE)
    resource: dict[str, Any] = {name: _plain(value) for name, value in row.items()} | extra
    if as_json:
        click.echo(orjson.dumps(resource).decode())
        return
    for name, value in resource.items():
        for line in value if isinstance(value, list) else [value]:
            if line is not None:
                click.echo(f"{name}: {line}")


def print_all(rows: Sequence[Resource], as_json: bool) -> None:
    """Resources, as JSON or as a table."""
    resources = [{name: _plain(value) for name, value in row.items()} for row in rows]
    if as_json:
        click.echo(orjson.dumps(resources).decode())
        return
    if not resources:
        click.echo("none")
        return
    columns = list(resources[0])
    table = [
        columns,
        *([str(r[c]) if r[c] is not None else "-" for c in columns] for r in resources),
    ]
    widths = [max(len(line[place]) for line in table) for place in range(len(columns))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
