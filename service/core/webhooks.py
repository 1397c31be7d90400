"""Outgoing webhooks as https://www.standardwebhooks.com has them: secret, signature, schedule."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable

_SECRET_BYTES = 32
_PREFIX = "whsec_"
#: Between tries: at once, then ever later, over a day and four hours.
DELAYS_SECONDS = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
#: A wish of the receiver (Retry-After) counts up to here.
LONGEST_WISH_SECONDS = 3600.0
#: With so many failures in a row an endpoint is tried singly, and ever less often.
FAILURES_TO_CLOSE = 5
_FIRST_CLOSED_SECONDS = 10.0
_LONGEST_CLOSED_SECONDS = 600.0
_JITTER = 0.2


def new_secret() -> str:
    """A secret in its written form, `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature(written_secrets: Iterable[str], event_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one signature for each secret, the new one first."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(_key(written), signed, "sha256")).decode()
        for written in written_secrets
    )


def _key(written: str) -> bytes:
    return base64.b64decode(written.removeprefix(_PREFIX))


def delay_seconds(attempts: int, jitter: float) -> float | None:
    """How long after failed try number `attempts` the next comes; None when that was the last.

    `jitter` is a number in 0…1 that spreads the tries over a fifth of the delay, later only.
    """
    if attempts > len(DELAYS_SECONDS):
        return None
    return DELAYS_SECONDS[attempts - 1] * (1.0 + _JITTER * jitter)


def closed_seconds(failures: int, wish_seconds: float | None) -> float:
    """How long an endpoint is left alone after its so many-th failure in a row."""
    wish = min(max(wish_seconds or 0.0, 0.0), LONGEST_WISH_SECONDS)
    if failures < FAILURES_TO_CLOSE:
        return wish
    closed = _FIRST_CLOSED_SECONDS * 2.0 ** min(failures - FAILURES_TO_CLOSE, 10)
    return max(wish, min(closed, _LONGEST_CLOSED_SECONDS))
