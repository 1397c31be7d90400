"""What was aimed at, and whether it was met, of whatever was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import NamedTuple

from tests.bench.job.figures import ROLES, SERVERS, Figures, cpu, everything, of, part, ratio


class Check(NamedTuple):
    """A figure and where it should lie."""

    name: str
    measured: float
    most: float | None = None
    least: float | None = None

    @property
    def row(self) -> str:
        """Of the table."""
        low = self.least is None or self.measured >= self.least
        high = self.most is None or self.measured <= self.most
        met = "met" if low and high else "**missed**"
        aim = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        return f"| {self.name} | {aim} | {self.measured:.3g} | {met} |"


def targets(results: Figures) -> str:
    """All of them, each out of one run."""
    checks = [*_bench(results["bench"])] if results["bench"] else []
    checks += [*_rivals(results["rivals"])] if results["rivals"] else []
    checks += [*_growth(results["growth"])] if results["growth"] else []
    rows = ["| target | | measured | |", "| --- | ---: | ---: | --- |"]
    return "\n".join([*rows, *(each.row for each in checks)])


def _bench(found: Figures) -> Iterator[Check]:
    all_of_it = cpu([*ROLES, *SERVERS])
    yield Check("core (`simulator`): our processes, CPU-ms a message",
                of(found, "simulator", cpu(ROLES)), most=0.12)  # fmt: skip
    yield Check("core: with RabbitMQ and PostgreSQL", of(found, "simulator", all_of_it), most=0.20)
    client = statistics.median(found["client_ms"])
    yield Check("`meta`: CPU-ms a message with RabbitMQ and PostgreSQL, beyond the client alone",
                of(found, "meta", all_of_it) - client, most=0.15)  # fmt: skip
    idle, flood = found["idle"], found["flood"]
    alone, loaded = idle["bulks"], flood["bulks"]
    yield Check("answer to a bulk of 1000: p50 / bare insert of its rows",
                part(alone, 0.5) / part(idle["inserts"], 0.5), most=2.5)  # fmt: skip
    yield Check("… p99 / p50", part(alone, 0.99) / part(alone, 0.5), most=3)
    yield Check("… while 100,000 are dispatched", part(loaded, 0.99) / part(loaded, 0.5), most=3)
    yield Check("`high` send: p99 behind 100,000 / p99 at rest",
                part(flood["singles"], 0.99) / part(idle["singles"], 0.99), most=5)  # fmt: skip
    limited = found["limited"]
    yield Check(f"a device at {limited['per_second']} a second: part of its rate that is used",
                limited["used"], least=0.99)  # fmt: skip
    yield Check("… windows of a second with too many calls", limited["broken"], most=0)
    rates = found["dispatchers"]["busy"]
    yield Check("two dispatchers / one, where they are the bottleneck (`busy`)",
                ratio(rates["2"], rates["1"]), least=1.7)  # fmt: skip


def _rivals(found: Figures) -> Iterator[Check]:
    def rates(name: str) -> list[float]:
        return [one["rate"] for one in found["rounds"] if one["driver"] == name]

    def costs(name: str) -> list[float]:
        return [everything(one) for one in found["rounds"] if one["driver"] == name]

    yield Check("core (`simulator`): messages/s, in FastStream's",
                ratio(rates("simulator"), rates("FastStream")), least=15)  # fmt: skip
    yield Check("`meta`: messages/s, in FastStream's",
                ratio(rates("meta"), rates("FastStream")), least=8)  # fmt: skip
    yield Check("… CPU a message, in FastStream's",
                ratio(costs("meta"), costs("FastStream")), most=0.125)  # fmt: skip


def _growth(found: Figures) -> Iterator[Check]:
    for kind, name in (("rows", "rows in `messages`"), ("backlog", "waiting on the device")):
        size, costs = max(found[kind].items(), key=lambda each: int(each[0]))
        yield Check(f"CPU a message with {int(size):,} {name} / with few",
                    ratio(costs["large"], costs["small"]), most=1.15)  # fmt: skip
    rest, *_, most = found["memory_mib"].values()
    yield Check("memory of a role with the largest backlog, MiB over rest",
                max(most[role] - rest[role] for role in rest), most=64)  # fmt: skip
