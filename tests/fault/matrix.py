"""Every fault that was thought of, by its number: run as cases, or why it is not.

A case belongs to the fault its number begins with; the test of this file holds that each fault has
cases or a reason, and not both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FAULTS = {
    "F01": "ingress killed after auth, before the transaction",
    "F02": "ingress killed after insert and debit, before commit",
    "F03": "ingress killed after commit, before publish",
    "F04": "ingress killed after publish, before the confirm is read",
    "F06": "ingress killed after the entry is marked, before or amid the answer",
    "F07": "ingress killed in the middle of a bulk of 1000",
    "F08": "SIGTERM during a bulk",
    "F09": "SIGTERM, a second one, SIGKILL",
    "F11": "one idempotency key fifty times at once",
    "F12": "one key with another body, and of another tenant",
    "F13": "a hundred concurrent bulks, credits for half of them",
    "F15": "a bulk that costs the balance, and one more",
    "F16": "500 slow clients and a good one",
    "F17": "key revoked amid bulks",
    "F18": "the pool is exhausted by a lock",
    "F20": "broker restarted in order",
    "F21": "broker killed",
    "F23": "memory alarm",
    "F24": "disk alarm",
    "F25": "ingress and broker apart",
    "F26": "dispatcher and broker apart",
    "F28": "queue purged or deleted by hand",
    "F29": "queue stands with other arguments",
    "F30": "queue full, publishes refused",
    "F31": "consumer time-out during a long wait",
    "F32": "three nodes: leader killed, minority apart, majority lost",
    "F40": "dispatcher killed at each stage of a message",
    "F41": "crash loop on one message, dead letters",
    "F42": "two dispatchers, one shard",
    "F44": "provider refuses connections",
    "F45": "provider answers 5xx",
    "F46": "provider throttles",
    "F47": "provider's final refusals and codes",
    "F49": "provider hangs after accepting",
    "F50": "provider accepts, then answers 500",
    "F51": "one slow device",
    "F53": "restart loop",
    "F54": "limits change, device deleted, at run time",
    "F55": "SIGTERM with calls in flight",
    "F56": "session of a device lost",
    "F57": "recipients who opted out",
    "F59": "contact, template, device deleted while queued",
    "F60": "time passes during an outage",
    "F70": "recorder killed at each stage of an event",
    "F71": "events repeated, reordered, concurrently",
    "F73": "events of unknown messages",
    "F75": "poison events",
    "F76": "webhook flood with bad signatures",
    "F77": "PostgreSQL crashes at each stage",
    "F78": "PostgreSQL fails over to a standby that lags",
    "F79": "PostgreSQL's disk is full",
    "F80": "PostgreSQL is slow",
    "F82": "a transaction is left open",
    "F83": "migration while serving",
    "F84": "descriptors, memory, log disk used up",
    "F85": "soak: a seeded mix of all of it",
    "F88": "intake killed at each stage of a command",
}

NOT_RUN = {
    "F76": "the flood of signed and badly signed callbacks meets a driver that has them, not the"
    " provider of this suite: tests/integration/meta",
    "F78": "with synchronous replication PostgreSQL itself waits for the standby before it answers"
    " a commit, and without it no client can know what was lost: a matter of the installation",
    "F83": "there is one version of the code; additive migrations are held by"
    " tests/integration/store/test_migrations.py",
    "F85": "a target of its own: make fault-soak",
}


def fault_of(case: str) -> str:
    """The fault that a case is about."""
    found = re.match(r"F\d+", case)
    assert found is not None, case
    return found[0]


def gaps(cases: Iterable[str]) -> list[str]:
    """Faults without a case or a reason, or with both; cases without a fault."""
    covered = {fault_of(case) for case in cases}
    wrong = [fault for fault in FAULTS if (fault in covered) == (fault in NOT_RUN)]
    return wrong + sorted(covered - FAULTS.keys())
