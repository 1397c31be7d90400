"""Unpacks Debian packages into a cache: no root, and nothing is installed on the machine."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

APT_LIMIT_SECONDS = 300
UNPACK_LIMIT_SECONDS = 60
# Private lists, cache and package status: needs no root, and no earlier `apt-get update`.
# The hooks are dropped because some would clean the machine's own cache.
APT_CONF = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State "{folder}/state";
Dir::State::lists "{folder}/state/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Debug::NoLocking "true";
"""


class PackagesMissingError(Exception):
    """A program is not here and cannot be fetched; the message is one line for the user."""


@dataclass(frozen=True)
class Program:
    """A program that tests need, and the packages it comes in."""

    name: str
    packages: Sequence[str]
    advice: str
    #: Installed packages with this in their name are fetched all the same.
    whole: str | None = None

    def missing(self, reason: str) -> PackagesMissingError:
        """What to raise when it cannot be had."""
        return PackagesMissingError(
            f"{self.name} is missing and cannot be fetched ({reason}): {self.advice}."
        )


def cache_folder() -> Path:
    """Where unpacked programs are kept."""
    return Path(os.environ.get("HANTAR_CACHE_DIR") or "~/.cache/hantar")


def unpack(program: Program, cache: Path) -> Path:
    """A folder in the cache with the program and what it needs, whole or absent; made once."""
    cache = cache.expanduser().absolute()
    label = program.name.lower()
    target = cache / f"{label}-{_release()}-{platform.machine()}"
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{label}.lock").open("a") as lock:
            # Another run holds it no longer than its own limits last.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _fetch(program, cache, target)
    except OSError as error:
        raise program.missing(str(error)) from error
    return target


def _release() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    except OSError:
        return "unknown"


def _fetch(program: Program, cache: Path, target: Path) -> None:
    scratch_prefix = f"fetching-{program.name.lower()}-"
    for left_by_a_kill in cache.glob(f"{scratch_prefix}*"):
        shutil.rmtree(left_by_a_kill)
    with tempfile.TemporaryDirectory(prefix=scratch_prefix, dir=cache) as scratch:
        unpacked = Path(scratch) / "unpacked"
        for package in _download(program, Path(scratch)):
            _run(program, ["dpkg", "-x", str(package), str(unpacked)], UNPACK_LIMIT_SECONDS)
        unpacked.rename(target)


def _download(program: Program, folder: Path) -> list[Path]:
    for needed in ("state/lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    # What is left out of the status is resolved anew; of the rest only what is missing is fetched.
    known = Path("/var/lib/dpkg/status").read_text(errors="replace").split("\n\n")
    if program.whole is not None:
        known = [part for part in known if program.whole not in part]
    (folder / "status").write_text("\n\n".join(known))
    (folder / "apt.conf").write_text(APT_CONF.format(folder=folder))
    apt = ["apt-get", "-c", str(folder / "apt.conf"), "-q", "-y"]
    # A third-party list that fails does not matter; what does shows up in the next step.
    _run(program, [*apt, "update"], APT_LIMIT_SECONDS, must_succeed=False)
    _run(program, [*apt, "--download-only", "install", *program.packages], APT_LIMIT_SECONDS)
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def _run(
    program: Program, command: list[str], limit_seconds: float, *, must_succeed: bool = True
) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except subprocess.TimeoutExpired as error:
        raise program.missing(f"{command[0]} took over {limit_seconds} s") from error
    if must_succeed and done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]
        raise program.missing(reason)
