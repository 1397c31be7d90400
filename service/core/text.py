"""What any text given to us must be before it is stored or sent."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping

BODY_LIMIT_CHARS = 4096
ATTRIBUTES_LIMIT = 50
ATTRIBUTE_LIMIT_CHARS = 1024
#: Arrays and objects inside each other; JSON writers, ours included, give up at a few hundred.
DEPTH_LIMIT = 50

_ATTRIBUTE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# Letters, marks and symbols by category, but nothing on the screen: fillers of Hangul and Braille,
# the grapheme joiner, inherent vowels of Khmer, variation selectors.
_DRAWN_BLANK = frozenset(
    "\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f"
    + "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
)


def body_error(text: str) -> str | None:
    """Why the text cannot be the body of a message, in one sentence, or None."""
    return name_error(text, BODY_LIMIT_CHARS)


def name_error(text: str, limit_chars: int) -> str | None:
    """Why the text cannot be a name or mark of at most so many code points, or None."""
    if not text:
        return "Must not be empty."
    return _content_error(text, limit_chars) or _blank_error(text)


def attributes_error(value: Mapping[str, object]) -> str | None:
    """Why the object cannot be the attributes of a contact, in one sentence, or None."""
    if len(value) > ATTRIBUTES_LIMIT:
        return f"Must have at most {ATTRIBUTES_LIMIT} keys, not {len(value)}."
    for name, attribute in value.items():
        if _ATTRIBUTE_NAME.fullmatch(name) is None:
            # ascii(): the name may hold what cannot be encoded in the answer.
            return f"The key {name[:64]!a} must match {_ATTRIBUTE_NAME.pattern}."
        error = _attribute_error(attribute)
        if error is not None:
            return f"{name}: {error}"
    return None


def json_error(value: object) -> str | None:
    """Why a JSON value of any shape cannot be stored, in one sentence, or None."""
    pending: list[tuple[object, int]] = [(value, 1)]
    error: str | None = None
    while pending and error is None:
        part, depth = pending.pop()
        if isinstance(part, dict | list):
            if depth > DEPTH_LIMIT:
                return f"Must be nested at most {DEPTH_LIMIT} levels deep."
            within = [*part, *part.values()] if isinstance(part, dict) else part
            pending += [(each, depth + 1) for each in within]
        elif isinstance(part, str):
            error = _content_error(part, len(part))
        else:
            error = _attribute_error(part)
    return error


def _attribute_error(attribute: object) -> str | None:
    if isinstance(attribute, str):
        return _content_error(attribute, ATTRIBUTE_LIMIT_CHARS)
    if attribute is None or isinstance(attribute, bool):
        return None
    if isinstance(attribute, float):
        return None if math.isfinite(attribute) else "Must be a finite number."
    if isinstance(attribute, int):
        # Beyond 64 bits JSON readers and writers, ours included, disagree or fail.
        return None if -(2**63) <= attribute < 2**63 else "Must be a number of at most 64 bits."
    return "Must be a string, a number, true, false or null."


def _content_error(text: str, limit_chars: int) -> str | None:
    if len(text) > limit_chars:
        return f"Must have at most {limit_chars} characters, not {len(text)}."
    if "\0" in text:
        return "Must not contain a NUL character."
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "Must not contain a lone surrogate."
    return None


def _blank_error(text: str) -> str | None:
    # Nearly every text shows something in its first character; a flood of blanks is read as a set.
    if _shows(text[0]) or any(map(_shows, set(text))):
        return None
    return "Must contain more than white space and invisible characters."


def _shows(char: str) -> bool:
    return unicodedata.category(char) not in _INVISIBLE_CATEGORIES and char not in _DRAWN_BLANK


def storable(text: str, limit_chars: int) -> str:
    """Somebody else's words, cut to the limit, without what Postgres refuses."""
    return text[:limit_chars].encode("utf-8", "replace").decode().replace("\0", "")
