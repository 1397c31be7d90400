"""Compares three journals and the rows; says which invariant broke, and how often.

I1 nothing accepted is lost, I2 nobody gets a message twice, I3 every credit is accounted for,
I4 no device is ever driven faster than its limit, I5 no status goes back, I7 nothing is sent that
was not asked for, I8 a key has one effect, I10 who opted out gets nothing, I12 no secret in a log,
"fence" no call by a former owner of the shard.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Line = Mapping[str, Any]
Span = tuple[float, float]

RANK = ("scheduled", "queued", "sending", "unconfirmed", "sent", "failed", "delivered", "read")
ENDED_UNSENT = ("cancelled", "expired", "skipped")
WAITING = ("scheduled", "queued", "sending")
CREDIT = {"unconfirmed": "reserved", "sent": "settled", "delivered": "settled", "read": "settled"}
#: A whole phone (and no part of a trace id), a text, a key.
SECRETS = re.compile(r"(?<!\w)\+?6012\d{7}(?!\w)|canary-\d+|hantar_live_\w{8,}")
SHOWN = 3


@dataclass
class Evidence:
    """All that is known of a run."""

    client: Sequence[Line] = ()
    calls: Sequence[Line] = ()
    events: Sequence[Line] = ()
    rows: Sequence[Line] = ()
    #: `account, granted, balance`
    accounts: Sequence[Line] = ()
    #: `account, type, count, amount`
    ledger: Sequence[Line] = ()
    #: accounts whose books do not agree, by the service's own audit
    drifting: int = 0
    #: per device the limits it had: from when (monotonic) so many calls a second
    limits: Mapping[int, Sequence[tuple[float, float]]] = field(default_factory=dict)
    #: when (monotonic) the answer came that this account's phone is opted out
    opted_out: Mapping[tuple[int, str], float] = field(default_factory=dict)
    logs: str = ""


@dataclass
class Report:
    """What came out, in the shape of RabbitMQ's own Jepsen checker."""

    acknowledged: int = 0
    ok: int = 0
    lost: int = 0
    unexpected: int = 0
    duplicated: int = 0
    recovered: int = 0
    #: handed over or not, nobody can tell; legal, and never sent again unless asked for
    in_doubt: int = 0
    calls: int = 0
    violations: list[str] = field(default_factory=list)

    def found(self, what: str, of: Iterable[Any]) -> int:
        """Note a violation if there is anything of it; answers how much."""
        cases = list(of)
        if cases:
            self.violations.append(f"{what}: {len(cases)}, e.g. {cases[:SHOWN]}")
        return len(cases)


@dataclass
class Asked:
    """A request, with all its answers."""

    size: int
    account: int
    answers: list[Line] = field(default_factory=list)

    @property
    def accepted(self) -> list[list[int]]:
        return [answer["ids"] for answer in self.answers if answer["status"] == 202]

    @property
    def refused(self) -> bool:
        """For certain: any other answer may have come after the commit."""
        last = self.answers[-1]["status"] if self.answers else 0
        return not self.accepted and 400 <= last < 500 and last not in (409, 429)


def check(evidence: Evidence) -> Report:
    """Everything."""
    report = Report(calls=len(evidence.calls))
    rows = {row["id"]: row for row in evidence.rows}
    _accepted(report, evidence, rows)
    _called(report, evidence, rows)
    _credits(report, evidence, rows)
    _rate(report, evidence)
    _events(report, evidence, rows)
    _fence(report, evidence)
    report.found("I12 secrets in logs", SECRETS.findall(evidence.logs))
    return report


def asked(client: Iterable[Line]) -> dict[str, Asked]:
    """The requests of the client's journal by their tags."""
    requests: dict[str, Asked] = {}
    for line in client:
        if "request" in line:
            requests.setdefault(line["request"], Asked(line["size"], line["account"]))
        elif "tag" in line:
            requests[line["tag"]].answers.append(line)
    return requests


def _accepted(report: Report, evidence: Evidence, rows: Mapping[int, Line]) -> None:
    by_tag: dict[str, set[int]] = defaultdict(set)
    for row in rows.values():
        by_tag[(row["reference"] or "none").partition(".")[0]].add(row["id"])
    acknowledged: set[int] = set()
    torn, differing, extra, recovered = [], [], [], 0
    requests = asked(evidence.client)
    for tag, request in requests.items():
        present = by_tag.pop(tag, set())
        if request.accepted:
            ids = request.accepted[0]
            acknowledged.update(ids)
            if any(other != ids for other in request.accepted):
                differing.append(tag)
            extra += list(present - set(ids))
        elif request.refused:
            extra += list(present)
        else:
            recovered += len(present)
            if len(present) not in (0, request.size):
                torn.append((tag, len(present), request.size))
    extra += [id_ for ids in by_tag.values() for id_ in ids]
    stuck = [id_ for id_, row in rows.items() if row["status"] in WAITING]
    report.acknowledged = len(acknowledged)
    report.recovered = recovered
    report.in_doubt = sum(row["status"] == "unconfirmed" for row in rows.values())
    report.lost = report.found("I1 lost", sorted(acknowledged - rows.keys()))
    report.lost += report.found("I1 never finished", sorted(stuck))
    report.ok = len(acknowledged & (rows.keys() - set(stuck)))
    report.unexpected = report.found("I7 rows nobody was promised", sorted(extra))
    report.found("I7 half a request", torn)
    report.found("I8 one key, two answers", differing)


def _called(report: Report, evidence: Evidence, rows: Mapping[int, Line]) -> None:
    taken = Counter(call["id"] for call in evidence.calls if call["accept"])
    backs: dict[int, list[str]] = defaultdict(list)
    for call in evidence.calls:
        if call["accept"]:
            backs[call["id"]] += call["backs"]
    report.duplicated = report.found("I2 sent twice", [i for i, n in taken.items() if n > 1])
    report.unexpected += report.found(
        "I7 sent and unknown", sorted({call["id"] for call in evidence.calls} - rows.keys())
    )
    wrong = []
    for id_, row in rows.items():
        status = row["status"]
        said = max(backs[id_], key=RANK.index, default="") if id_ in backs else ""
        if taken[id_] and said and RANK.index(said) > rank(status):
            wrong.append((id_, status, f"provider says {said}"))
        elif status in ("sent", "delivered", "read") and not taken[id_]:
            wrong.append((id_, status, "never called"))
        elif (status in ENDED_UNSENT or (status == "failed" and said != "failed")) and taken[id_]:
            wrong.append((id_, status, "was sent"))
    report.lost += report.found("I1 the row is not what happened", wrong)
    late = [
        (call["id"], round(call["at"] - since, 3))
        for call in evidence.calls
        if call["id"] in rows
        and (
            since := evidence.opted_out.get(
                (rows[call["id"]]["account_id"], call["phone"]), math.inf
            )
        )
        < call["at"]
    ]
    report.found("I10 sent after the opt-out was answered", late)


def rank(status: str) -> int:
    """Of a status; what was never sent is as good as still waiting."""
    return RANK.index(status) if status in RANK else RANK.index("queued")


def _credits(report: Report, evidence: Evidence, rows: Mapping[int, Line]) -> None:
    for account in evidence.accounts:
        own = [row for row in rows.values() if row["account_id"] == account["account"]]
        back = sum(row["credit"] in ("released", "refunded") for row in own)
        expected = account["granted"] - len(own) + back
        moved: Counter[str] = Counter()
        total = 0
        for entry in evidence.ledger:
            if entry["account"] == account["account"]:
                moved[entry["type"]] += entry["count"]
                total += entry["amount"]
        settled = sum(row["credit"] in ("settled", "refunded") for row in own)
        facts = {
            "balance": (account["balance"], expected),
            "sum of the ledger": (total, expected),
            "reserved": (moved["reserve"], len(own)),
            "given back": (moved["release"] + moved["refund"], back),
            "settled": (moved["settle"], settled),
        }
        for what, (found, right) in facts.items():
            if found != right:
                report.violations.append(
                    f"I3 {what} of account {account['account']}: {found}, not {right}"
                )
        if account["balance"] < 0:
            report.violations.append(f"I3 balance below zero: {account['balance']}")
    wrong = [
        (id_, row["status"], row["credit"])
        for id_, row in rows.items()
        if row["status"] not in WAITING and not _credit_fits(row)
    ]
    report.found("I3 credit of a message", wrong)
    report.found("I3 audit", ["an account drifts"] * evidence.drifting)


def _credit_fits(row: Line) -> bool:
    expected = CREDIT.get(row["status"])
    if expected is None:
        return row["credit"] in ("released", "refunded")
    return bool(row["credit"] == expected)


def _rate(report: Report, evidence: Evidence) -> None:
    by_device: dict[int, list[Span]] = defaultdict(list)
    for call in evidence.calls:
        by_device[call["device"]].append((call["before"], call["at"]))
    for device, limits in evidence.limits.items():
        times = sorted(by_device[device])
        ends = [since for since, _ in limits[1:]] + [math.inf]
        for (since, per_second), until in zip(limits, ends, strict=True):
            own = [span for span in times if since <= span[1] < until]
            report.found(f"I4 device {device} over {per_second}/s", too_close(own, per_second))


def too_close(times: Sequence[Span], per_second: float) -> list[tuple[float, float]]:
    """Every i with t[i+N] - t[i] < W, N calls being allowed in any W seconds.

    The time of a call is known to lie between two readings of the clock, some microseconds apart
    unless the process lost its processor there; what they leave open is not held against it.
    """
    calls = max(1, math.floor(per_second))
    window = calls / per_second
    return [
        (first, round(last - first, 4))
        for (first, _), (_, last) in zip(times, times[calls:], strict=False)
        if last - first < window
    ]


def _events(report: Report, evidence: Evidence, rows: Mapping[int, Line]) -> None:
    seen: dict[int, dict[int, str]] = defaultdict(dict)
    foreign, changed = [], []
    for event in evidence.events:
        if "seq" not in event:
            continue
        before = seen[event["id"]].setdefault(event["seq"], event["status"])
        if before != event["status"]:
            changed.append(event["id"])
        row = rows.get(event["id"])
        if row is None or row["account_id"] != event["account"]:
            foreign.append(event["id"])
    report.found("I5 one number, two events", changed)
    late = [(id_, list(heard)) for id_, heard in seen.items() if list(heard) != sorted(heard)]
    report.found("I5 heard for the first time after a later one", late)
    report.found("I6 events of an unknown message or of another account", foreign)
    backwards: list[Any] = []
    missing: list[Any] = []
    for id_, row in rows.items():
        told = [seen[id_][seq] for seq in sorted(seen[id_])]
        if sorted(seen[id_]) != list(range(1, row["seq"] + 1)):
            missing.append((id_, sorted(seen[id_]), row["seq"]))
        elif told and told[-1] != row["status"] and row["status"] not in WAITING:
            missing.append((id_, told, row["status"]))
        ranks = [RANK.index(status) for status in told if status in RANK]
        # In doubt once more, each time with another try: the one more that is allowed, or one after
        # its dispatcher was heard of after all, and had not called.
        doubts = ranks.count(RANK.index("unconfirmed"))
        if set(ranks[:doubts]) == {RANK.index("unconfirmed")} and doubts <= row["attempt"]:
            del ranks[1:doubts]
        if ranks != sorted(set(ranks)):
            backwards.append((id_, told))
    report.found("I5 status went back", backwards)
    report.lost += report.found("I1 events missing", missing)


def _fence(report: Report, evidence: Evidence) -> None:
    """A process that stands still between its last look and the write cannot know of an heir: only
    who is called can refuse it, by the epoch. So the time of that look is what counts."""
    since: dict[int, dict[int, float]] = defaultdict(dict)
    for call in evidence.calls:
        begun = since[call["device"]]
        begun[call["epoch"]] = min(call["at"], begun.get(call["epoch"], call["at"]))
    stale = [
        (call["id"], call["epoch"], call["at"] - call["before"])
        for call in evidence.calls
        for epoch, at in since[call["device"]].items()
        if epoch > call["epoch"] and at < call["before"]
    ]
    report.found("fence: a call by a former owner", stale)
