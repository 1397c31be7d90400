"""Finds RabbitMQ on this machine, or unpacks its Debian packages into a cache."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

INSTALLED_SCRIPTS = (
    Path("/usr/lib/rabbitmq/bin"),
    Path("/opt/homebrew/opt/rabbitmq/sbin"),
    Path("/usr/local/opt/rabbitmq/sbin"),
)
ADVICE = "install it with `apt-get install rabbitmq-server` (macOS: `brew install rabbitmq`)"
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


class RabbitmqMissingError(Exception):
    """RabbitMQ is not here and cannot be fetched; the message is one line for the user."""


@dataclass(frozen=True)
class Installation:
    """A RabbitMQ to run: installed on the machine, or unpacked below `unpacked`."""

    scripts: Path
    unpacked: Path | None = None


def find_rabbitmq() -> Installation:
    """The machine's RabbitMQ, else the one in the cache, fetched now if need be."""
    for scripts in INSTALLED_SCRIPTS:
        if (scripts / "rabbitmq-server").exists():
            return Installation(scripts)
    root = unpack_rabbitmq(Path(os.environ.get("HANTAR_CACHE_DIR") or "~/.cache/hantar"))
    [server] = root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    return Installation(server.parent, root)


def unpack_rabbitmq(cache: Path) -> Path:
    """A folder in the cache with RabbitMQ and Erlang in it, whole or absent; made once."""
    cache = cache.expanduser().absolute()
    target = cache / f"rabbitmq-{_release()}-{platform.machine()}"
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "rabbitmq.lock").open("a") as lock:
            # Another run holds it no longer than its own limits last.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _fetch(cache, target)
    except OSError as error:
        raise _missing(str(error)) from error
    return target


def _release() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    except OSError:
        return "unknown"


def _fetch(cache: Path, target: Path) -> None:
    for left_by_a_kill in cache.glob("fetching-*"):
        shutil.rmtree(left_by_a_kill)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=cache) as scratch:
        unpacked = Path(scratch) / "unpacked"
        for package in _download(Path(scratch)):
            _run(["dpkg", "-x", str(package), str(unpacked)], UNPACK_LIMIT_SECONDS)
        unpacked.rename(target)


def _download(folder: Path) -> list[Path]:
    for needed in ("state/lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    # With Erlang left out of the status, apt resolves all of it anew and only what else is missing.
    known = Path("/var/lib/dpkg/status").read_text(errors="replace").split("\n\n")
    (folder / "status").write_text("\n\n".join(part for part in known if "erlang" not in part))
    (folder / "apt.conf").write_text(APT_CONF.format(folder=folder))
    apt = ["apt-get", "-c", str(folder / "apt.conf"), "-q", "-y"]
    # A third-party list that fails does not matter; what does shows up in the next step.
    _run([*apt, "update"], APT_LIMIT_SECONDS, must_succeed=False)
    _run([*apt, "--download-only", "install", "rabbitmq-server"], APT_LIMIT_SECONDS)
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def _run(command: list[str], limit_seconds: float, *, must_succeed: bool = True) -> None:
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
        raise _missing(f"{command[0]} took over {limit_seconds} s") from error
    if must_succeed and done.returncode != 0:
        raise _missing((done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1])


def _missing(reason: str) -> RabbitmqMissingError:
    return RabbitmqMissingError(f"RabbitMQ is missing and cannot be fetched ({reason}): {ADVICE}.")
