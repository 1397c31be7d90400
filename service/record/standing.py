"""What providers say of devices and templates, on its way into the tables."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from schemas.commands import StandingItem, TemplateItem
from service.store import standing as store
from service.store.pool import Pool

log = structlog.get_logger(__name__)


class Standings:
    """Keeps the last word on each device and template."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(
        self, devices: Sequence[StandingItem], templates: Sequence[TemplateItem]
    ) -> None:
        """Note all of it; raises what a database that is away raises."""
        async with self._pool.acquire() as connection, connection.transaction():
            for item in sorted(devices, key=lambda each: each.device_id):
                await store.stand(connection, item)
            if templates:
                await store.stand_templates(connection, templates)
            for each in templates:
                if each.sendable:
                    await store.release(connection, each)
        for item in devices:
            log.info("device_standing", device_id=item.device_id, quality=item.quality)
        for each in templates:
            log.info("template_standing", device_id=each.device_id, status=each.status)
