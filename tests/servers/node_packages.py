"""Node, and npm packages at the versions and hashes of a lock file, in a cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import playwright

from tests.servers.packages import PackagesMissingError, cache_folder

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"
#: By the fixture that needs them: folders whose packages are installed before the first test.
NODE_FOLDERS = {
    "webhook_example": EXAMPLES / "webhook-receiver",
    "upstream_modules": EXAMPLES / "upstream",
}
INSTALL_LIMIT_SECONDS = 300


def find_node() -> Path:
    """The machine's node, or the one that Playwright brings along."""
    found = shutil.which("node")
    return Path(found) if found else Path(playwright.__file__).parent / "driver" / "node"


def find_npm() -> Path:
    """The machine's npm; raises PackagesMissingError."""
    found = shutil.which("npm")
    if found is None:
        raise PackagesMissingError("npm is missing: install it with `apt-get install nodejs npm`.")
    return Path(found)


def node_modules(folder: Path) -> Path:
    """The packages of this folder's lock file, installed once; raises PackagesMissingError."""
    names = ("package.json", "package-lock.json")
    mark = hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()[:16]
    cache = cache_folder().expanduser().absolute()
    target = cache / f"npm-{folder.name}-{mark}"
    if target.is_dir():
        return target / "node_modules"
    npm = find_npm()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "npm.lock").open("a") as lock:
        # Another run holds it no longer than its own limit lasts.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(prefix="fetching-npm-", dir=cache) as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                for name in names:
                    shutil.copy(folder / name, made)
                _install(npm, made)
                made.rename(target)
    return target / "node_modules"


def _install(npm: Path, folder: Path) -> None:
    command = [
        str(npm),
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
    ]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT_SECONDS,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackagesMissingError(f"npm cannot install packages ({error}).") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["npm ci failed"])[0]
        raise PackagesMissingError(f"npm cannot install packages ({reason}).")
