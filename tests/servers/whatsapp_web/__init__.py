"""A WhatsApp Web of our own: the page in the browser, the server behind it, and the phones."""

from __future__ import annotations

from tests.servers.whatsapp_web.server import Delivery, Options, WhatsAppWeb

__all__ = ["Delivery", "Options", "WhatsAppWeb"]
