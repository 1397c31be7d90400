"""The account that the private PostgreSQL runs as."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from service.embedded.bound import Account
from service.embedded.error import EmbeddedPostgresError

COMMAND_LIMIT_SECONDS = 20


def server_account(data: Path) -> Account | None:
    """Whom root lets run the server, which refuses root: the owner of the data, else `nobody`."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresError(
            "PostgreSQL cannot run as root and there is no user `nobody`: start as another user."
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def output_as(account: Account | None, command: list[str]) -> str | None:
    """What a short command prints when run by the account; None when it fails."""
    uid, gid = account or (None, None)
    groups: list[int] | None = [] if account else None
    try:
        done = subprocess.run(
            command,
            cwd="/",
            capture_output=True,
            timeout=COMMAND_LIMIT_SECONDS,
            user=uid,
            group=gid,
            extra_groups=groups,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedPostgresError(f"Could not run {command[0]}: {error}.") from error
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
