"""Where the private PostgreSQL lives, and the account it runs as."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from service.embedded.account import output_as, server_account
from service.embedded.binaries import installed_binaries, major_version, runnable_binaries
from service.embedded.bound import Account
from service.embedded.error import EmbeddedPostgresError

ROOMS_FOR_ROOT = Path("/var/tmp")
POINTER = "moved"


@dataclass(frozen=True)
class Place:
    """What one start of the server needs to know about the machine."""

    home: Path
    bin_dir: Path
    major: int
    account: Account | None
    notice: str

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"


def find_place(folder: Path, bin_dir: Path | None) -> Place:
    """Settles binaries, folder and account; the notice says what had to be moved."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o700 if os.geteuid() else 0o711)
    account = server_account(folder / "data")
    home = _home(folder, account)
    source = bin_dir or installed_binaries()
    runnable = runnable_binaries(source, home, account)
    why = "PostgreSQL does not run as root and its user cannot reach"
    notices = [f"{why} {folder}, so the data is in {home}."] if home != folder else []
    notices += [f"{why} {source}, so a copy is in {home}."] if runnable != source else []
    return Place(home, runnable, major_version(runnable, account), account, " ".join(notices))


def _home(folder: Path, account: Account | None) -> Path:
    """The folder itself, or a room of root's own when the server's account cannot reach it."""
    pointer = folder / POINTER
    if not pointer.is_symlink():
        # Asking the system is surer than reading modes and access lists.
        entering = ["/bin/sh", "-c", 'cd "$0"', str(folder)]
        if account is None or output_as(account, entering) is not None:
            return folder
        room = tempfile.mkdtemp(prefix="hantar-postgres-", dir=ROOMS_FOR_ROOT)
        Path(room).chmod(0o711)
        pointer.symlink_to(room)
    home = pointer.readlink()
    if not _is_ours(home):
        raise EmbeddedPostgresError(
            f"{home}, where the data of {folder} was moved to, is gone or is not ours: "
            f"remove {pointer} to start afresh."
        )
    return home


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    written_by_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not written_by_others
