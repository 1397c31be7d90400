"""Which web pages may call the API from a browser (the CORS protocol of the Fetch standard)."""

from __future__ import annotations

from collections.abc import Set

from aiohttp import web

ANY_ORIGIN = "*"
#: How long a browser may keep the answer to a preflight; the longest that Chromium does.
PREFLIGHT_SECONDS = 7200
_SENT = "Authorization, Content-Type, Idempotency-Key, X-Request-Id, traceparent, tracestate"
_SHOWN = (
    "X-Request-Id, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, Location, "
    "Content-Disposition, WWW-Authenticate"
)


class Cors:
    """Tells browsers what pages of these origins may do; without any it says nothing."""

    def __init__(self, origins: Set[str]) -> None:
        self._origins = origins

    def tell(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add what a browser needs to hand the answer to the page that asked."""
        if not self._origins:
            return
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin is None or not self._origins & {origin, ANY_ORIGIN}:
            return
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _SHOWN
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
            response.headers["Access-Control-Allow-Headers"] = _SENT
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
