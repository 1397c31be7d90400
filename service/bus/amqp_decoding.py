"""Reads whatever properties a stranger gave a message, so that none of them ends a connection."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from pamqp import decode
from pamqp.common import FieldValue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def be_lenient() -> None:
    """Have the client library read text that is no UTF-8, times of no calendar and broken tables.

    RabbitMQ passes them on as they came, and the library would give up its connection over each,
    with all that its other consumers hold, again and again until the message is buried.
    """
    decode.METHODS |= {"shortstr": _short_text, "table": _table, "timestamp": _timestamp}


def _short_text(value: bytes) -> tuple[int, FieldValue]:
    end = value[0] + 1
    return end, value[1:end].decode(errors="replace")


def _timestamp(value: bytes) -> tuple[int, FieldValue]:
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, _EPOCH


def _table(value: bytes) -> tuple[int, FieldValue]:
    try:
        return decode.field_table(value)
    except (ValueError, OverflowError, OSError):
        [length] = struct.unpack_from(">I", value)
        return 4 + length, {}
