"""Commands that nobody can be told about: kept with the reason, up to a bound."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from service.bus.bus import Bus, Outgoing
from service.bus.delivery import Delivery
from service.bus.topology import COMMANDS_DEAD, DEAD, DEAD_COMMANDS_LIMITS
from service.intake.envelope import Poison
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Of a longer body only so much is kept; it was refused for its length, or will be.
KEEP_BYTES = 1024 * 1024
#: Of one user so many are kept at once, as many as the queue of the dead can hold, and so many a
#: second from then on; others are counted only, so that garbage costs no more than reading it.
MOST_KEPT = DEAD_COMMANDS_LIMITS[0]
KEPT_PER_SECOND = 10.0
#: Users told apart; publishing needs an account at the broker, so there are few.
MOST_USERS = 1000


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float


class DeadLetters:
    """Buries poison with what it takes to see why, and to bring it back."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._allowances: dict[str, _Allowance] = {}

    async def bury(self, delivery: Delivery, poison: Poison) -> None:
        """Keep it among the dead, then ack it; raises PublishFailed and has done nothing then."""
        kept = self._may_keep(delivery.user_id or "")
        if kept:
            await self._bus.publish(_dead_letter(delivery, poison))
            log.warning("command_buried", reason=poison.reason, user=delivery.user_id)
        await delivery.ack()
        reason = metrics.POISONS(poison.reason)
        metrics.COMMANDS_BURIED.labels(reason, "yes" if kept else "no").inc()

    def _may_keep(self, user: str) -> bool:
        now = time.monotonic()
        allowance = self._allowances.pop(user, None) or _Allowance(MOST_KEPT, now)
        refilled = allowance.left + (now - allowance.at) * KEPT_PER_SECOND
        allowance.left, allowance.at = min(MOST_KEPT, refilled), now
        kept = allowance.left >= 1
        if kept:
            allowance.left -= 1
        self._allowances[user] = allowance
        if len(self._allowances) > MOST_USERS:
            del self._allowances[next(iter(self._allowances))]
        return kept


def _dead_letter(delivery: Delivery, poison: Poison) -> Outgoing:
    given = {
        "routing-key": delivery.routing_key,
        "type": delivery.type,
        "message-id": delivery.message_id,
        "user-id": delivery.user_id,
        "reply-to": delivery.reply_to,
        "content-type": delivery.content_type,
        "content-encoding": delivery.content_encoding,
        "reason": poison.reason,
        "detail": poison.detail,
        "bytes": str(len(delivery.body)),
    }
    return Outgoing(
        exchange=DEAD,
        routing_key=COMMANDS_DEAD,
        body=delivery.body[:KEEP_BYTES],
        type=delivery.type or "",
        # The broker would refuse another's user_id, and ids are told apart while in flight.
        headers={f"hantar-{name}": value for name, value in given.items() if value},
    )
