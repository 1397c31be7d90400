"""A bridge with a real browser, sent to a WhatsApp Web of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.wwebjs.linked import Linked
from tests.servers.bridge import Bridge, browsers_of
from tests.servers.whatsapp_web import WhatsAppWeb


@pytest.fixture
async def whatsapp(tmp_path: Path) -> AsyncIterator[WhatsAppWeb]:
    """A WhatsApp that nobody is linked to."""
    web = WhatsAppWeb()
    await web.start(tmp_path)
    yield web
    await web.close()


@pytest.fixture
async def linked(
    tmp_path: Path, whatsapp: WhatsAppWeb, bridge_program: None
) -> AsyncIterator[Linked]:
    """A running bridge for one device, which leaves no browser behind."""
    device = Linked(Bridge(tmp_path / "bridge", whatsapp.flags), whatsapp)
    await device.bridge.start()
    yield device
    assert await device.bridge.stop() == 0
    assert browsers_of(tmp_path) == []
