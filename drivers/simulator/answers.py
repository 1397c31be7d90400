"""What the simulated WhatsApp answers to a call, and which callbacks it then owes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from drivers.driver import (
    Callback,
    Inbound,
    Outcome,
    Send,
    Sent,
    Unconfirmed,
)
from drivers.simulator.numbers import Reply, Script, Step, script_for
from drivers.simulator.outcomes import RULES, marked

#: Callbacks of one instant travel together, up to so many.
OWED_PACK = 50


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier calls left of a message."""

    calls: int = 0
    #: of the call that a message came of
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one call."""

    outcome: Outcome
    #: Whether a message came of the call; it may, without the caller being told so.
    accepted: bool = False
    after_seconds: float = 0.0


class Owed(msgspec.Struct):
    """Callbacks that fall due together."""

    due_at: datetime
    statuses: list[Callback] = []
    inbound: list[Inbound] = []


def answer(send: Send, known: Known, *, repeats: bool) -> Answer:
    """The answer to this call; with `repeats` only one message ever comes of an id."""
    script = script_for(send.phone)
    code = _refusal(script, send.body, known.calls)
    if code is not None:
        return Answer(RULES[code].outcome())
    first = known.attempt if repeats else None
    if script.silent:
        outcome: Outcome = Unconfirmed("no_answer")
    else:
        outcome = Sent(_provider_id(send.message_id, send.attempt if first is None else first))
    return Answer(outcome, accepted=first is None, after_seconds=script.slow_seconds)


def _refusal(script: Script, body: str, calls: int) -> str | None:
    """The code that this call meets after so many others for its message."""
    mark = marked(body)
    if mark is not None and calls < mark[1]:
        return mark[0]
    if script.fails is not None:
        return script.fails
    if calls < script.throttled:
        return "throttled"
    if calls < script.throttled + script.errors:
        return "passing_error"
    return None


def owed(accepted: Iterable[Send], now: datetime) -> list[Owed]:
    """The callbacks for these messages, those of one moment packed together."""
    packs: dict[float, Owed] = {}
    full = []
    for send in accepted:
        for step in script_for(send.phone).steps:
            pack = packs.get(step.after_seconds)
            if pack is None:
                due_at = now + timedelta(seconds=step.after_seconds)
                pack = packs[step.after_seconds] = Owed(due_at)
            if isinstance(step, Reply):
                pack.inbound.append(_inbound(send, step, pack.due_at))
            else:
                pack.statuses.append(_callback(send, step, pack.due_at))
            if len(pack.statuses) + len(pack.inbound) == OWED_PACK:
                full.append(packs.pop(step.after_seconds))
    return full + list(packs.values())


def _callback(send: Send, step: Step, at: datetime) -> Callback:
    return Callback(
        send.message_id,
        send.attempt,
        step.status,
        at,
        _provider_id(send.message_id, send.attempt),
        step.error_code,
        step.error_detail,
    )


def _inbound(send: Send, reply: Reply, at: datetime) -> Inbound:
    return Inbound(send.device_id, send.phone, reply.text, f"in.{send.message_id}", at)


def _provider_id(message_id: int, attempt: int) -> str:
    return f"sim.{message_id}.{attempt}"
