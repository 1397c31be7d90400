"""A private PostgreSQL that lives and dies with the process that started it."""

from __future__ import annotations

from service.embedded.error import EmbeddedPostgresError
from service.embedded.postgres import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
