"""Figures that are zero, or not there, while nothing of ours fails: what moves each of them.

Beside a mere load they have to be there (`test_live.py`); once the failures of `provoked.py` and
what `stirring.py` adds are over, each of their queries must have shown more than zero.
"""

from __future__ import annotations

from tests.sre.boards import Query, queries

#: By a part of the query. No figure is excused: what is not here, the load has to move.
QUIET = {
    "ALERTS_FOR_STATE": "any alert",
    "hantar:slo:errors": "requests answered 503",
    'status="5xx"': "requests answered 503",
    "1 - hantar_ready": "the broker down",
    "1 - hantar_broker_usable": "the broker down",
    "hantar_broker_reconnects_total": "the broker down",
    "hantar_broker_blocked": "its memory alarm",
    "hantar_outbox_depth": "the outbox stuck; else an entry lies there for milliseconds",
    "hantar_outbox_oldest_seconds": "the outbox stuck",
    "hantar_leases_taken_total": "a dispatcher killed",
    "hantar_messages_orphaned_total": "a dispatcher killed in the middle of a call",
    "hantar_messages_lapsed_total": "claims that a slow database answers late",
    "hantar_in_flight": "a slow database; else for milliseconds",
    "hantar_record_unwritten": "a slow database; else for milliseconds",
    "hantar_devices_silent": "a device that delivers nothing",
    "hantar_devices_slowed": "a device throttled again and again",
    "hantar_credits_drift": "the ledger tampered with",
    "hantar_devices_unanswered_total": "a device that never answers",
    "hantar_doubts_decided_total": "a message to it that may be sent twice",
    "hantar_dead_commands_total": "nonsense in the queue of dead commands",
    "hantar_messages_unpointed_total": "a message whose command was lost",
    "hantar_commands_deferred_total": "a table locked",
    "hantar_database_waiting_locks": "a table locked",
    "hantar_database_longest_transaction_seconds": "a table locked",
    "hantar_campaign_recipients_pending": "an intake that hangs",
    "hantar_campaign_idle_seconds": "an intake that hangs",
    "hantar_import_rows_pending": "an intake that hangs",
    "hantar_import_idle_seconds": "an intake that hangs",
    "hantar_mails": "a mail server that is away",
    "hantar_campaigns_stopped_total": "a template that Meta does not know",
    "hantar_meta_errors_total": "a template that Meta does not know",
    "hantar_meta_webhooks_ignored_total": "a webhook that says nothing of ours",
    "hantar_bridge_lines_refused_total": "a line of the bridge that is no event",
}


def is_quiet(query: Query) -> bool:
    """Whether it may show nothing but zeros while all is well."""
    return any(part in query.expression for part in QUIET)


def is_absent(query: Query) -> bool:
    """Whether it may then show no series: it asks for what is more than zero."""
    return is_quiet(query) and query.expression.endswith("> 0")


def quiet_queries() -> list[Query]:
    """All of them; a part that fits none is left over."""
    found = [query for query in queries() if is_quiet(query)]
    unused = [part for part in QUIET if not any(part in query.expression for query in found)]
    assert not unused, f"no query has {unused}"
    return found
