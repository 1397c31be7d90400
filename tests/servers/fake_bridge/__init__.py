"""A bridge without browsers, which keeps the protocol as the real one does."""

from __future__ import annotations

from tests.servers.fake_bridge.bridge import FakeBridge, fake_bridge
from tests.servers.fake_bridge.phones import Way

__all__ = ["FakeBridge", "Way", "fake_bridge"]
