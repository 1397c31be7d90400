"""The simulator's table of refusals: what each code means, as a provider's documentation would."""

from __future__ import annotations

import re

from drivers.driver import Action, Rule, Scope

_HELD_SECONDS = 3.0
_TABLE = (
    Rule("not_on_whatsapp", Scope.MESSAGE, Action.FAIL, "the number is not on WhatsApp"),
    Rule("passing_error", Scope.MESSAGE, Action.RETRY, "a passing error", counts=True),
    Rule("throttled", Scope.DEVICE, Action.HOLD, "the device sends too fast", 1.0, slows=True),
    Rule("unreachable", Scope.DEVICE, Action.HOLD, "the provider cannot be reached"),
    Rule("recipient_limit", Scope.RECIPIENT, Action.HOLD, "too much for one", _HELD_SECONDS),
    Rule("template_paused", Scope.TEMPLATE, Action.HOLD, "the template rests", _HELD_SECONDS),
    Rule("account_limit", Scope.ACCOUNT, Action.HOLD, "the account sends much", _HELD_SECONDS),
    Rule("device_blocked", Scope.DEVICE, Action.PAUSE, "the number is blocked"),
    Rule("token_refused", Scope.ACCOUNT, Action.PAUSE, "the token is refused"),
)
RULES = {rule.name: rule for rule in _TABLE}

_MARK = re.compile(r"#simulate (\w+)(?: (\d{1,3}))?(?: |$)")


def marked(body: str) -> tuple[str, int] | None:
    """A code that the text asks for and how many first calls meet it, if it begins with a mark."""
    mark = _MARK.match(body)
    if mark is None or mark[1] not in RULES:
        return None
    return mark[1], int(mark[2] or 1)
