"""The figures an operator sees, on an installation that was used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.instruments import REGISTRY
from tests.declared import undeclared
from tests.system import Hantar, eventually

#: What needs a failure, another driver or another door; all the rest has to move.
QUIET = re.compile(
    r"hantar_(devices_unanswered_total|meta_\w+|bridge_\w+|commands\w*|command_seconds\w*|callbacks_received_total|mails_total"
    r"|dead_commands_total|messages_(unpointed|orphaned|lapsed)_total|devices_stopped_total"
    r"|broker_\w+|webhook_calls_total|webhook_call_seconds\w*|doubts_decided_total"
    r"|leases_taken_total|campaign_idle_seconds|import_idle_seconds"
    r"|mails_oldest_seconds|webhooks_\w+|webhook_endpoints|import_rows_pending|devices_(silent|slowed)"
    r"|database_waiting_locks|lane_messages|in_flight|record_unwritten|consumers|outbox_\w+_seconds"
    r"|outbox_depth|campaign\w*|lagging_\w+|database_dead_rows|lanes|database_longest\w+"
    r"|unconfirmed_oldest_seconds)$"
)


async def figures(hantar: Hantar) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample of /metrics, by name and labels."""
    async with hantar.http.get(f"{hantar.ops}/metrics") as answer:
        text = await answer.text()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def value(found: dict[str, Any], name: str, **labels: str) -> float:
    return float(found[name][tuple(sorted(labels.items()))])


async def test_every_figure_is_there_and_moves_with_what_happens(hantar: Hantar) -> None:
    account = await hantar.account()
    other = await hantar.account()
    before = await figures(hantar)
    # Books that do not agree, which nothing but the audit sees.
    await hantar.pool.execute("UPDATE accounts SET balance = 1004 WHERE id = $1", other.id)
    messages = [{"phone": f"+60115550000{n}", "body": "m"} for n in (1, 2, 3, 5, 6, 8)]
    messages += [{"phone": "not a phone", "body": "m"}]
    answer = await hantar.post("/messages/bulk", account, {"messages": messages})
    assert answer.status == 202
    await hantar.post(f"/devices/{other.device_id}/pause", other, {})
    waiting = await hantar.post("/messages/send", other, {"phone": "0123456789", "body": "m"})
    later = {"phone": "0123456789", "body": "m", "send_at": "2026-12-31T00:00:00Z"}
    await hantar.post("/messages/send", account, later)
    for item in answer.json["queued"]:
        await hantar.until(account, item["id"], "delivered", "read", "failed", "unconfirmed")

    async def parked() -> dict[str, Any] | None:
        found = await figures(hantar)
        if "hantar_parked_messages" not in found:
            return None
        paused = value(found, "hantar_parked_messages", reason="paused", due="yes")
        scheduled = value(found, "hantar_parked_messages", reason="scheduled", due="no")
        drift = found.get("hantar_credits_drift", {}).get((), 0.0)
        return found if paused == scheduled == 1 and drift > 0 else None

    found = await eventually(parked)
    assert waiting.status == 202

    def grew(name: str, **labels: str) -> float:
        return value(found, name, **labels) - value(before, name, **labels)

    assert grew("hantar_messages_accepted_total", door="http") == 8
    assert grew("hantar_message_status_total", driver="simulator", status="read") == 1
    assert grew("hantar_driver_calls_total", driver="simulator", outcome="unconfirmed") == 1
    assert grew("hantar_driver_calls_total", driver="simulator", outcome="failed") == 1
    assert grew("hantar_driver_calls_total", driver="simulator", outcome="retry") == 4
    assert grew("hantar_message_delay_seconds_count", priority="low") == 6
    assert value(found, "hantar_devices", driver="simulator", state="paused") == 1
    assert value(found, "hantar_devices_waiting", reason="paused") == 1
    assert value(found, "hantar_credits_drifting_accounts") == 1
    assert value(found, "hantar_credits_drift") == 4
    assert value(found, "hantar_shards", state="owned") == 2
    assert value(found, "hantar_ready", check="accepting") == 1
    still = [
        name
        for name, samples in found.items()
        if name.startswith("hantar_") and not any(samples.values()) and not QUIET.match(name)
    ]
    assert still == []
    assert undeclared((name, dict(labels)) for name, labels in series(found)) == []


def series(found: dict[str, Any]) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Our own, by name and labels."""
    for name, samples in found.items():
        if name.startswith("hantar_"):
            yield from ((name, labels) for labels in samples)


async def test_what_nobody_looks_at_any_more_is_not_told(hantar: Hantar) -> None:
    async def looked() -> bool:
        return "hantar_outbox_depth" in await figures(hantar)

    await eventually(looked)
    await hantar.app.stop()
    names = {metric.name for metric in REGISTRY.collect()}
    assert "hantar_shards_owned" in names
    assert "hantar_outbox_depth" not in names
