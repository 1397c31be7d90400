"""Finds RabbitMQ on this machine, or unpacks its Debian packages into a cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.servers.packages import Program, cache_folder, unpack

INSTALLED_SCRIPTS = (
    Path("/usr/lib/rabbitmq/bin"),
    Path("/opt/homebrew/opt/rabbitmq/sbin"),
    Path("/usr/local/opt/rabbitmq/sbin"),
)
RABBITMQ = Program(
    "RabbitMQ",
    ["rabbitmq-server"],
    "install it with `apt-get install rabbitmq-server` (macOS: `brew install rabbitmq`)",
    # Erlang is started from where it is unpacked, so all of it has to be there.
    whole="erlang",
)


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
    root = unpack(RABBITMQ, cache_folder())
    [server] = root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    return Installation(server.parent, root)
