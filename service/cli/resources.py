"""What the operators' commands take and how they print resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import click
import msgspec
import orjson

from schemas.resources import instant
from service.core.text import name_error

NAME_LIMIT_CHARS = 255
NONE = "there is none with this id"

Found = TypeVar("Found")
#: A resource of the API, or what only operators see.
Resource = msgspec.Struct | Mapping[str, Any] | asyncpg.Record


class _Name(click.ParamType[str]):
    """Text that can be stored and seen."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        error = name_error(value, NAME_LIMIT_CHARS)
        return value if error is None else self.fail(error, param, ctx)


class _Instant(click.ParamType[datetime]):
    """A time to come."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            at = datetime.fromisoformat(str(value))
            at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail("must look like 2027-01-31T08:00:00Z", param, ctx)
        if at <= datetime.now(UTC):
            self.fail("must lie ahead", param, ctx)
        return at


ID = click.IntRange(1, 2**63 - 1)
NAME = _Name()
INSTANT = _Instant()
as_json = click.option("--json", "as_json", is_flag=True, help="Print the resource as JSON.")
of_account = click.option("--account", "account_id", type=ID, required=True)


def found(row: Found | None) -> Found:
    """The row, or the failure that says that there is none."""
    if row is None:
        raise click.ClickException(NONE)
    return row


def print_one(resource: Resource | None, as_json: bool) -> None:
    """One resource, as JSON or line by line."""
    if resource is None:
        raise click.ClickException(NONE)
    plain = _plain(resource)
    if as_json:
        click.echo(orjson.dumps(plain).decode())
        return
    for name, value in _lines(plain):
        click.echo(f"{name}: {value}")


def print_all(
    resources: Sequence[Resource], as_json: bool, *, columns: Sequence[str] | None = None
) -> None:
    """Resources, as JSON or as a table of all or some of their fields."""
    rows = [_plain(resource) for resource in resources]
    if as_json:
        click.echo(orjson.dumps(rows).decode())
        return
    if not rows:
        click.echo("none")
        return
    named = list(columns or rows[0])
    table = [named, *([str(r[c]) if r[c] is not None else "-" for c in named] for r in rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(named))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _plain(resource: Resource) -> dict[str, Any]:
    if isinstance(resource, msgspec.Struct):
        fields: dict[str, Any] = msgspec.to_builtins(resource)
        return fields
    return {
        name: instant(value) if isinstance(value, datetime) else value
        for name, value in resource.items()
    }


def _lines(plain: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its name; those of a part by the part's name and their own."""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{within}{name}.")
        elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
            for each in value:
                yield f"{within}{name}", ", ".join(str(part) for part in each.values())
        elif value is not None:
            yield f"{within}{name}", value
