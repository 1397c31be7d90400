"""How much a caller may ask: a quota for each account, and a brake on strangers.

Both count in this process alone. The fields are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from aiohttp import web

from schemas.problems import Problem
from service.core.addresses import Network
from service.core.proxies import client_network
from service.core.quota import NANOSECONDS, Quota, Quotas, Taken

#: What the answer to this request says of the account's quota.
QUOTA: web.RequestKey[Taken] = web.RequestKey("quota", Taken)
_POLICY = '"account"'


class AccountLimit:
    """The quota of requests that every account has."""

    def __init__(self, quota: Quota) -> None:
        self._quotas: Quotas[int] = Quotas(quota)
        window_seconds = _seconds(quota.refill_ns)
        self._policy = f"{_POLICY};q={quota.burst};w={window_seconds}"

    def take(self, request: web.Request, account_id: int) -> None:
        """Count the request; raises the 429 Problem when the quota is used up."""
        request[QUOTA] = taken = self._quotas.take(account_id, time.monotonic_ns())
        if not taken.allowed:
            raise rate_limited("This account asks too often.", _seconds(taken.wait_ns))

    def tell(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put the quota into the answer to a request that was counted."""
        taken = request.get(QUOTA)
        if taken is not None:
            response.headers["RateLimit-Policy"] = self._policy
            response.headers["RateLimit"] = (
                f"{_POLICY};r={taken.remaining};t={_seconds(taken.full_ns)}"
            )


class ClientLimit:
    """A quota for each client address, for what is asked before anybody is known."""

    def __init__(self, quota: Quota, trusted: Sequence[Network]) -> None:
        self._quotas: Quotas[str] = Quotas(quota)
        self._trusted = trusted

    def client(self, request: web.Request) -> str:
        """The network that the client is counted by."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return client_network(request.remote or "", forwarded, self._trusted)

    def take(self, request: web.Request, detail: str) -> None:
        """Count one for the client; raises the 429 Problem when its quota is used up."""
        taken = self._quotas.take(self.client(request), time.monotonic_ns())
        if not taken.allowed:
            raise rate_limited(detail, _seconds(taken.wait_ns))


def rate_limited(detail: str, retry_after_seconds: int) -> Problem:
    """429, with the time after which the next is taken."""
    return Problem(429, "rate_limited", detail, headers={"Retry-After": str(retry_after_seconds)})


def _seconds(nanoseconds: int) -> int:
    """Whole seconds, rounded up."""
    return -(-nanoseconds // NANOSECONDS)
