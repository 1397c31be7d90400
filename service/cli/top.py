"""`hantar top`: what the installation does right now."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import asyncpg
import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.cli.database import fails_in_one_line, open_database
from service.store import leases, samples
from service.store.pool import Pool

#: Rates are counted over so long.
WINDOW_SECONDS = 5.0
#: Rows shown; the ones with most to do come first.
DEVICES = 25
#: What is printed for a file or a pipe is so wide, as numbers that are cut tell lies.
LEAST_WIDTH = 160
_COLOURS = {"ready": "green", "throttled": "yellow", "paused": "yellow", "error": "red"}


@dataclass(frozen=True, slots=True)
class View:
    """One look."""

    devices: list[asyncpg.Record]
    parked: list[asyncpg.Record]
    outbox: list[asyncpg.Record]
    doubts: list[asyncpg.Record]
    owners: Counter[str | None]
    at: str


@click.command()
@click.option(
    "--every",
    "every_seconds",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between looks.",
)
@click.option("--once", is_flag=True, help="Look once, print and end.")
def top(every_seconds: float, once: bool) -> None:
    """Show devices, their rates against their limits, what waits and why; Ctrl-C ends it."""
    try:
        fails_in_one_line(_watch(every_seconds, once))
    except KeyboardInterrupt:
        raise SystemExit(0) from None


async def _watch(every_seconds: float, once: bool) -> None:
    pool = await open_database()
    console = Console()
    try:
        if once:
            console.width = max(console.width, LEAST_WIDTH)
            console.print(draw(await look(pool)))
            return
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(draw(await look(pool)), refresh=True)
                await asyncio.sleep(every_seconds)
    finally:
        await pool.close()


async def look(pool: Pool) -> View:
    """What there is to show; raises one of UNAVAILABLE."""
    async with pool.acquire() as connection:
        return View(
            await samples.top(connection, seconds=WINDOW_SECONDS, most=DEVICES),
            [row for row in await samples.parked(connection) if row["device_id"] is None],
            await samples.outbox(connection),
            await samples.doubts(connection, doubt_seconds=0.0),
            Counter(row.owner for row in await leases.leases(connection)),
            time.strftime("%H:%M:%SZ", time.gmtime()),
        )


def draw(view: View) -> Group:
    """A look as a picture of text."""
    table = Table(expand=True, pad_edge=False, box=None, header_style="bold")
    for heading in ("device", "name", "driver", "state", "waits for"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for heading in ("sent/s", "limit", "used", "calls", "due", "parked", "oldest", "doubt"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("failed", "last error"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for row in view.devices:
        table.add_row(*_cells(row))
    return Group(*_head(view), Text(), table)


def _head(view: View) -> list[Text]:
    free = view.owners[None]
    serving = len(view.owners) - (1 if free else 0)
    shards = (
        f"{view.owners.total() - free} of {view.owners.total()} shards by {serving} dispatcher(s)"
    )
    entries = sum(row["entries"] for row in view.outbox)
    oldest = max((row["seconds"] for row in view.outbox), default=0.0)
    doubts = {row["awaits"]: row["messages"] for row in view.doubts}
    due = ", ".join(f"{row['reason']} {row['messages']}" for row in view.parked if row["due"])
    later = ", ".join(f"{row['reason']} {row['messages']}" for row in view.parked if not row["due"])
    rate = sum(row["rate"] or 0.0 for row in view.devices)
    return [
        Text(f"hantar top  {view.at}   {rate:.1f} sent/s   {shards}", "bold"),
        Text(
            f"outbox {entries} (oldest {oldest:.0f} s)   unconfirmed {doubts.get('callback', 0)}, "
            f"given up on {doubts.get('release', 0)}"
        ),
        Text(f"waiting now: {due or 'none'}   later: {later or 'none'}"),
    ]


def _cells(row: asyncpg.Record) -> list[Text | str]:
    rate, most = row["rate"] or 0.0, row["most"]
    used = rate / most if most else None
    return [
        str(row["id"]),
        Text(row["name"]),
        row["driver"],
        Text(row["state"], _COLOURS.get(row["state"], "red")),
        row["reason"] or "",
        f"{rate:.1f}",
        f"{most:.1f}" if most else "-",
        f"{used:.0%}" if used is not None else "-",
        str(row["sending"]),
        str(row["due"]),
        str(row["parked"]),
        f"{row['oldest_seconds']:.0f} s" if row["oldest_seconds"] else "-",
        str(row["unconfirmed"]),
        Text(str(row["failed"]), "red" if row["failed"] else ""),
        Text(row["error"] or ""),
    ]
