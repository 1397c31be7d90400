"""From the figures of a run to results.json and deploy/performance.md."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.job.installation import DRIVERS, ROLES, Installation
from tests.bench.job.plots import draw

RESULTS = Path("tests/bench/results.json")
PAGE = Path("deploy/performance.md")
PLOTS = Path("deploy/performance")
#: What stands between these in the page is written anew.
BEGIN, END = "<!-- figures of make bench -->", "<!-- end of the figures -->"
PER_MESSAGE = {
    "statements": "{:.3f}",
    "database_ms": "{:.3f}",
    "wal_bytes": "{:,.0f}",
    "amqp_messages": "{:.3f}",
    "amqp_bytes": "{:,.0f}",
}
SERVERS = ("rabbitmq", "postgres", "nginx")

Figures = Mapping[str, Any]


async def machine(made: Installation, *, rounds: int, bulks: int) -> dict[str, Any]:
    """What it was measured on."""
    broker = await made.rabbit.manage("GET", "/overview")
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgres": await made.pool.fetchval("SHOW server_version"),
        "rabbitmq": broker["rabbitmq_version"],
        "load_at_end": os.getloadavg()[1],
        "rounds": rounds,
        "messages_a_round": bulks * 1000,
    }


def write(tree: Path, found: Figures) -> None:
    """Put everything where it belongs."""
    (tree / RESULTS).write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    page = (tree / PAGE).read_text("utf-8")
    figures = f"{BEGIN}\n\n{tables(found)}\n{END}"
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    (tree / PAGE).write_text(pattern.sub(lambda _: figures, page), "utf-8")
    draw(tree / PLOTS, found, DRIVERS, [*ROLES, *SERVERS])


def part(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def of(found: Figures, driver: str, read: Callable[[Any], float]) -> float:
    """The median over the rounds of a driver."""
    return statistics.median(read(each) for each in found["rounds"] if each["driver"] == driver)


def total(one: Any, names: Sequence[str]) -> float:
    """CPU-ms of these processes together."""
    return float(sum(one["cpu_ms"][name] for name in names))


def tables(found: Figures) -> str:
    """The Markdown between the marks."""
    on = found["machine"]
    intro = (
        f"{on['cores']} cores for everything, Python {on['python']}, PostgreSQL {on['postgres']} "
        f"with fsync, RabbitMQ {on['rabbitmq']}; medians of {on['rounds']} rounds of "
        f"{on['messages_a_round']:,} messages each, the drivers taking turns; load average "
        f"{on['load_at_end']:.1f} at the end."
    )
    parts = [intro, _job(found), _waits(found), _targets(found)]
    names = ("cpu", "waits", "dispatchers")
    plots = "\n".join(f"![{name}](performance/{name}.svg)" for name in names)
    return "\n\n".join([*parts, plots]) + "\n"


def _row(name: str, values: Sequence[float], form: str) -> str:
    return f"| {name} | " + " | ".join(form.format(value) for value in values) + " |"


def _job(found: Figures) -> str:
    def line(name: str, form: str, read: Callable[[Any], float]) -> str:
        return _row(name, [of(found, driver, read) for driver in DRIVERS], form)

    everything = [*ROLES, *SERVERS]
    rows = [
        "| | " + " | ".join(DRIVERS) + " |",
        "| --- |" + " ---: |" * len(DRIVERS),
        line("messages/s", "{:,.0f}", lambda one: float(one["rate"])),
        line("CPU-ms a message: our processes", "{:.3f}", lambda one: total(one, ROLES)),
        line("… with RabbitMQ and PostgreSQL", "{:.3f}",
             lambda one: total(one, [*ROLES, *SERVERS[:2]])),
    ]  # fmt: skip
    rows += [line(f"… {name} alone", "{:.3f}", _cpu(name)) for name in everything]
    rows += [
        line(f"{name.replace('_', ' ')} a message", form, _field(name))
        for name, form in PER_MESSAGE.items()
    ]
    rows.append(_row("HTTP client of `meta` alone, CPU-ms a call",
                     [statistics.median(found["client_ms"])], "{:.3f}"))  # fmt: skip
    return "\n".join(rows)


def _cpu(name: str) -> Callable[[Any], float]:
    return lambda one: float(one["cpu_ms"][name])


def _field(name: str) -> Callable[[Any], float]:
    return lambda one: float(one[name])


def _waits(found: Figures) -> str:
    rows = ["| ms | p50 | p99 | of |", "| --- | ---: | ---: | ---: |"]
    for name, kind, when in (
        ("bare insert of 1000 rows", "inserts", "idle"),
        ("answer to a bulk of 1000", "bulks", "idle"),
        ("… while 100,000 are dispatched", "bulks", "flood"),
        ("`high` send to its driver call", "singles", "idle"),
        ("… behind 100,000 of the same device", "singles", "flood"),
    ):
        values = [1000 * value for value in found[when][kind]]
        rows.append(f"| {name} | {part(values, 0.5):.1f} | {part(values, 0.99):.1f} "
                    f"| {len(values)} |")  # fmt: skip
    rows += ["", "| MiB | at rest | with 100,000 queued |", "| --- | ---: | ---: |"]
    for role, before in found["idle"]["memory_mib"].items():
        rows.append(f"| {role} | {before:.0f} | {found['flood']['memory_mib'][role]:.0f} |")
    return "\n".join(rows)


def _targets(found: Figures) -> str:
    core = of(found, "instant", lambda one: total(one, ROLES))
    core_all = of(found, "instant", lambda one: total(one, [*ROLES, *SERVERS[:2]]))
    through = of(found, "meta", lambda one: total(one, [*ROLES, *SERVERS[:2]]))
    client = statistics.median(found["client_ms"])
    alone, loaded = found["idle"]["bulks"], found["flood"]["bulks"]
    insert = part(found["idle"]["inserts"], 0.5)
    singles = part(found["idle"]["singles"], 0.99)
    two = statistics.median(
        b / a for a, b in zip(found["dispatchers"]["1"], found["dispatchers"]["2"], strict=True)
    )
    checks = [
        ("core: our processes, CPU-ms a message", core, 0.12),
        ("core: with RabbitMQ and PostgreSQL", core_all, 0.20),
        ("`meta`: total CPU beyond the client alone, ms", through - client, 0.15),
        ("bulk answer p50 / bare insert", part(alone, 0.5) / insert, 2.5),
        ("bulk answer p99 / p50", part(alone, 0.99) / part(alone, 0.5), 3.0),
        ("… under a flood", part(loaded, 0.99) / part(loaded, 0.5), 3.0),
        ("`high` p99 under a flood / idle", part(found["flood"]["singles"], 0.99) / singles, 5.0),
    ]
    rows = ["| target | at most | measured | |", "| --- | ---: | ---: | --- |"]
    rows += [
        f"| {name} | {most:g} | {value:.3g} | {'met' if value <= most else '**missed**'} |"
        for name, value, most in checks
    ]
    met = "met" if two >= 1.7 else "**missed**"
    rows.append(f"| two dispatchers / one, `meta` | (at least) 1.7 | {two:.2f} | {met} |")
    return "\n".join(rows)
