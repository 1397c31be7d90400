"""The command line."""

from __future__ import annotations

from service.cli.main import main

__all__ = ["main"]
