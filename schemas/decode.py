"""From bytes to types: what cannot be parsed is 400, what is parsed and not valid is 422."""

from __future__ import annotations

import json
import re
from typing import TypeVar

import msgspec

from schemas.problems import Problem, invalid

Decoded = TypeVar("Decoded")

_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$(.*)`)?$", re.DOTALL)
_AT = re.compile(r"^(.*?)(?: - at `(key in )?\$(.*)`)?$", re.DOTALL)
#: what the whole body is called in `errors`
BODY = "body"


def decode(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Decoded]) -> Decoded:
    """The value, or a Problem that says what is wrong and where."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _not_valid(str(error)) from error
    except UnicodeDecodeError as error:
        raise Problem(400, "invalid_json", "The body is not valid UTF-8.") from error
    except RecursionError as error:
        raise Problem(400, "invalid_json", "The body is nested too deeply.") from error
    except msgspec.DecodeError as error:
        if _has_lone_surrogate(bytes(raw)):
            raise invalid(BODY, "The body holds a lone surrogate.") from error
        raise Problem(400, "invalid_json", f"The body is not valid JSON: {error}.") from error


def _not_valid(message: str) -> Problem:
    unknown = _UNKNOWN.match(message)
    if unknown is not None:
        path = _dotted(f"{unknown[2] or ''}.{unknown[1]}")
        return invalid(path, f"There is no field {path}.", code="unknown_field")
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
