"""Secrets at rest: sealed with a key that lies in a file, not in the database."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_VERSION = 1
_ID_BYTES = 4
_NONCE_BYTES = 12
_MARK_CHARS = 32
_HEAD_BYTES = 1 + _ID_BYTES + _NONCE_BYTES


class CannotUnseal(Exception):
    """Sealed with another key or for another purpose, or altered."""


class NoKey(Exception):
    """There is no key to seal with."""


def new_key() -> str:
    """A line for the key file."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def read_keys(text: str) -> list[bytes]:
    """The keys of a key file, one base64 line each, the first one in use; raises ValueError."""
    lines = [line.strip() for line in text.splitlines()]
    keys = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        try:
            key = base64.b64decode(line, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(f"line {number} is not {KEY_BYTES} bytes in base64")
        keys.append(key)
    return keys


class Seal:
    """Seals with AES-256-GCM under the first key, unseals under any of them.

    What is sealed for one purpose does not open for another. Sealed bytes are a version, the id of
    the key, a nonce, and the cipher text with its tag.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_key_id(key): AESGCM(key) for key in keys}
        self._current = _key_id(keys[0]) if keys else None
        self._marking = keys[0] if keys else b""

    def seal(self, text: str, purpose: str) -> bytes:
        """The text, sealed; raises NoKey."""
        if self._current is None:
            raise NoKey
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._keys[self._current].encrypt(nonce, text.encode(), purpose.encode())
        return bytes([_VERSION]) + self._current + nonce + sealed

    def mark(self, text: str, purpose: str) -> str:
        """The same for the same text under the first key, and nothing else can be told from it."""
        if self._current is None:
            raise NoKey
        made = hmac.new(self._marking, f"mark {purpose} {text}".encode(), hashlib.sha256)
        return made.hexdigest()[:_MARK_CHARS]

    def unseal(self, sealed: bytes, purpose: str) -> str:
        """The text; raises CannotUnseal."""
        key = self._keys.get(sealed[1 : 1 + _ID_BYTES])
        if key is None or len(sealed) < _HEAD_BYTES or sealed[0] != _VERSION:
            raise CannotUnseal("sealed with a key that is not in the key file")
        nonce = sealed[1 + _ID_BYTES : _HEAD_BYTES]
        try:
            return key.decrypt(nonce, sealed[_HEAD_BYTES:], purpose.encode()).decode()
        except InvalidTag:
            raise CannotUnseal("altered, or sealed for another purpose") from None


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"hantar key id" + key).digest()[:_ID_BYTES]
