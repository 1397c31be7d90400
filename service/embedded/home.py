"""What stands in the folder of the private PostgreSQL: lock, password, log and data."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from service.embedded.bound import Account, bound
from service.embedded.error import EmbeddedPostgresError
from service.embedded.place import Place

USER = "hantar"
INITDB_LIMIT_SECONDS = 120
# macOS has no C.UTF-8: there only the character type comes from a language, the order does not.
LOCALE = ["--locale=C.UTF-8"] if sys.platform != "darwin" else ["--locale=C", "--lc-ctype=UTF-8"]
# Nothing else is inherited: PG* variables of the user are about other servers.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": LOCALE[0].partition("=")[2]}


def lock(home: Path) -> IO[str]:
    """Takes the folder for this process; the kernel gives it free when the process ends."""
    file = (home / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read()
        file.close()
        raise EmbeddedPostgresError(f"Process {owner} already runs PostgreSQL on {home}.") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def password(place: Place) -> str:
    """The password kept beside the data, made up when there is no data yet."""
    path = place.home / "password"
    if place.data.exists():
        return path.read_text()
    path.unlink(missing_ok=True)
    made_up = secrets.token_urlsafe(24)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made_up)
    if place.account:
        os.chown(path, *place.account)  # initdb reads it
    return made_up


def open_data(place: Place, *, durable: bool) -> None:
    """Leaves data that the binaries and the account can use, made now if there is none."""
    if not place.data.exists():
        _initialise(place, durable=durable)
    made_by = (place.data / "PG_VERSION").read_text().strip()
    if made_by != str(place.major):
        raise EmbeddedPostgresError(
            f"The data in {place.data} was made by PostgreSQL {made_by}, but {place.bin_dir} "
            f"holds {place.major}: use PostgreSQL {made_by}, or remove {place.home}."
        )
    if place.account and place.data.stat().st_uid != place.account.uid:
        _give(place.data, place.account)


def _initialise(place: Place, *, durable: bool) -> None:
    # Renamed once it is whole: what a kill leaves half made is never taken for data.
    unfinished = place.home / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if place.account:
        os.chown(unfinished, *place.account)
    command = [str(place.bin_dir / "initdb"), "-D", str(unfinished), "-U", USER, *LOCALE]
    command += ["--encoding=UTF8", "--auth=scram-sha-256", f"--pwfile={place.home / 'password'}"]
    command += ["--no-instructions", *([] if durable else ["--no-sync"])]
    try:
        done = subprocess.run(
            bound(command, on_parent_death=signal.SIGTERM, account=place.account),
            cwd=place.home,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=INITDB_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise EmbeddedPostgresError("PostgreSQL's initdb did not end in time.") from None
    if done.returncode != 0:
        reason = " ".join(done.stderr.split())
        raise EmbeddedPostgresError(f"PostgreSQL's initdb failed: {reason}")
    unfinished.rename(place.data)
    _sync(place.home)


def _sync(folder: Path) -> None:
    """Makes the names in the folder, the renamed data among them, survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give(folder: Path, account: Account) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *account, follow_symlinks=False)
