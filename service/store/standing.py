"""The statements that keep what providers say of devices and of their templates."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from schemas.commands import StandingItem, TemplateItem
from service.store.pool import Connection
from service.store.queries import load

_SQL = load("standing")

#: Of what waits for a template; the rest comes up within the hour for which it was held.
RELEASED_AT_ONCE = 10_000


async def stand(connection: Connection, item: StandingItem) -> None:
    """Note what is said of a device."""
    said = orjson.dumps(_said(item)).decode()
    await connection.execute(_SQL["stand"], item.device_id, item.at, said, item.phone)


async def stand_templates(connection: Connection, items: Sequence[TemplateItem]) -> None:
    """Note what is said of templates."""
    await connection.execute(
        _SQL["stand_templates"],
        [item.device_id for item in items],
        [item.name for item in items],
        [item.language for item in items],
        [item.status for item in items],
        [item.reason for item in items],
        [item.at for item in items],
    )


async def release(connection: Connection, item: TemplateItem) -> None:
    """Let go on what waits for a template through a device."""
    await connection.execute(
        _SQL["release"], item.device_id, item.name, item.language, RELEASED_AT_ONCE
    )


def _said(item: StandingItem) -> dict[str, object]:
    said = {
        "quality": item.quality,
        "messaging_limit": item.messaging_limit,
        "read_at": item.at if item.complete else None,
    }
    found: dict[str, object] = {name: value for name, value in said.items() if value is not None}
    if item.messaging_limit is not None:
        found["recipients_per_day"] = item.recipients_per_day
    return found
