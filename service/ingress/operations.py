"""The operations of the API as a table: routes and the API's description are made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

PREFIX = "/api/v1"
#: Digits only: whatever else stands there names nothing.
_ID = "{%s:[0-9]{1,19}}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter; `schema` is its JSON Schema, `example` is what it is tried with."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    example: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path, and all that a caller has to know of it.

    `path` is below /api/v1, its `{names}` are ids. `answers` has a type (or None for no body) for
    each status of a success, `problems` the codes of what may go wrong beside what every operation
    shares. `example` is a body, and `example_ids` the ids in the path where they are not 1, that
    work on a fresh installation where every example before it in the document was tried.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Any]
    body: Any = None
    query: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    example: Any = None
    example_ids: Mapping[str, int] = field(default_factory=dict)
    media_type: str = "application/json"
    #: whether it is asked without a key
    open_to_all: bool = False


class Resource(Protocol):
    """What has operations."""

    def operations(self) -> list[Operation]:
        """Its part of the table."""
        ...


def routes(resources: Iterable[Resource]) -> list[web.RouteDef]:
    """The table as routes; what answers GET answers HEAD too."""
    return [
        web.route(operation.method, _pattern(operation.path), operation.handler)
        for resource in resources
        for operation in resource.operations()
    ]


def open_to_all(resources: Iterable[Resource]) -> list[Handler]:
    """The handlers that need no key."""
    operations = (each for resource in resources for each in resource.operations())
    return [operation.handler for operation in operations if operation.open_to_all]


def _pattern(path: str) -> str:
    parts = [_ID % part[1:-1] if part.startswith("{") else part for part in path.split("/")]
    return PREFIX + "/".join(parts)
