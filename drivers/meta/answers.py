"""From what a call came to, to its outcome."""

from __future__ import annotations

from typing import Any

import orjson
import structlog

from drivers.driver import Outcome, Rule, Sent, Unconfirmed
from drivers.meta.errors import RULES, UNKNOWN, rule_of, rule_of_status
from drivers.meta.wire import Answered
from service.telemetry import metrics

log = structlog.get_logger(__name__)

NO_ANSWER = Unconfirmed("no_answer")


class Codes:
    """Counts the codes that come, those of the table from zero."""

    def __init__(self) -> None:
        for code in RULES:
            metrics.META_ERRORS.labels(metrics.META_CODES(str(code)))

    def count(self, code: int) -> Rule:
        """The rule of a code that came, once it is counted and, when unknown, told aloud."""
        rule = rule_of(code)
        if rule is UNKNOWN:
            log.warning("meta_code_unknown", code=code)
        metrics.META_ERRORS.labels(metrics.META_CODES(str(code))).inc()
        return rule


def outcome_of(answer: Answered, codes: Codes) -> Outcome:
    """What an answer says of the message.

    Meta's own word that it failed is believed whatever the HTTP status; a 5xx without it, or a
    success without an id, may have been accepted.
    """
    document = _object(answer.body)
    code = _code(document)
    if code is not None:
        if codes.count(code) is UNKNOWN and answer.status >= 500:
            return NO_ANSWER
        return outcome_by(rule_of(code), code)
    if 200 <= answer.status < 300:
        provider_id = _provider_id(document)
        return Sent(provider_id) if provider_id else NO_ANSWER
    rule = rule_of_status(answer.status)
    return NO_ANSWER if rule is None else outcome_by(rule, answer.status)


def outcome_by(rule: Rule, code: int) -> Outcome:
    """The outcome that a rule prescribes; the code is kept for whoever asks."""
    return rule.outcome(f" (code {code})")


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _code(document: dict[str, Any]) -> int | None:
    error = document.get("error")
    if not isinstance(error, dict):
        return None
    code = error.get("code")
    return code if isinstance(code, int) and not isinstance(code, bool) else -1


def _provider_id(document: dict[str, Any]) -> str | None:
    messages = document.get("messages")
    if not (isinstance(messages, list) and messages and isinstance(messages[0], dict)):
        return None
    found = messages[0].get("id")
    return found if isinstance(found, str) and 0 < len(found) <= 200 else None
