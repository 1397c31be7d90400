"""The simulator's table of refusals: what each code means, as a provider's documentation would."""

from __future__ import annotations

import re

from drivers.driver import Action, Rule, Scope

RULES: dict[str, Rule] = {
    "not_on_whatsapp": Rule(Action.FAIL, "the number is not on WhatsApp"),
    "passing_error": Rule(Action.RETRY, "a passing error"),
    "throttled": Rule(Action.RETRY, "the device sends too fast", Scope.DEVICE, 1.0, counts=False),
    "recipient_limit": Rule(
        Action.RETRY, "too many messages to this person", Scope.RECIPIENT, 3.0, counts=False
    ),
    "template_paused": Rule(
        Action.RETRY, "the template is paused", Scope.TEMPLATE, 3.0, counts=False
    ),
    "account_limit": Rule(
        Action.RETRY, "the account sends too much", Scope.ACCOUNT, 3.0, counts=False
    ),
    "unreachable": Rule(Action.RETRY, "the provider is down", Scope.DEVICE, None, counts=False),
    "device_blocked": Rule(Action.PAUSE, "the number is blocked", Scope.DEVICE, counts=False),
    "token_refused": Rule(Action.PAUSE, "the token is refused", Scope.ACCOUNT, counts=False),
}

_MARK = re.compile(r"#simulate (\w+)(?: (\d{1,3}))?(?: |$)")


def marked(body: str) -> tuple[str, int] | None:
    """A code that the text asks for and how many first calls meet it, if it begins with a mark."""
    mark = _MARK.match(body)
    if mark is None or mark[1] not in RULES:
        return None
    return mark[1], int(mark[2] or 1)
