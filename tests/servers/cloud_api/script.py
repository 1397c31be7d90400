"""What the local Cloud API is told to do, by number and by recipient."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """How a request may go wrong below the level of an answer."""

    #: the message is taken, and no answer ever comes
    HANG_AFTER_ACCEPT = "hang_after_accept"
    #: the request is read, the message is not taken, and the connection is reset
    RESET = "reset"
    #: the message is taken, and the connection is reset before the answer
    RESET_AFTER_ACCEPT = "reset_after_accept"
    #: the message is taken, and the answer breaks off in the middle
    HALF_ANSWER = "half_answer"
    #: the message is taken, and the answer is no JSON
    GARBAGE = "garbage"
    #: the message is not taken, and the answer is an error under status 200
    ERROR_WITH_200 = "error_with_200"
    #: the message is taken, and the answer goes on for 100 MB
    ENDLESS_ANSWER = "endless_answer"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What happens to messages to one phone, in the order of its fields."""

    #: HTTP status and Meta code of an error answer, for the first `errors` calls (0: for all)
    error: tuple[int, int] | None = None
    errors: int = 0
    #: for the first `faults` calls (0: for all)
    fault: Fault | None = None
    faults: int = 0
    latency_seconds: float = 0.0
    #: the callbacks of a message that was taken, in this order
    statuses: tuple[str, ...] = ("sent", "delivered")
    #: whether the answer comes only once the callbacks were taken
    called_back_first: bool = False
    #: the Meta code in a `failed` callback
    failure: int = 131026
    #: a text the person writes back after the callbacks
    reply: str | None = None


@dataclass(slots=True)
class Number:
    """One business phone number, and the app and account it belongs to."""

    phone_number_id: str
    business_account_id: str
    access_token: str
    app_secret: str
    display_phone_number: str = "60300000000"
    #: names and languages of its approved templates, with the number of body parameters
    templates: dict[tuple[str, str], int] = field(default_factory=dict)
    #: calls a second in any window of one second, as 130429 has it; None is no limit
    per_second: int | None = None
    quality_rating: str = "GREEN"
    messaging_limit_tier: str | None = "TIER_1K"
    portfolio_limit: str | None = "TIER_2K"
    #: phones that wrote within 24 hours; None: every phone did
    windows: set[str] | None = None
    taken_at: deque[float] = field(default_factory=deque)

    def throttles(self, now: float) -> bool:
        """Whether a call at this moment is one too many; one that is not counts."""
        if self.per_second is None:
            return False
        while self.taken_at and self.taken_at[0] <= now - 1.0:
            self.taken_at.popleft()
        if len(self.taken_at) >= self.per_second:
            return True
        self.taken_at.append(now)
        return False
