"""The one shape of every error, over HTTP and AMQP alike (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

#: The status of each code: stable, as programs look at them.
CODES = {
    "bad_request": 400,
    "invalid_json": 400,
    "invalid_idempotency_key": 400,
    "unauthenticated": 401,
    "insufficient_credits": 402,
    "email_unverified": 403,
    "signup_closed": 403,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "idempotency_in_progress": 409,
    "not_cancellable": 409,
    "already_linked": 409,
    "invalid_state": 409,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "validation_failed": 422,
    "unknown_field": 422,
    "invalid_phone": 422,
    "no_device": 422,
    "no_recipients": 422,
    "opted_out": 422,
    "qr_not_supported": 422,
    "idempotency_key_reused": 422,
    "rate_limited": 429,
    "internal": 500,
    "unavailable": 503,
    "bridge_unavailable": 503,
}


class ProblemDocument(msgspec.Struct, kw_only=True, rename={"kind": "type"}):
    """What went wrong (RFC 9457); `message` and `errors` are as clients of a Laravel API know."""

    kind: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    message: str
    errors: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET


class Problem(Exception):
    """An answer other than success: `code` is stable, `detail` is for a person."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Mapping[str, list[str]] | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.extra = extra or {}
        self.headers = headers or {}

    def document(self, request_id: str) -> dict[str, Any]:
        """The problem as JSON; `message` and `errors` are there for clients of a Laravel API."""
        document: dict[str, Any] = {
            "type": f"urn:hantar:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "message": self.detail,
        }
        if self.errors is not None:
            document["errors"] = dict(self.errors)
        return {**document, **self.extra}


def invalid(field: str, detail: str, *, code: str = "validation_failed") -> Problem:
    """422 about one field, by its path in the body or query."""
    return Problem(422, code, detail, errors={field: [detail]})


def unavailable(detail: str, *, retry_after_seconds: int = 5) -> Problem:
    """503: nothing was done, try again."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after_seconds)})
