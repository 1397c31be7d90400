"""Lists: by page, or by a cursor that costs the same on page 1 and page 10,000."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from multidict import MultiMapping
from yarl import URL

from schemas.problems import Problem, invalid

DEFAULT_PER_PAGE = 25
LARGEST_PER_PAGE = 100
#: `total` is exact up to here.
COUNT_LIMIT = 10_000
_LARGEST_ID = 2**63 - 1
#: No list is so long; a page behind it is as empty, and its offset would be no bigint.
_LARGEST_OFFSET = 2**62
_SIGNATURE_BYTES = 12
_ID_BYTES = 8
#: What chooses a part of a list; every other parameter narrows it.
PAGING_NAMES = frozenset({"page", "per_page", "cursor"})


def single(query: MultiMapping[str], name: str) -> str | None:
    """The one value of a parameter, or None; given twice is 422."""
    values = query.getall(name, [])
    if len(values) > 1:
        raise invalid(name, f"Give {name} once.")
    return values[0] if values else None


def whole_number(query: MultiMapping[str], name: str, *, most: int = _LARGEST_ID) -> int | None:
    """A parameter that is a whole number of 1 up to `most`, or None."""
    value = single(query, name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 19 and 1 <= int(value) <= most):
        raise invalid(name, f"Must be a whole number from 1 to {most}.")
    return int(value)


def refuse_unknown(query: MultiMapping[str], known: frozenset[str]) -> None:
    """422 for a parameter that does not exist, as a misspelt filter would show everything."""
    for name in query:
        if name not in known:
            raise invalid(name, f"There is no parameter {name[:64]}.", code="unknown_field")


def own_url(request: web.Request, public_url: str | None) -> URL:
    """The URL that was asked for, from which links are made.

    The installation's own address goes before the Host header; a Host that is none is 400.
    """
    try:
        if request.host.isascii():
            url = request.url.with_fragment(None)
            return url if public_url is None else URL(public_url + url.raw_path_qs, encoded=True)
    except ValueError:
        pass
    raise Problem(400, "bad_request", "The Host header names no host.")


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that a cursor belongs to: whose it is, where, and by what it is narrowed."""

    account_id: int
    path: str
    filters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def asked(cls, account_id: int, path: str, query: MultiMapping[str]) -> Listed:
        """The list of a request; the order of its parameters does not matter."""
        filters = (each for each in query.items() if each[0] not in PAGING_NAMES)
        return cls(account_id, path, tuple(sorted(filters)))


class Cursors:
    """Makes and reads cursors; one that was altered, or made for another list, is refused."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, listed: Listed, last_id: int) -> str:
        """A cursor for what comes after this id in the list."""
        data = last_id.to_bytes(_ID_BYTES)
        return base64.urlsafe_b64encode(data + self._sign(listed, data)).decode().rstrip("=")

    def read(self, listed: Listed, cursor: str) -> int:
        """The id in a cursor of the list; raises the 422 Problem."""
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError:
            raw = b""
        last_id = int.from_bytes(raw[:_ID_BYTES])
        # The texts are compared, as several texts can stand for the same bytes.
        if not hmac.compare_digest(self.make(listed, last_id).encode(), cursor.encode()):
            detail = "The cursor is not one of this list, narrowed as it is here."
            raise invalid("cursor", detail)
        return last_id

    def _sign(self, listed: Listed, data: bytes) -> bytes:
        # Any text may be asked for, half a character too.
        filters = urlencode(listed.filters, errors="surrogatepass")
        message = b"".join(
            (listed.account_id.to_bytes(_ID_BYTES), data, f"{listed.path}?{filters}".encode())
        )
        return hmac.digest(self._secret, message, "sha256")[:_SIGNATURE_BYTES]


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a list is asked for."""

    number: int
    per_page: int
    #: continue below this id; None when asked by page
    below_id: int | None
    by_cursor: bool

    @property
    def offset(self) -> int:
        """Rows to pass over."""
        offset = 0 if self.by_cursor else (self.number - 1) * self.per_page
        return min(offset, _LARGEST_OFFSET)


def read_page(query: MultiMapping[str], cursors: Cursors, listed: Listed) -> Page:
    """The page asked for by `page`, `per_page` and `cursor`; raises the 422 Problem.

    An empty `cursor` begins at the newest.
    """
    per_page = whole_number(query, "per_page", most=LARGEST_PER_PAGE) or DEFAULT_PER_PAGE
    number = whole_number(query, "page")
    cursor = single(query, "cursor")
    if cursor is None:
        return Page(number or 1, per_page, None, by_cursor=False)
    if number is not None:
        raise invalid("page", "Give page or cursor, not both.")
    below_id = cursors.read(listed, cursor) if cursor else None
    return Page(1, per_page, below_id, by_cursor=True)


def page_document(
    items: Sequence[dict[str, Any]],
    page: Page,
    url: URL,
    *,
    total: int | None,
    next_cursor: str | None,
) -> dict[str, Any]:
    """The list shape; `total` is None under a cursor, COUNT_LIMIT + 1 means "more"."""
    path = str(url.with_query(None))
    meta: dict[str, Any] = {"path": path, "per_page": page.per_page, "next_cursor": next_cursor}
    links: dict[str, Any] = {"first": None, "last": None, "prev": None, "next": None}
    if total is None:
        links["first"] = str(url.update_query(cursor=""))
        links["next"] = str(url.update_query(cursor=next_cursor)) if next_cursor else None
        return {"data": list(items), "links": links, "meta": meta}
    capped = total > COUNT_LIMIT
    total = min(total, COUNT_LIMIT)
    last = max(1, -(-total // page.per_page))
    meta |= {
        "current_page": page.number,
        "from": page.offset + 1 if items else None,
        "to": page.offset + len(items) if items else None,
        "last_page": last,
        "total": total,
    }
    if capped:
        meta["total_is_capped"] = True
    links["first"] = str(url.update_query(page=1))
    links["last"] = str(url.update_query(page=last))
    if page.number > 1:
        links["prev"] = str(url.update_query(page=page.number - 1))
    if next_cursor is not None:
        links["next"] = str(url.update_query(page=page.number + 1))
    return {"data": list(items), "links": links, "meta": meta}
