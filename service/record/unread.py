"""What providers say that nothing here reads: kept for who wants to know what it was."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.commands import UnreadItem
from service.core.text import storable
from service.core.words import Words
from service.store import unread as store
from service.store.pool import Pool

#: The longest name of a kind.
KIND_CHARS = 50


class UnreadKept:
    """Keeps how often each kind came to a device, and the last one, sealed."""

    def __init__(self, pool: Pool, words: Words) -> None:
        self._pool = pool
        self._words = words

    async def take(self, items: Sequence[UnreadItem]) -> None:
        """Note all of it; raises what a database that is away raises."""
        kept = [
            store.Kept(
                item.device_id,
                storable(item.kind, KIND_CHARS),
                self._words.close(item.body),
                item.at,
            )
            for item in items
        ]
        await store.keep(self._pool, kept)
