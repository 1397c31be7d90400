"""The one shape of every error, over HTTP and AMQP alike (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


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
