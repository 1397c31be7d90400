"""The fields of a device as a caller gives them: settings, secrets apart, and quiet hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

import msgspec
import orjson

from drivers.driver import Kind
from schemas.decode import decode
from schemas.devices import QuietHours
from schemas.problems import Problem, invalid
from service.core.text import json_error
from service.ingress import checks
from service.store import devices as store
from service.store.devices import Quiet
from service.store.pool import Connection


@dataclass(frozen=True, slots=True)
class Given:
    """The settings of a request, those that are secret apart."""

    plain: Mapping[str, object]
    secret: Mapping[str, str | None]


def read_settings(kind: Kind, given: Mapping[str, object]) -> Given:
    """The checked settings; raises the 422 Problem with their paths below `settings`."""
    try:
        raw = orjson.dumps(given)
    except orjson.JSONEncodeError:
        raise invalid("settings", json_error(given) or "Must be JSON.") from None
    try:
        settings = decode(raw, msgspec.json.Decoder(kind.settings))
    except Problem as problem:
        errors = {f"settings.{name}": said for name, said in (problem.errors or {}).items()}
        raise Problem(problem.status, problem.code, problem.detail, errors=errors) from None
    values = checks.given(settings)
    return Given(
        {name: value for name, value in values.items() if name not in kind.secrets},
        {name: value for name, value in values.items() if name in kind.secrets},
    )


def merged(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What there was and what is given; null takes away."""
    both = {**before, **given}
    return {name: value for name, value in both.items() if value is not None}


def portfolio(settings: Mapping[str, Any]) -> str | None:
    """The portfolio that shares a budget with others, if there is one."""
    return settings.get("portfolio")


def quiet_of(hours: QuietHours | None) -> Quiet | None:
    """The quiet hours as they are kept; raises the 422 Problem."""
    if hours is None:
        return None
    if hours.start == hours.end:
        raise invalid("quiet_hours.end", "Must be another time than the start.")
    return Quiet(time.fromisoformat(hours.start), time.fromisoformat(hours.end), hours.timezone)


async def check_timezone(connection: Connection, quiet: Quiet | None) -> None:
    """Raises the 422 Problem of a time zone that the database does not know."""
    if quiet is not None and not await store.is_timezone(connection, quiet.timezone):
        raise invalid("quiet_hours.timezone", "Must be an IANA time zone like Asia/Kuala_Lumpur.")
