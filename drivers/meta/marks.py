"""Our mark on a message at Meta, which comes back with every status of it.

It names the message and the attempt, and proves that this installation made it for this device:
another business that calls back here cannot speak of messages that are not its own.
"""

from __future__ import annotations

import hashlib
import hmac

#: Bytes of the proof; a forger has one try a webhook.
_PROOF_BYTES = 12


def mark(secret: bytes, device_id: int, message_id: int, attempt: int) -> str:
    """The mark of an attempt, below Meta's limit of 512 characters."""
    text = f"{message_id}.{attempt}"
    return f"{text}.{_proof(secret, device_id, text)}"


def read_mark(secret: bytes, device_id: int, given: object) -> tuple[int, int] | None:
    """The message id and the attempt; None when it was not made here for this device."""
    if not isinstance(given, str) or len(given) > 100:
        return None
    text, _, proof = given.rpartition(".")
    if not hmac.compare_digest(
        proof.encode("utf-8", "replace"), _proof(secret, device_id, text).encode()
    ):
        return None
    message_id, _, attempt = text.partition(".")
    return int(message_id), int(attempt)


def _proof(secret: bytes, device_id: int, text: str) -> str:
    made = hmac.new(
        secret, f"meta mark {device_id} {text}".encode("utf-8", "replace"), hashlib.sha256
    )
    return made.digest()[:_PROOF_BYTES].hex()
