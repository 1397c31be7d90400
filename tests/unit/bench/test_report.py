"""The page of performance is made of results.json, and says of every target whether it was met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.bench.job.report import PAGE, RESULTS, dumped, rendered, write
from tests.bench.job.tables import KINDS, TABLES

ROOT = Path(__file__).parents[3]
CPU = {"ingress": 0.01, "dispatcher": 0.05, "recorder": 0.04, "intake": 0.0, "rabbitmq": 0.01,
       "postgres": 0.12, "nginx": 0.0}  # fmt: skip
MARKS = "\n".join(f"<!-- figures: {name} -->\nold\n<!-- end: {name} -->" for name in TABLES)


def one(driver: str) -> dict[str, Any]:
    """A round."""
    return {
        "driver": driver, "messages": 1000, "seconds": 0.25, "rate": 4000.0, "cpu_ms": CPU,
        "answers": [0.03], "statements": 0.1, "database_ms": 0.2, "wal_bytes": 1500.0,
        "amqp_messages": None if driver == "meta" else 0.02, "amqp_bytes": 600.0,
        "costliest": [],
    }  # fmt: skip


def waits(factor: float) -> dict[str, Any]:
    return {
        "bulks": [0.03 * factor, 0.04 * factor], "singles": [0.02 * factor], "inserts": [0.02],
        "memory_mib": {"dispatcher": 90.0}, "left": 0,
    }  # fmt: skip


BENCH: dict[str, Any] = {
    "machine": {"cores": 2, "python": "3.11.7", "postgres": "18.6", "rabbitmq": "3.10.8",
                "others": 0.1, "rounds": 1, "bulks": 1},
    "seconds": 300,
    "rounds": [one(driver) for driver in ("simulator", "meta", "meta", "instant")],
    "client_ms": [0.1],
    "idle": waits(1),
    "flood": waits(10),
    "limited": {"per_second": 80, "calls": 1200, "used": 0.997, "broken": 0},
    "dispatchers": {driver: {"1": [100.0], "2": [190.0], "4": [300.0]}
                    for driver in ("busy", "meta")},
}  # fmt: skip
BENCH["rounds"][1]["amqp_messages"] = 0.03


def test_the_page_says_what_was_met_and_what_was_not() -> None:
    page = rendered(MARKS, dict.fromkeys(KINDS) | {"bench": BENCH})
    assert "old" not in page
    assert "| core (`simulator`): our processes, CPU-ms a message | ≤ 0.12 | 0.1 | met |" in page
    assert "| core: with RabbitMQ and PostgreSQL | ≤ 0.2 | 0.23 | **missed** |" in page
    assert "| `high` send: p99 behind 100,000 / p99 at rest | ≤ 5 | 10 | **missed** |" in page
    assert "| messages/s | 4,000 | 4,000 | 4,000 |" in page
    assert "other work used 10% of the machine" in page


def test_a_run_of_one_kind_leaves_the_figures_of_the_others(tmp_path: Path) -> None:
    for file in (RESULTS, PAGE):
        (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / PAGE).write_text(MARKS)
    (tmp_path / RESULTS).write_text(dumped({"bench": BENCH}))
    write(tmp_path, "bench", BENCH | {"seconds": 400})
    assert json.loads((tmp_path / RESULTS).read_text())["bench"]["seconds"] == 400
    assert (tmp_path / "deploy/performance/cpu.svg").read_text().startswith("<?xml")


def test_the_committed_page_is_what_the_committed_results_make() -> None:
    page = (ROOT / PAGE).read_text("utf-8")
    assert rendered(page, json.loads((ROOT / RESULTS).read_text("utf-8"))) == page
