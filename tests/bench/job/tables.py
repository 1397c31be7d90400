"""The tables of deploy/performance.md, made of results.json."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.job.figures import (
    ROLES,
    SERVERS,
    Figures,
    cpu,
    everything,
    field,
    ms,
    of,
    part,
    ratio,
)
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


def rivals(results: Figures) -> str:
    """What `make bench ARGS=--rivals` found."""
    if not (found := results["rivals"]):
        return MISSING
    on = found["machine"]
    intro = (
        f"{machine(found)} Medians of {on['rounds']} turns; {1000 * on['bulks']:,} messages a turn "
        f"for Hantar, {on['messages']:,} for each of the others."
    )
    names = list(dict.fromkeys(each["driver"] for each in found["rounds"]))
    rates = {name: [one["rate"] for one in found["rounds"] if one["driver"] == name]
             for name in names}  # fmt: skip
    rows = []
    for name in names:
        ours = name in DRIVERS
        shown = [f"Hantar, `{name}`" if ours else name]
        shown += [f"{of(found, name, lambda one: float(one['rate'])):,.0f}"]
        shown += [f"{ratio(rates[name], rates['FastStream']):.2f}"]
        for group in ((*ROLES, "worker", "enqueuer"), ("rabbitmq",), ("postgres",)):
            shown += [f"{of(found, name, cpu(group)):.3f}"]
        rows.append([*shown, f"{of(found, name, everything):.3f}"])
    head = ["", "messages/s", "× FastStream", "Python CPU-ms", "RabbitMQ", "PostgreSQL",
            "CPU-ms a message"]  # fmt: skip
    return f"{intro}\n\n{table(head, rows)}\n\n![rivals](performance/rivals.svg)"


def growth(results: Figures) -> str:
    """What `make bench ARGS=--growth` found."""
    if not (found := results["growth"]):
        return MISSING
    on = found["machine"]
    rows = []
    for kind, name in (("rows", "rows in `messages`"), ("backlog", "waiting on the device")):
        for size, costs in found[kind].items():
            small, large = (statistics.median(costs[each]) for each in ("small", "large"))
            rows.append([f"{int(size):,} {name}", f"{small:.3f}", f"{large:.3f}",
                         f"{ratio(costs['large'], costs['small']):.2f}"])  # fmt: skip
    costs = table(["CPU-ms a message, all processes", "small", "grown", "grown / small"], rows)
    sizes = found["memory_mib"]
    memories = table(
        ["MiB", *("at rest" if size == "0" else f"{int(size):,} waiting" for size in sizes)],
        [[role, *(f"{sizes[size][role]:.0f}" for size in sizes)] for role in ROLES],
    )
    intro = f"{machine(found)} Medians of {on['rounds']} turns of {1000 * on['bulks']:,} messages."
    return f"{intro}\n\n{costs}\n\n{memories}\n\n![growth](performance/growth.svg)"


#: Kinds of runs, and what of them stands where in the page.
KINDS = ("bench", "rivals", "growth")
TABLES: dict[str, Callable[[Figures], str]] = {
    "targets": targets,
    "bench": bench,
    "rivals": rivals,
    "growth": growth,
}
