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
from tests.sre.prometheus import RULE_FILES, Prometheus, expressions, running_prometheus, scaled

ROLES = ("ingress", "dispatcher", "recorder", "intake")
#: How much shorter windows are here.
FACTOR = 30.0
WINDOW = "15s"
SEEN_SECONDS = 30.0
#: What there is only when another driver, a refused template or an outage of ours makes it.
UNSEEN = (
    "hantar_meta_errors_total",
    "hantar_meta_webhooks_ignored_total",
    "hantar_campaigns_stopped_total",
    "hantar_commands_deferred_total",
    "1 - hantar_ready",
    "1 - hantar_broker_usable",
    'status="5xx"',
)
#: What is zero while nothing of ours fails, or but for moments: of all else there has to be more.
QUIET = (
    "hantar_credits_drift",
    "hantar_broker_blocked",
    "hantar_devices_silent",
    "hantar_devices_unanswered_total",
    "hantar_messages_lapsed_total",
    "hantar_messages_orphaned_total",
    "hantar_messages_unpointed_total",
    "hantar_dead_commands_total",
    "hantar_leases_taken_total",
    "hantar_broker_reconnects_total",
    "hantar_callbacks_received_total",
    "hantar_inbound_messages_total",
    "hantar_mails",
    "hantar_database_waiting_locks",
    "hantar_campaign_idle_seconds",
    "hantar_import_idle_seconds",
    "hantar_doubts_decided_total",
    "hantar:slo:errors",
    "ALERTS_FOR_STATE",
    "hantar_campaign_recipients_pending",
    "hantar_import_rows_pending",
    "hantar_record_unwritten",
    "hantar_outbox_depth",
    "hantar_outbox_oldest_seconds",
    "hantar_in_flight",
    "hantar_database_longest_transaction_seconds",
    "hantar_unconfirmed_oldest_seconds",
)


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
        assert undeclared(await prometheus.series()) == []
    assert not missing, "\n".join(f"{where}: {why}" for where, why in missing.items())


async def _missing(prometheus: Prometheus) -> dict[str, str]:
    """The queries that do not show what they should, once all have had time to."""
    asked = {
        # Whatever came and went during the load was there.
        query.where: (f"max_over_time(({query.asked(window=WINDOW)})[2m:1s])", query.labels)
        for query in queries()
        if not any(name in query.expression for name in UNSEEN)
    }
    missing: dict[str, str] = {}
    deadline = asyncio.get_running_loop().time() + SEEN_SECONDS
    while asked and asyncio.get_running_loop().time() < deadline:
        for where, (expression, labels) in list(asked.items()):
            series = await prometheus.query(expression)
            lacking = [labels - each["metric"].keys() for each in series]
            quiet = any(metric in expression for metric in QUIET)
            moved = quiet or any(float(each["value"][1]) for each in series)
            if series and moved and not any(lacking):
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
