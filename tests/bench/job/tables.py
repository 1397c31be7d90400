"""The tables of deploy/performance.md, made of results.json."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.job.figures import ROLES, SERVERS, Figures, cpu, field, ms, of, part
from tests.bench.job.targets import targets

DRIVERS = ("simulator", "meta", "instant")
PER_MESSAGE = {
    "statements": ("SQL statements", "{:.3f}"),
    "database_ms": ("ms in SQL statements", "{:.3f}"),
    "wal_bytes": ("bytes of write-ahead log", "{:,.0f}"),
    "amqp_messages": ("AMQP messages", "{:.3f}"),
    "amqp_bytes": ("AMQP bytes, to the broker and back", "{:,.0f}"),
}
MISSING = "*Not measured yet.*"


def machine(found: Figures) -> str:
    """What a run stood on."""
    on = found["machine"]
    return (
        f"{on['cores']} cores for everything, Python {on['python']}, PostgreSQL {on['postgres']} "
        f"with fsync, RabbitMQ {on['rabbitmq']}; the run took {found['seconds']} s, in which other "
        f"work used {on['others']:.0%} of the machine."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown: names at the left, figures at the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bench(results: Figures) -> str:
    """What `make bench` found."""
    if not (found := results["bench"]):
        return MISSING
    on = found["machine"]
    intro = (
        f"{machine(found)} Medians of {on['rounds']} rounds of {1000 * on['bulks']:,} messages "
        "each, the drivers taking turns."
    )
    plots = "\n".join(f"![{name}](performance/{name}.svg)" for name in ("cpu", "waits"))
    return "\n\n".join(
        [intro, _job(found), _waits(found), _memory(found), _dispatchers(found), plots]
    )


def _job(found: Figures) -> str:
    def line(name: str, form: str, read: Callable[[Any], float | None]) -> list[str]:
        return [name, *(form.format(of(found, driver, read)) for driver in DRIVERS)]

    rows = [
        line("messages/s", "{:,.0f}", lambda one: float(one["rate"])),
        line("CPU-ms a message: our processes", "{:.3f}", cpu(ROLES)),
        line("… with RabbitMQ and PostgreSQL", "{:.3f}", cpu([*ROLES, *SERVERS])),
    ]
    rows += [line(f"… {name} alone", "{:.3f}", cpu([name])) for name in (*ROLES, *SERVERS, "nginx")]
    rows += [line(name, form, field(key)) for key, (name, form) in PER_MESSAGE.items()]
    client = statistics.median(found["client_ms"])
    return table(["a message", *(f"`{driver}`" for driver in DRIVERS)], rows) + (
        f"\n\nThe HTTP client of `meta` alone, as fast as it goes: {client:.3f} CPU-ms a call."
    )


def _waits(found: Figures) -> str:
    rows = []
    for name, kind, when in (
        ("bare insert of 1000 rows", "inserts", "idle"),
        ("answer to a bulk of 1000", "bulks", "idle"),
        ("… while 100,000 of another device are dispatched", "bulks", "flood"),
        ("`high` send, from its request to its driver call", "singles", "idle"),
        ("… behind 100,000 of the same device", "singles", "flood"),
    ):
        values = ms(found[when][kind])
        rows.append([name, f"{part(values, 0.5):.1f}", f"{part(values, 0.99):.1f}",
                     f"{len(values)}"])  # fmt: skip
    return table(["ms", "p50", "p99", "of"], rows)


def _memory(found: Figures) -> str:
    idle, flood = found["idle"]["memory_mib"], found["flood"]["memory_mib"]
    rows = [[role, f"{idle[role]:.0f}", f"{flood[role]:.0f}"] for role in idle]
    return table(["MiB", "at rest", "with 100,000 queued"], rows)


def _dispatchers(found: Figures) -> str:
    rows = []
    for key, name in (
        ("busy", "`busy`"),
        ("meta", "`meta`"),
    ):
        rates = {
            count: statistics.median(each) for count, each in found["dispatchers"][key].items()
        }
        rows.append([f"messages/s through {name}", *(f"{rates[n]:,.0f}" for n in rates)])
    return table(["dispatchers", *found["dispatchers"]["busy"]], rows)


#: Kinds of runs, and what of them stands where in the page.
KINDS = ("bench",)
TABLES: dict[str, Callable[[Figures], str]] = {"bench": bench, "targets": targets}
