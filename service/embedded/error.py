"""The one failure of the private PostgreSQL."""

from __future__ import annotations


class EmbeddedPostgresError(Exception):
    """The private PostgreSQL cannot do what was asked; the message is one sentence for the user."""
