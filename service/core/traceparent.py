"""The trace that work belongs to, as https://www.w3.org/TR/trace-context/ writes it.

Hantar makes no spans of its own, so it passes on what it was given as it is: whoever listens
to it appears right below whoever called it.
"""

from __future__ import annotations

import re
import secrets

_VERSION = "00"
_PARTS = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})"
    r"(?P<parts>-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)
_ID_STARTS, _ID_ENDS = 3, 35


def read(given: object) -> str | None:
    """A traceparent that somebody gave; None for what is none. Of later versions the known part."""
    found = _PARTS.fullmatch(given) if isinstance(given, str) else None
    if found is None or (found["more"] and found["version"] == _VERSION):
        return None
    return _VERSION + found["parts"]


def new() -> str:
    """Of a trace that begins here; sampled, as whoever listens may well keep it."""
    return f"{_VERSION}-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_id(traceparent: str) -> str:
    """The 32 digits that all work of a trace has in common."""
    return traceparent[_ID_STARTS:_ID_ENDS]
