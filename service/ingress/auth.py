"""Who is asking: bearer keys."""

from __future__ import annotations

from aiohttp import web

from schemas.problems import Problem
from service.core.keys import key_hash, well_formed
from service.store import accounts
from service.store.accounts import Caller
from service.store.pool import Pool

CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
_LONGEST_KEY_CHARS = 200


async def authenticate(request: web.Request, pool: Pool) -> Caller:
    """The caller, or the 401 Problem: the same for every fault, so that it teaches nothing."""
    values = request.headers.getall("Authorization", [])
    scheme, _, key = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    key = key.strip()
    if scheme.lower() == "bearer" and len(key) <= _LONGEST_KEY_CHARS and well_formed(key):
        caller = await accounts.authenticate(pool, key_hash(key))
        if caller is not None:
            return caller
    raise Problem(
        401,
        "unauthenticated",
        "Send a valid API key as Authorization: Bearer <key>.",
        headers={"WWW-Authenticate": 'Bearer realm="hantar"'},
    )


def require_verified_email(request: web.Request) -> None:
    """The 403 Problem unless the account's owner has a verified e-mail."""
    if not request[CALLER].email_verified:
        raise Problem(403, "email_unverified", "Verify the account owner's e-mail address first.")
