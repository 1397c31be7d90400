"""From the figures of a run to results.json, the tables and the plots of deploy/performance.md."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.job.accounting import Neighbours
from tests.bench.job.installation import Installation
from tests.bench.job.plots import draw
from tests.bench.job.tables import KINDS, TABLES

RESULTS = Path("tests/bench/results.json")
PAGE = Path("deploy/performance.md")
PLOTS = Path("deploy/performance")
DIGITS = 6

Figures = dict[str, Any]


async def machine(made: Installation, others: Neighbours, **more: int) -> Figures:
    """What it was measured on, and how much of that was ours."""
    broker = await made.rabbit.manage("GET", "/overview")
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgres": await made.pool.fetchval("SHOW server_version"),
        "rabbitmq": broker["rabbitmq_version"],
        "others": others.share(),
        **more,
    }


def write(tree: Path, kind: str, found: Figures) -> None:
    """Put the figures of one kind of run beside those of the others, and the page anew."""
    path = tree / RESULTS
    results = json.loads(path.read_text("utf-8")) if path.exists() else {}
    results = {name: results.get(name) for name in KINDS} | {kind: found}
    path.write_text(dumped(results), "utf-8")
    kept = json.loads(path.read_text("utf-8"))
    page = tree / PAGE
    page.write_text(rendered(page.read_text("utf-8"), kept), "utf-8")
    draw(tree / PLOTS, kept)


def rendered(page: str, results: Mapping[str, Any]) -> str:
    """The page with what stands between its marks made anew of these results."""
    for name, table in TABLES.items():
        begin, end = f"<!-- figures: {name} -->", f"<!-- end: {name} -->"
        head, _, rest = page.partition(begin)
        _, mark, tail = rest.partition(end)
        assert mark, f"no place for {name} in the page"
        page = f"{head}{begin}\n\n{table(results)}\n\n{end}{tail}"
    return page


def dumped(results: Mapping[str, Any]) -> str:
    """As JSON, with lists of numbers on a line."""
    text = json.dumps(_rounded(results), indent=1)
    lists = re.compile(r"\[\s+(-?[\d.][-\d.,e\s]*?)\s+\]")
    return lists.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n"


def _rounded(found: Any) -> Any:
    if isinstance(found, float):
        return float(f"{found:.{DIGITS}g}")
    if isinstance(found, Mapping):
        return {str(key): _rounded(value) for key, value in found.items()}
    return [_rounded(each) for each in found] if isinstance(found, list | tuple) else found
