"""The parts of a browser, to be signalled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.servers.bridge import browsers_of


def kill_part(folder: Path, kind: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Signals the browser itself, or what shows its page; what has ended already is left."""
    for pid in browsers_of(folder):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            if f"--type={kind}" in command or (kind == "browser" and "--type=" not in command):
                os.kill(pid, number)
        except (FileNotFoundError, ProcessLookupError):
            continue
