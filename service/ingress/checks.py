"""Checks of fields that several resources share; each raises the 422 Problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.problems import invalid
from service.core.phone import normalise
from service.core.text import attributes_error, name_error

NAME_LIMIT_CHARS = 255


def phone(text: str, field: str = "phone") -> str:
    """The phone as E.164."""
    found = normalise(text)
    if found is None:
        raise invalid(field, "The phone is not a Malaysian number.", code="invalid_phone")
    return found


def name(text: str | None, field: str, limit_chars: int = NAME_LIMIT_CHARS) -> None:
    """A name or mark, if there is one."""
    if text is not None and (error := name_error(text, limit_chars)):
        raise invalid(field, error)


def attributes(value: Mapping[str, object] | None, field: str = "attributes") -> None:
    """Attributes, if there are any."""
    if value and (error := attributes_error(value)):
        raise invalid(field, error)


def given(body: msgspec.Struct) -> dict[str, Any]:
    """The fields of a partial change that were given."""
    values = {name_: getattr(body, name_) for name_ in body.__struct_fields__}
    return {name_: value for name_, value in values.items() if value is not msgspec.UNSET}
