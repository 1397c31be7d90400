"""The token in a verification mail: signed, for one account and address, good for a day."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

GOOD_SECONDS = 24 * 3600
_PURPOSE = b"hantar verify e-mail\0"
_NUMBER_BYTES = 8
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class EmailToken:
    """What a token says: who holds it read the mail that went to this account's address."""

    account_id: int
    #: seconds since the epoch
    expires_at: int
    address_digest: bytes

    def is_for(self, address: str) -> bool:
        """Whether this is the address it was sent to."""
        return hmac.compare_digest(self.address_digest, _digest(address))


def make_token(secret: bytes, account_id: int, address: str, now: float) -> str:
    """A token to be sent to this address now (seconds since the epoch)."""
    expires_at = int(now) + GOOD_SECONDS
    said = account_id.to_bytes(_NUMBER_BYTES) + expires_at.to_bytes(_NUMBER_BYTES)
    said += _digest(address)
    return _text(said + _sign(secret, said))


def read_token(secret: bytes, token: str) -> EmailToken | None:
    """What the token says, or None if it is not one of ours."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    said, signature = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
    # Several texts can stand for the same bytes.
    if not hmac.compare_digest(signature, _sign(secret, said)) or _text(raw) != token:
        return None
    account_id = int.from_bytes(said[:_NUMBER_BYTES])
    expires_at = int.from_bytes(said[_NUMBER_BYTES : 2 * _NUMBER_BYTES])
    return EmailToken(account_id, expires_at, said[2 * _NUMBER_BYTES :])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(address: str) -> bytes:
    return hashlib.sha256(address.lower().encode()).digest()[:_DIGEST_BYTES]


def _sign(secret: bytes, said: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + said, "sha256")[:_DIGEST_BYTES]
