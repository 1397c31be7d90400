"""Every query of every panel and rule, asked of a real Prometheus beside a loaded installation."""

from __future__ import annotations

import asyncio
from pathlib import Path

from service.core.sealing import new_key
from tests.acceptance.installation import Installation
from tests.declared import undeclared
from tests.servers.rabbitmq import RabbitNode
from tests.sre.boards import queries
from tests.sre.load import calling, everything, listening
from tests.sre.prometheus import (
    RULE_FILES,
    Prometheus,
    expressions,
    promtool,
    running_prometheus,
    scaled,
)
from tests.sre.quiet import is_absent, is_quiet, quiet_queries
from tests.sre.report import verified

ROLES = ("ingress", "dispatcher", "recorder", "intake")
#: How much shorter windows are here.
FACTOR = 30.0
WINDOW = "15s"
SEEN_SECONDS = 30.0


async def test_every_query_shows_what_its_legend_says(
    installation: Installation, rabbit_node: RabbitNode, tmp_path: Path
) -> None:
    key_file = tmp_path / "secret.key"
    key_file.write_text(f"{new_key()}\n")
    installation.processes.environment |= {
        "HANTAR_WEBHOOK_ALLOW": "127.0.0.0/8",
        "HANTAR_SECRET_KEY_FILE": str(key_file),
    }
    running = await installation.run(*ROLES)
    ops = [(await process.ready())[1].removeprefix("http://") for process in running]
    rules = {file: scaled(file, FACTOR, {}) for file in RULE_FILES}
    targets = {
        "hantar": dict(zip(ROLES, ops, strict=True)),
        "rabbitmq": {"rabbitmq": rabbit_node.metrics},
    }
    async with (
        listening() as endpoint,
        calling(installation, running[0]) as caller,
        running_prometheus(tmp_path / "prometheus", targets, rules=rules) as prometheus,
    ):
        await prometheus.has_seen_all(len(ROLES) + 1)
        await everything(caller, installation.processes.environment["HANTAR_AMQP_URL"], endpoint)
        missing = await _missing(prometheus)
        assert await prometheus.rule_faults() == {}
        exported = await prometheus.series()
        assert undeclared(exported) == []
        for address in ops:
            await _is_well_named(prometheus, address)
    assert not missing, "\n".join(f"{where}: {why}" for where, why in missing.items())
    of_panels = list(queries())
    panels = {query.panel for query in of_panels}
    verified(
        "Verified",
        f"- {len(of_panels)} queries of {len(panels)} panels, and {len(expressions())} rules: "
        "asked of a Prometheus beside load",
        f"- of these queries {len(quiet_queries())} may be zero then, and are provoked; all others "
        "had figures, and the labels of their legends",
        f"- {len(exported)} series of ours: no label has a value that was not declared, "
        "and promtool check metrics finds nothing",
    )


async def _is_well_named(prometheus: Prometheus, ops: str) -> None:
    """What a process exports is as promtool wants names, helps and units."""
    async with prometheus.http.get(f"http://{ops}/metrics") as answer:
        exported = await answer.text()
    checked = await asyncio.to_thread(promtool, "check", "metrics", given=exported)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


async def _missing(prometheus: Prometheus) -> dict[str, str]:
    """The queries that do not show what they should, once all have had time to."""
    asked = {
        # Whatever came and went during the load was there.
        query.where: (f"max_over_time(({query.asked(window=WINDOW)})[2m:1s])", query)
        for query in queries()
    }
    missing: dict[str, str] = {}
    deadline = asyncio.get_running_loop().time() + SEEN_SECONDS
    while asked and asyncio.get_running_loop().time() < deadline:
        for where, (expression, query) in list(asked.items()):
            series = await prometheus.query(expression)
            lacking = [query.labels - each["metric"].keys() for each in series]
            moved = is_quiet(query) or any(float(each["value"][1]) for each in series)
            if (series or is_absent(query)) and moved and not any(lacking):
                del asked[where]
                missing.pop(where, None)
            else:
                missing[where] = f"{expression}: {lacking or series or 'no series'}"
        await asyncio.sleep(0.5)
    for name, expression in expressions().items():
        # Most of these are empty when all is well; that they are queries has to be enough.
        await prometheus.query(expression)
        assert name
    return missing
