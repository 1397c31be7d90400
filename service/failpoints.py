"""Named points at which a test makes this process die, stall or lose a connection.

Off, which is always outside tests, `hit` is a function without a body. `arm` replaces it.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

#: Every point there is. A test holds that each is hit somewhere, and nothing else.
POINTS = frozenset(
    {
        # a request, from its caller's name to the answer
        "accept.begun",
        "accept.keyed",
        "accept.inserted",
        "accept.reserved",
        "accept.before_commit",
        "accept.committed",
        # a command of an upstream service, beside those of a request
        "command.received",
        "command.answered",
        "command.acked",
        # a command of the outbox on its way to the bus
        "relay.before_publish",
        "relay.confirmed",
        "relay.deleted",
        # the same of events
        "events.before_publish",
        "events.confirmed",
        "events.noted",
        # a dispatch command, from its delivery to its ack
        "dispatch.received",
        "claim.before",
        "claim.committed",
        "call.before",
        "call.answered",
        "dispatch.before_ack",
        "dispatch.acked",
        "park.committed",
        # shards and what a former owner left
        "lease.taken",
        "lease.beaten",
        "orphans.found",
        # status changes
        "record.before_commit",
        "record.committed",
        "callbacks.received",
        "callbacks.recorded",
        "inbound.before_commit",
        # what nothing else would come back to
        "dead.parked",
        "doubts.before_commit",
        "webhook.taken",
        "webhook.answered",
        "webhook.noted",
        # an import or a campaign, chunk by chunk
        "chunk.before_commit",
        "chunk.committed",
    }
)
_RULE = re.compile(
    r"(?P<point>[a-z_.]+)=(?P<act>kill|raise|sleep:(?P<seconds>\d+(\.\d+)?))"
    r"(@(?P<nth>[1-9]\d*)|%(?P<chance>0?\.\d+|1)/(?P<seed>\d+))?"
)


class Injected(ConnectionError):
    """What `raise` raises: the connection is lost at this point."""


@dataclass(slots=True)
class Rule:
    """What happens at a point: once, at the nth hit, or else at each with a chance."""

    point: str
    act: str
    seconds: float
    nth: int
    chance: float | None
    seeded: random.Random = field(default_factory=random.Random)
    hits: int = 0

    def due(self) -> bool:
        """Whether this hit is one that counts."""
        self.hits += 1
        if self.chance is not None:
            return self.seeded.random() < self.chance
        return self.hits == self.nth


def read_rules(text: str) -> dict[str, Rule]:
    """Rules like `accept.committed=kill@3, relay.confirmed=sleep:2, claim.before=raise%.01/7`.

    `@n` is the nth hit (the first by default), `%chance/seed` every hit with that chance. Raises
    ValueError, which says what is wrong.
    """
    rules = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _RULE.fullmatch(part)
        if found is None or found["point"] not in POINTS:
            raise ValueError(f"{part} is not point=kill|raise|sleep:seconds[@nth|%chance/seed]")
        rules[found["point"]] = Rule(
            point=found["point"],
            act=found["act"].partition(":")[0],
            seconds=float(found["seconds"] or 0),
            nth=int(found["nth"] or 1),
            chance=float(found["chance"]) if found["chance"] else None,
            seeded=random.Random(int(found["seed"] or 0)),
        )
    return rules


def _off(point: str) -> None:
    """Nothing."""


#: Called at each point with its name.
hit: Callable[[str], None] = _off


def arm(rules: dict[str, Rule], journal: Path | None) -> None:
    """From now on these happen; each is in the journal, on the disk, before it does."""
    global hit  # one switch for the process, and nothing to pay while it is off

    def armed(point: str) -> None:
        rule = rules.get(point)
        if rule is not None and rule.due():
            if journal is not None:
                _note(journal, rule)
            _act(rule)

    hit = armed if rules else _off


def _note(journal: Path, rule: Rule) -> None:
    line = {"point": rule.point, "act": rule.act, "pid": os.getpid(), "at": time.monotonic()}
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        os.fsync(file)
    finally:
        os.close(file)


def _act(rule: Rule) -> None:
    match rule.act:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            # The whole process, as a swapped-out or frozen one does.
            time.sleep(rule.seconds)
        case _:
            raise Injected(rule.point)
