"""The link to the page that shows a device's code: signed, for one device, good for ten minutes."""

from __future__ import annotations

import base64
import hmac

GOOD_SECONDS = 600
#: Below the public address; device and token follow.
PATH = "/link/"
_PURPOSE = b"hantar code page\0"
_NUMBER_BYTES = 8
_SIGNATURE_BYTES = 16


def code_link(begin: str, secret: bytes, device_id: int, now: float) -> str:
    """A link that is handed out now (seconds since the epoch); it begins with `begin`."""
    until = (int(now) + GOOD_SECONDS).to_bytes(_NUMBER_BYTES)
    token = base64.urlsafe_b64encode(until + _sign(secret, device_id, until)).decode()
    return f"{begin}{PATH}{device_id}/{token}"


def good_until(secret: bytes, device_id: int, token: str) -> int | None:
    """Until when (seconds since the epoch) it is good; None when it was not made here for it."""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except ValueError:
        return None
    until, signature = raw[:_NUMBER_BYTES], raw[_NUMBER_BYTES:]
    if not hmac.compare_digest(signature, _sign(secret, device_id, until)):
        return None
    return int.from_bytes(until)


def _sign(secret: bytes, device_id: int, until: bytes) -> bytes:
    said = _PURPOSE + device_id.to_bytes(_NUMBER_BYTES) + until
    return hmac.digest(secret, said, "sha256")[:_SIGNATURE_BYTES]
