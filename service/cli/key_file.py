"""The key file of the installation, for the commands that open what is sealed."""

from __future__ import annotations

from pathlib import Path

from service.cli.database import KEY_FILE
from service.core.sealing import Seal, read_keys
from service.settings import Settings


def key_file(settings: Settings) -> Path | None:
    """Where the keys are; None when there are none."""
    if settings.secret_key_file is not None:
        return settings.secret_key_file
    return settings.data_dir / KEY_FILE if settings.embedded else None


def read_seal(file: Path) -> Seal:
    """The seal with the keys of this file; raises OSError or ValueError."""
    return Seal(read_keys(file.read_text("ascii")))
