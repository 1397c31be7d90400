"""Resources as the outside sees them, made from rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.core.times import rfc3339

PRIORITY = ("high", "normal", "low")
_TIMES = (
    "send_at",
    "expires_at",
    "created_at",
    "queued_at",
    "sent_at",
    "delivered_at",
    "read_at",
    "failed_at",
)


def instant(at: datetime | None) -> str | None:
    """A time in the API's form."""
    return rfc3339(at) if at is not None else None


def message(row: Mapping[str, Any]) -> dict[str, Any]:
    """The message resource."""
    code = row["error_code"]
    return {
        "id": row["id"],
        "status": row["status"],
        "phone": row["phone"],
        "body": row["body"],
        "contact_id": row["contact_id"],
        "campaign_id": row["campaign_id"],
        "template_id": row["template_id"],
        "device_id": row["device_id"],
        "driver": row["driver"],
        "priority": PRIORITY[row["priority"]],
        "reference": row["reference"],
        "provider_id": row["provider_id"],
        "attempts": row["attempts"],
        "credit": row["credit"],
        "error": {"code": code, "detail": row["error_detail"]} if code else None,
        "waiting": _waiting(row),
        **{name: instant(row[name]) for name in _TIMES},
    }


def _waiting(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row["status"] not in ("scheduled", "queued"):
        return None
    return {
        "reason": row["waiting_reason"] or "behind",
        "earliest_at": instant(row["waiting_until"]),
    }
