"""A local WhatsApp Cloud API: a real HTTP server that plays Meta's side for tests."""

from __future__ import annotations

from tests.servers.cloud_api.callbacks import sign
from tests.servers.cloud_api.script import Behaviour, Fault, Number
from tests.servers.cloud_api.server import CloudApi, Received

__all__ = ["Behaviour", "CloudApi", "Fault", "Number", "Received", "sign"]
