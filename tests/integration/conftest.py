"""What callbacks of Hantar are taken by."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.servers.webhook_receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A server that takes webhooks."""
    async with receiving() as made:
        yield made
