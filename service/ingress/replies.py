"""Answers, and the ids that requests name."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec
from aiohttp import web

from schemas.problems import Problem
from service.once import Answer

#: Whoever answers that nothing more goes out waits this long after the commit: a claim is good for
#: 250 ms from before its statement was issued.
CLAIMS_OVER_SECONDS = 0.3
#: 204.
NOTHING = Answer(204, b"")
_LARGEST_ID = 2**63 - 1


def encoded(resource: object) -> bytes:
    """A resource in its wrapping, as JSON."""
    return msgspec.json.encode({"data": resource})


def one(resource: object, status: int = 200) -> web.Response:
    """One resource."""
    return web.Response(status=status, body=encoded(resource), content_type="application/json")


def reply(answer: Answer) -> web.Response:
    """What a transaction answered, now or under the same key before."""
    if answer.status == NOTHING.status:
        return nothing()
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else None
    return web.Response(
        status=answer.status, body=answer.body, content_type="application/json", headers=headers
    )


def nothing() -> web.Response:
    """204."""
    return web.Response(status=204)


def path_id(request: web.Request, what: str, name: str = "id") -> int:
    """The id in the path; one that no row can have is 404 at once."""
    found = int(request.match_info[name])
    if not 0 < found <= _LARGEST_ID:
        missing(what)
    return found


def missing(what: str) -> NoReturn:
    """404: not there, or not this account's, which is the same."""
    raise Problem(404, "not_found", f"There is no such {what}.")


def found(row: Any, what: str) -> Any:
    """The row, or 404."""
    if row is None:
        missing(what)
    return row
