"""The shapes that answers come in: one resource, or a page of them."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec

#: RFC 3339 in UTC with milliseconds
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Resource = TypeVar("Resource")


class Row(Protocol):
    """A row of a table, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any:
        """The value of a column."""
        ...


class One(msgspec.Struct, Generic[Resource]):
    """One resource."""

    data: Resource


class Links(msgspec.Struct):
    """Where the neighbouring pages are."""

    first: str | None
    last: str | None
    prev: str | None
    next: str | None


class PageMeta(msgspec.Struct, omit_defaults=True):
    """Which page this is; by cursor there are no numbers."""

    path: str
    per_page: int
    next_cursor: str | None
    current_page: int | None = None
    from_: int | None = msgspec.field(name="from", default=None)
    to: int | None = None
    last_page: int | None = None
    total: int | None = None
    total_is_capped: bool | None = None


class Many(msgspec.Struct, Generic[Resource]):
    """A page of resources, newest first."""

    data: list[Resource]
    links: Links
    meta: PageMeta
