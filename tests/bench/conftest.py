"""What the long runs share with the tests; nothing here is collected unless it is named."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from tests.acceptance.installation import installation
from tests.acceptance.processes import processes
from tests.servers.rabbitmq import RabbitNode

__all__ = ["installation", "processes"]


@pytest.fixture
async def vhost(rabbit_node: RabbitNode) -> AsyncIterator[str]:
    """A fresh vhost; nobody listens in, as that would be measured too."""
    name = f"bench-{uuid.uuid4()}"
    yield await rabbit_node.create_vhost(name)
    await rabbit_node.delete_vhost(name)
