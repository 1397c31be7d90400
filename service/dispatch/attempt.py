"""One driver call for each claimed message: the last checks before it, the decision after it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from prometheus_client import Counter, Histogram

from drivers.driver import Driver, Failed, Outcome, Retry, Scope, Send, Sent, Unconfirmed
from service import failpoints
from service.core.lifecycle import LONGEST_TEXT_CHARS, NO_MARKETING, REFUSED, Change, Hold, Status
from service.core.pacing import Pacer
from service.core.retry import GiveUp, decide
from service.core.text import storable
from service.dispatch.claims import Claimed
from service.dispatch.packs import Entry
from service.telemetry import metrics, tracing

#: A driver that has not returned by then is cut off; drivers have shorter limits of their own.
CALL_SECONDS = 60.0
#: From here on a figure leads to its trace; of the fast ones nobody asks, and it is not for free.
SLOW_SECONDS = 0.25
# Looked up once: by labels it costs more than to count.
_AGE = [metrics.AGE_AT_SEND.labels(priority) for priority in metrics.PRIORITIES]
_DELAY = [metrics.DELAY.labels(priority) for priority in metrics.PRIORITIES]


@cache
def _call_metrics(driver: str, outcome: str) -> tuple[Counter, Histogram]:
    return (
        metrics.CALLS.labels(driver, outcome.lower()),
        metrics.CALL_SECONDS.labels(driver),
    )


@dataclass(frozen=True, slots=True)
class Planned:
    """A claimed message with its slot."""

    entry: Entry
    claimed: Claimed
    #: the one that gave the slot out
    pacer: Pacer
    slot: int
    at: float
    #: since when its device would have let it through (monotonic)
    free_at: float


def _observe(histogram: Histogram, seconds: float, plan: Planned) -> None:
    slow = seconds >= SLOW_SECONDS
    histogram.observe(seconds, tracing.exemplar_of(plan.claimed.traceparent) if slow else None)


class Attempt:
    """The report of one `Driver.send`: guards each call, collects each outcome."""

    def __init__(
        self,
        planned: Sequence[Planned],
        pacer: Pacer,
        driver: str,
        outcome: Callable[[Planned, Outcome], None],
    ) -> None:
        self._planned = {plan.claimed.message_id: plan for plan in planned}
        self._pacer = pacer
        self._driver = driver
        self._outcome = outcome
        self._begun: dict[int, float] = {}
        self._unpaced: set[int] = set()

    def begin(self, send: Send) -> bool:
        """Whether the call may be made right now: claim and lease still good, the slot free."""
        plan = self._planned.get(send.message_id)
        if plan is None:
            return False
        now = time.monotonic()
        if now > plan.claimed.good_until or now > plan.claimed.lease.until:
            return False
        if not self._pacer.begin(plan.slot, now):
            self._unpaced.add(send.message_id)
            return False
        # Nothing more here: whatever is done between this and the call makes the call late.
        self._begun[send.message_id] = now
        return True

    def made(self, sends: Sequence[Send]) -> None:
        """The requests of what was begun are written: later calls keep their distance from now."""
        now = time.monotonic()
        begun = [plan for send in sends if (plan := self._planned.get(send.message_id))]
        if begun:
            since = self._begun[begun[0].claimed.message_id]
            self._pacer.made([plan.slot for plan in begun], since, now)

    def done(self, send: Send, outcome: Outcome) -> None:
        """The outcome of a call that was begun; a second one for the same call is ignored."""
        plan = self._planned.pop(send.message_id, None)
        if plan is None:
            return
        calls, call_seconds = _call_metrics(self._driver, type(outcome).__name__)
        calls.inc()
        _observe(call_seconds, self._observe_wait(plan), plan)
        self._outcome(plan, outcome)

    def _observe_wait(self, plan: Planned) -> float:
        """Count how long the message had waited for its call; answers how long ago that was."""
        begun = self._begun.pop(plan.claimed.message_id)
        took = time.monotonic() - begun
        age = (datetime.now(UTC) - plan.claimed.due_at).total_seconds() - took
        _observe(_AGE[plan.entry.priority], max(age, 0.0), plan)
        if plan.entry.pack is not None and plan.claimed.attempt == 1:
            delay = max(min(age, begun - plan.free_at), 0.0)
            _observe(_DELAY[plan.entry.priority], delay, plan)
        return took

    def lapsed(self, plan: Planned) -> bool:
        """Whether it was left for another reason than that its device was slowed down meanwhile.

        One refused though nothing slowed it was late, and so are those behind it: they must not
        go before it comes again.
        """
        slowed = self._pacer.throttle.factor(time.monotonic()) < 1.0
        return plan.claimed.message_id not in self._unpaced or not slowed

    def leftovers(self) -> tuple[list[Planned], list[Planned]]:
        """What the driver returned without: calls begun and never reported, and never begun.

        Nothing can be begun or reported after this, as what is left goes its own way now.
        """
        begun = [plan for id_, plan in self._planned.items() if id_ in self._begun]
        never = [plan for id_, plan in self._planned.items() if id_ not in self._begun]
        self._planned.clear()
        for plan in begun:
            self._observe_wait(plan)
        return begun, never


async def call(
    driver: Driver, device_id: int, planned: Sequence[Planned], attempt: Attempt
) -> None:
    """Send one batch, for a bounded time; `attempt.leftovers` says what came of it not at all."""
    sends = [_send(device_id, plan) for plan in planned]
    async with asyncio.timeout(CALL_SECONDS):
        failpoints.hit("call.before")
        await driver.send(sends, attempt)
        failpoints.hit("call.answered")


def _send(device_id: int, plan: Planned) -> Send:
    claimed = plan.claimed
    return Send(
        claimed.message_id,
        claimed.attempt,
        device_id,
        claimed.epoch,
        claimed.phone,
        claimed.body,
        claimed.options,
        claimed.traceparent,
    )


def change_after(plan: Planned, outcome: Outcome) -> tuple[Change, float | None]:
    """What an outcome makes of the message, and for how long its device has to hold, if at all."""
    claimed = plan.claimed
    now = datetime.now(UTC)
    match outcome:
        case Sent(provider_id):
            return _change(claimed, Status.SENT, now, provider_id=_clean(provider_id)), None
        case Failed(code, detail):
            change = _change(claimed, Status.FAILED, now, code=code, detail=detail)
            return replace(change, hold=_hold_after(outcome, now)), None
        case Unconfirmed(code):
            return _change(claimed, Status.UNCONFIRMED, now, code=code), None
        case Retry(code, after_seconds, scope, counts):
            decision = decide(
                attempts=claimed.attempts,
                counts=counts,
                after_seconds=after_seconds,
                jitter=random.random(),
            )
            if isinstance(decision, GiveUp):
                given_up = f"Given up after {claimed.attempts + 1} attempts."
                detail = f"{outcome.detail} {given_up}" if outcome.detail else given_up
                return _change(claimed, Status.FAILED, now, code=code, detail=detail), None
            wide = scope is Scope.DEVICE
            until = now + timedelta(seconds=decision.after_seconds)
            change = Change(
                claimed.message_id,
                claimed.attempt,
                Status.QUEUED,
                now,
                error_code=_clean(code),
                error_detail=_clean(outcome.detail) if outcome.detail else None,
                not_before=until,
                reason="throttled" if wide or outcome.slows else "held",
                counted=1 if counts else 0,
                hold=_hold(outcome, until),
            )
            return change, decision.after_seconds if wide else None


def _hold_after(failed: Failed, now: datetime) -> Hold | None:
    if failed.scope is Scope.TEMPLATE:
        return Hold(failed.scope, None, _clean(failed.code))
    if failed.known_seconds is not None:
        scope = NO_MARKETING if failed.marketing else REFUSED
        return Hold(scope, now + timedelta(seconds=failed.known_seconds), _clean(failed.code))
    return None


def _hold(retry: Retry, until: datetime) -> Hold | None:
    if retry.scope is Scope.MESSAGE:
        return None
    return Hold(retry.scope, None if retry.pauses else until, _clean(retry.code))


def _change(
    claimed: Claimed,
    status: Status,
    at: datetime,
    *,
    provider_id: str | None = None,
    code: str | None = None,
    detail: str | None = None,
) -> Change:
    return Change(
        claimed.message_id,
        claimed.attempt,
        status,
        at,
        provider_id=provider_id,
        error_code=_clean(code) if code else None,
        error_detail=_clean(detail) if detail else None,
        counted=1,
    )


def _clean(text: str) -> str:
    return storable(text, LONGEST_TEXT_CHARS)
