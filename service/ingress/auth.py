"""Who is asking: bearer keys."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from schemas.problems import Problem
from service.core.addresses import Network
from service.core.keys import key_hash, well_formed
from service.core.quota import Quota
from service.ingress.key_uses import KeyUses
from service.ingress.limits import AccountLimit, ClientLimit
from service.store import accounts
from service.store.accounts import Caller
from service.store.pool import Pool

CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
#: Of requests without a key that is known to be good, from one client address.
STRANGERS = Quota(per_second=20, burst=200)
#: Keys kept as known to be good.
KNOWN_KEYS = 10_000
_LONGEST_KEY_CHARS = 200


class Authentication:
    """Finds the caller of each request, and counts it.

    Strangers have a brake, so that guessing keys costs the database little. A key that was good
    when it was last used here is not held up by strangers at the same address.
    """

    def __init__(
        self, pool: Pool, limit: AccountLimit, uses: KeyUses, trusted: Sequence[Network]
    ) -> None:
        self._pool = pool
        self._limit = limit
        self._uses = uses
        self._strangers = ClientLimit(STRANGERS, trusted)
        # A dict for its order: the first one in goes first.
        self._known: dict[bytes, None] = {}

    async def caller(self, request: web.Request) -> Caller:
        """The caller; raises the 401 Problem, the same for every fault, or the 429 Problem."""
        hashed = _hash_of_key(request)
        if hashed not in self._known:
            self._strangers.take(request, "Too many requests without a valid key come from here.")
        found = await accounts.authenticate(self._pool, hashed) if hashed is not None else None
        if hashed is None or found is None:
            self._known.pop(hashed or b"", None)
            raise _unauthenticated()
        self._remember(hashed)
        self._uses.note(found.key_id)
        self._limit.take(request, found.account_id)
        return found

    def tell(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put the account's quota into the answer, if a caller was found."""
        self._limit.tell(request, response)

    def _remember(self, hashed: bytes) -> None:
        if hashed in self._known:
            return
        if len(self._known) >= KNOWN_KEYS:
            del self._known[next(iter(self._known))]
        self._known[hashed] = None


def _hash_of_key(request: web.Request) -> bytes | None:
    """The hash of a key that can be one at all."""
    values = request.headers.getall("Authorization", [])
    scheme, _, key = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    key = key.strip()
    if scheme.lower() == "bearer" and len(key) <= _LONGEST_KEY_CHARS and well_formed(key):
        return key_hash(key)
    return None


def _unauthenticated() -> Problem:
    return Problem(
        401,
        "unauthenticated",
        "Send a valid API key as Authorization: Bearer <key>.",
        headers={"WWW-Authenticate": 'Bearer realm="hantar"'},
    )


def require_verified_email(request: web.Request) -> None:
    """The 403 Problem unless the account's owner has a verified e-mail."""
    if not request[CALLER].email_verified:
        raise Problem(403, "email_unverified", "Verify the account owner's e-mail address first.")
