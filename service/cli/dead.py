"""`hantar dead`: commands that were no commands, or that came back too often."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
import orjson

from service.bus import dead_letters
from service.bus.dead_letters import CannotReplay, DeadCommand
from service.bus.topology import DEAD_COMMANDS_LIMITS
from service.cli.broker import with_broker
from service.cli.resources import as_json, print_all

Result = TypeVar("Result")

_limit = click.option(
    "--limit",
    type=click.IntRange(1, DEAD_COMMANDS_LIMITS[0]),
    default=100,
    show_default=True,
    help="Look at so many of the oldest.",
)
_all = click.option("--all", "everything", is_flag=True, help="All that are looked at.")
_ids = click.argument("ids", nargs=-1, metavar="[ID]...")


@click.group()
def dead() -> None:
    """Dead commands of upstream services."""


@dead.command("list")
@_limit
@as_json
def dead_list(limit: int, as_json: bool) -> None:
    """List them, oldest first, without their bodies."""
    found = _run(lambda url: dead_letters.look(url, limit=limit))
    print_all([each.summary() for each in found], as_json)


@dead.command("show")
@click.argument("dead_id", metavar="ID")
@_limit
def dead_show(dead_id: str, limit: int) -> None:
    """Show one as JSON, with its body: that may hold texts and phones."""
    found = _run(lambda url: dead_letters.look(url, limit=limit))
    for each in found:
        if each.id == dead_id:
            body = each.body.decode(errors="replace")
            click.echo(orjson.dumps(each.summary() | {"body": body}).decode())
            return
    raise click.ClickException(f"there is none with this id among the oldest {limit}")


@dead.command("replay")
@_ids
@_all
@_limit
@as_json
def dead_replay(ids: tuple[str, ...], everything: bool, limit: int, as_json: bool) -> None:
    """Publish them once more, as they were; what was cut for its length stays."""
    wanted = _wanted(ids, everything)
    _print_ids(_run(lambda url: dead_letters.replay(url, wanted, limit=limit)), ids, as_json)


@dead.command("drop")
@_ids
@_all
@_limit
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def dead_drop(ids: tuple[str, ...], everything: bool, limit: int, yes: bool, as_json: bool) -> None:
    """Forget them for good."""
    wanted = _wanted(ids, everything)
    if not yes:
        what = f"all of the oldest {limit} dead commands" if everything else f"{len(ids)} of them"
        click.confirm(f"Forget {what}?", abort=True)
    _print_ids(_run(lambda url: dead_letters.drop(url, wanted, limit=limit)), ids, as_json)


def _wanted(ids: tuple[str, ...], everything: bool) -> Callable[[DeadCommand], bool]:
    if everything == bool(ids):
        raise click.UsageError("give ids as `hantar dead list` shows them, or --all")
    return lambda each: everything or each.id in ids


def _print_ids(done: list[str], wanted: tuple[str, ...], as_json: bool) -> None:
    print_all([{"id": each} for each in done], as_json)
    left = [each for each in wanted if each not in done]
    if left:
        raise click.ClickException(f"not found whole among those looked at: {', '.join(left)}")


def _run(work: Callable[[str], Coroutine[Any, Any, Result]]) -> Result:
    """Run `work` on the broker; what goes wrong becomes one line and exit code 1."""
    try:
        return with_broker(work)
    except CannotReplay as error:
        raise click.ClickException(str(error)) from None
