"""From bytes to types: what cannot be parsed is 400, what is parsed and not valid is 422."""

from __future__ import annotations

import json
import re
from typing import TypeVar

import msgspec

from schemas.api import BULK_LIMIT, Bulk
from schemas.problems import Problem, invalid

Decoded = TypeVar("Decoded")
DecodedBulk = TypeVar("DecodedBulk", bound=Bulk)

_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$(.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*?)`(?: - at `\$(.*)`)?$", re.DOTALL)
_AT = re.compile(r"^(.*?)(?: - at `(key in )?\$(.*)`)?$", re.DOTALL)
#: what the whole body is called in `errors`
BODY = "body"


class LoneSurrogate(Problem):
    """Half a character, which no text can hold; what JavaScript leaves when it cuts an emoji."""

    def __init__(self) -> None:
        detail = "The body holds a lone surrogate."
        super().__init__(422, "validation_failed", detail, errors={BODY: [detail]})


def decode(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Decoded]) -> Decoded:
    """The value, or a Problem that says what is wrong and where."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        # It stops at the first fault, and what is no JSON at all may stand behind it.
        _check_syntax(raw)
        raise _not_valid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(raw, error) from error


def decode_bulk(raw: bytes, decoder: msgspec.json.Decoder[DecodedBulk]) -> DecodedBulk:
    """A bulk of 1 to a thousand items; one that holds half a character is left to be refused
    alone."""
    bulk = _decode_bulk(raw, decoder)
    if not 1 <= len(bulk.messages) <= BULK_LIMIT:
        raise invalid("messages", f"Must have 1 to {BULK_LIMIT} items, not {len(bulk.messages)}.")
    return bulk


def _decode_bulk(raw: bytes, decoder: msgspec.json.Decoder[DecodedBulk]) -> DecodedBulk:
    try:
        # Items are decoded one by one and late, but bytes that are no text condemn the whole.
        raw.decode()
        return decode(raw, decoder)
    except UnicodeDecodeError as error:
        raise _not_json(raw, error) from error
    except LoneSurrogate:
        document = json.loads(raw)
        items = document.get("messages") if isinstance(document, dict) else None
        if not isinstance(items, list):
            raise
        bulk = decode(json.dumps(document | {"messages": []}).encode(), decoder)
        bulk.messages = [msgspec.Raw(json.dumps(item).encode()) for item in items]
        return bulk


def _check_syntax(raw: bytes | msgspec.Raw) -> None:
    try:
        msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(raw, error) from error


def _not_json(raw: bytes | msgspec.Raw, error: Exception) -> Problem:
    if isinstance(error, UnicodeDecodeError):
        return Problem(400, "invalid_json", "The body is not valid UTF-8.")
    if isinstance(error, RecursionError):
        return Problem(400, "invalid_json", "The body is nested too deeply.")
    if _has_lone_surrogate(bytes(raw)):
        return LoneSurrogate()
    fault = str(error).partition(" - at ")[0]
    return Problem(400, "invalid_json", f"The body is not valid JSON: {fault}.")


def _not_valid(message: str) -> Problem:
    unknown = _UNKNOWN.match(message)
    if unknown is not None:
        path = _dotted(f"{unknown[2] or ''}.{unknown[1]}")
        return invalid(path, f"There is no field {path}.", code="unknown_field")
    missing = _MISSING.match(message)
    if missing is not None:
        return invalid(_dotted(f"{missing[2] or ''}.{missing[1]}"), "The field is required.")
    found = _AT.match(message)
    sentence, path = (found[1], _dotted(found[3] or "")) if found else (message, "")
    return invalid(path or BODY, f"{sentence}.")


def _dotted(path: str) -> str:
    """`.messages[3].phone` as `messages.3.phone`."""
    return path.replace("[...]", "").replace("[", ".").replace("]", "").strip(".")


def _has_lone_surrogate(raw: bytes) -> bool:
    """Whether the body is JSON but for an escape like \\ud800 that stands alone."""
    try:
        json.dumps(json.loads(raw), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False
