"""API keys: made, recognised without a look-up, and stored only as a hash."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from zlib import crc32

_PREFIX = "hantar_live_"
_ALPHABET = string.digits + string.ascii_letters
_RANDOM_CHARS = 32  # 190 bits
_CHECKSUM_CHARS = 6  # the fewest that hold 32 bits in base 62
_SHAPE = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{{_RANDOM_CHARS + _CHECKSUM_CHARS}}}")


def new_key() -> str:
    """A new secret key that nobody can guess."""
    unsigned = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return unsigned + _checksum(unsigned)


def derived_key(seed: bytes) -> str:
    """The key that belongs to a secret seed of 32 bytes or more, always the same."""
    rest = int.from_bytes(hashlib.sha512(seed).digest())
    digits = []
    for _ in range(_RANDOM_CHARS):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    unsigned = _PREFIX + "".join(digits)
    return unsigned + _checksum(unsigned)


def well_formed(key: str) -> bool:
    """Whether the text can be a key at all: mistyped, cut and foreign ones need no database."""
    if _SHAPE.fullmatch(key) is None:
        return False
    return _checksum(key[:-_CHECKSUM_CHARS]) == key[-_CHECKSUM_CHARS:]


def key_hash(key: str) -> bytes:
    """SHA-256 of the key, the only form in which it is stored."""
    # A key has too much entropy to be guessed from its hash, so a slow hash would add nothing.
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def _checksum(unsigned: str) -> str:
    rest = crc32(unsigned.encode())
    digits = []
    for _ in range(_CHECKSUM_CHARS):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
