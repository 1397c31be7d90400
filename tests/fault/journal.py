"""Append-only files of JSON lines, each on the disk before its writer goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

Line = Mapping[str, Any]


class Journal:
    """One such file; every line gets the time, in seconds of the machine's monotonic clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, *lines: Line) -> None:
        """Write these together and wait for the disk."""
        now = time.monotonic()
        option = orjson.OPT_APPEND_NEWLINE
        data = b"".join(orjson.dumps({"t": now} | dict(line), option=option) for line in lines)
        os.write(self._file, data)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines so far; none when there is no file yet."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return list(_decoded(whole.splitlines()))


def _decoded(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for line in lines:
        yield orjson.loads(line)
